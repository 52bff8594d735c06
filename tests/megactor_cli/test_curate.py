"""`megactor curate`: options reach their settings, what is said can be read by people and by scripts."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from megactor_core.config.curate import CurateConfig
from megactor_core.curation.summary import Audit, CurateReport, RuleCount

MEANS = {"face_width_mean": 412.2, "face_height_mean": 398.0, "rotation_magnitude_mean": 11.25}
MEANS |= dict.fromkeys(("sync_c", "sync_d", "yaw_mean", "av_confidence", "speech_share"))
REPORT = CurateReport(
    output="out",
    manifest="out/manifest.parquet",
    report="out/report.html",
    clips=10,
    kept=4,
    rejected=5,
    pending=0,
    errors=1,
    computed=10,
    raw_hours=2.5,
    kept_hours=0.5,
    datasets={
        "hdtf": {
            "raw": {"clips": 10, "identities": 5, "hours": 2.5, "means": MEANS, "measured": {}},
            "kept": {"clips": 4, "identities": 3, "hours": 0.5, "means": MEANS, "measured": {}},
        }
    },
    reasons={"head_turned": 4, "no_sound": 1, "duplicate": 1},
    first_reasons={"head_turned": 3, "no_sound": 1, "duplicate": 1},
    rules={"head_turned": RuleCount(8, 4, 0.5), "no_sound": RuleCount(9, 1, 8 / 9)},
    errors_by_kind={"MediaError": 1},
    not_measured=[
        {
            "what": "Sync-C and Sync-D by SyncNet",
            "why": "missing",
            "fix": "Run `megactor weights pull syncnet`.",
            "instead": "the audio-visual check without weights",
            "gates": ["sync_screen", "sync"],
        }
    ],
    idle_rules=["sync_c_low"],
    audit=Audit(10, 2, {"light_no_face": 1}, 0.2),
    cpu_seconds_by_gate={"probe": 1.0},
    decodes=4,
    settings={},
    wall_seconds=2.0,
    worker_cpu_seconds=3.0,
    parent_cpu_seconds=0.1,
    worker_deaths=0,
)


@dataclass
class Remembered:
    """What the core was asked for, and what it shall answer."""

    report: CurateReport = REPORT
    asked: list[tuple[str, CurateConfig]] = field(default_factory=list)


@pytest.fixture
def curation(monkeypatch: pytest.MonkeyPatch) -> Remembered:
    remembered = Remembered()

    def measure(config: CurateConfig, *, on_progress: Any, on_note: Any) -> CurateReport:
        remembered.asked.append(("curate", config))
        on_note("a note from the core")
        on_progress("curating", 1, 1)
        return remembered.report

    def decide(config: CurateConfig, *, on_note: Any) -> CurateReport:
        remembered.asked.append(("decide", config))
        on_note("a note from the core")
        return remembered.report

    monkeypatch.setattr("megactor_core.curation.curate.curate", measure)
    monkeypatch.setattr("megactor_core.curation.decide_again.decide_again", decide)
    return remembered


def test_every_option_reaches_its_setting(curation: Remembered, megactor) -> None:
    result = megactor(
        *("curate", "a", "b", "--output", "o", "--audit", "0.1", "--engine", "local", "--workers", "3"),
        *("--retry-errors", "--recipe", "paper", "--set", "rules.min_face_px=180"),
    )
    assert result.exit_code == 0, result.err
    ((name, config),) = curation.asked
    assert name == "curate"
    assert config.sources == (Path("a"), Path("b"))
    assert (config.output, config.audit, config.workers, config.retry_errors) == (Path("o"), 0.1, 3, True)
    assert (config.rules.min_face_px, config.rules.min_sync_c, config.measure.landmarks) == (
        180,
        6.0,
        "dwpose",
    )
    assert "a note from the core" in result.err


def test_without_options_the_workspace_is_used(curation: Remembered, megactor) -> None:
    assert megactor("curate").exit_code == 0
    (_, config) = curation.asked[0]
    assert config == CurateConfig()
    assert (config.sources, config.output) == ((), Path("data/curated"))


def test_the_default_recipe_is_the_default(curation: Remembered, megactor) -> None:
    megactor("curate", "--recipe", "default")
    assert curation.asked[0][1] == CurateConfig()


def test_the_paper_and_the_release_have_their_own_thresholds(curation: Remembered, megactor) -> None:
    for recipe in ("paper", "released"):
        megactor("curate", "--recipe", recipe)
    paper, released = (config.rules for _, config in curation.asked)
    assert (paper.min_face_px, paper.min_sync_c, paper.max_sync_d) == (600, 6.0, 8.5)
    assert paper.max_rotation_degrees == 30
    assert (released.min_square_px, released.min_sync_c, released.max_sync_d) == (400, 5.5, None)
    assert (released.min_frontal_share, released.max_travel, released.min_seconds) == (0.9, 0.4, 2.4)
    assert released.max_rotation_degrees is None
    assert released.min_face_px is None


def test_deciding_again_takes_the_rules_of_a_recipe(curation: Remembered, megactor) -> None:
    assert megactor("curate", "--decide", "paper", "--output", "o", "--set", "rules.guard=0.5").exit_code == 0
    ((name, config),) = curation.asked
    assert (name, config.output, config.rules.min_sync_c, config.rules.guard) == (
        "decide",
        Path("o"),
        6.0,
        0.5,
    )
    for extra in (["source"], ["--recipe", "tiny"]):
        result = megactor("curate", "--decide", "paper", *extra)
        assert result.exit_code == 2
        assert "--decide" in result.err


@pytest.mark.parametrize(
    ("text", "nearest"),
    [("rules:\n  min_face_pixel: 3\n", "rules.min_face_px"), ("rules:\n  max_shot: 3\n", "rules.max_shots")],
)
def test_an_unknown_rule_is_refused_with_the_nearest_name(
    curation: Remembered, megactor, tmp_path: Path, text: str, nearest: str
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    for option in ("--recipe", "--decide"):
        result = megactor("curate", option, "mine.yaml")
        assert (result.exit_code, result.out) == (2, "")
        assert f"did you mean '{nearest}'?" in result.err
    assert curation.asked == []


def test_people_read_what_was_kept_and_why_not(curation: Remembered, megactor) -> None:
    result = megactor("curate", "a")
    assert result.exit_code == 0
    for text in (
        "4 of 10 clips, 30.0 min of 2.5 h",
        "1 (MediaError: 1)",
        "412x398",
        "Not measured: Sync-C and Sync-D by SyncNet. In its place: the audio-visual check without weights.",
        "megactor weights pull syncnet",
        "Rules left out for it: sync_c_low.",
        "first looks reject 2 of 10 clips, light_no_face: 1",
    ):
        assert text in result.out
    (line,) = [line for line in result.out.splitlines() if line.startswith("head_turned")]
    assert line.split() == ["head_turned", "4", "3", "8"]


def test_scripts_read_json(curation: Remembered, megactor) -> None:
    result = megactor("curate", "a", "--json", "--quiet")
    assert json.loads(result.out) == json.loads(json.dumps(REPORT.to_json()))
    assert result.err == ""


def test_nothing_kept_is_no_failure(curation: Remembered, megactor) -> None:
    curation.report = replace(REPORT, kept=0, pending=3, kept_hours=0.0)
    result = megactor("curate", "a")
    assert result.exit_code == 0
    assert "0 of 10 clips" in result.out
    assert "to be measured  3" in result.out
