"""Real clips: what is said of them is true."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megactor_core.config.curate import CurateConfig
from megactor_core.config.recipes import load_config
from megactor_core.curation.curate import curate
from megactor_core.curation.decide_again import decide_again
from megactor_core.curation.summary import CurateReport

pytestmark = [pytest.mark.real, pytest.mark.slow]

HAMILTON = "facerec_short_hamilton_clip"
JUMP_CUTS = {HAMILTON, "megactor_audio_ENTF_1"}
"""The latter's speaker jumps by a hand's breadth at 1.8 s: a piece was cut out."""


def paper(output: Path, *sources: Path, overrides: tuple[str, ...] = ()) -> CurateConfig:
    return load_config(
        CurateConfig,
        command="curate",
        recipe="paper",
        overrides=("measure.missing_landmarks=mediapipe", *overrides),
        options={"sources": sources, "output": output, "workers": 0, "audit": 1.0},
    )


@pytest.fixture(scope="module")
def report(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> CurateReport:
    """Of the clips with the paper's rules and all measures."""
    return curate(paper(tmp_path_factory.mktemp("real"), real_data / "driving"))


@pytest.fixture(scope="module")
def curated(report: CurateReport) -> Path:
    return Path(report.output)


def test_what_is_missing_and_what_takes_its_place_is_said(
    report: CurateReport, curated: Path, manifest: Callable[[Path], dict[str, dict[str, Any]]]
) -> None:
    """Neither DWPose's weights nor SyncNet's are there."""
    assert (report.kept, report.rejected, report.errors) == (0, report.clips, 0)
    assert {gate for item in report.not_measured for gate in item["gates"]} == {"sync_screen", "sync"}
    assert "mediapipe" in {item["instead"] for item in report.not_measured}
    assert {"sync_c_low", "sync_d_high"} <= set(report.idle_rules)
    assert all(row["sync_c"] is None for row in manifest(curated).values())


def test_under_the_papers_rules_every_clip_fails_with_its_measured_size(
    curated: Path, manifest: Callable[[Path], dict[str, dict[str, Any]]]
) -> None:
    for row in manifest(curated).values():
        (reason,) = [text for text in row["reasons"] if text.startswith("face_too_small")]
        size = f"{row['face_width_mean']:.0f}x{row['face_height_mean']:.0f}"
        assert reason == f"face_too_small: {size} < 600x600"
        assert row["face_method"] == "mediapipe"


def test_a_clip_of_several_shots_and_people_says_all_that_is_wrong(
    curated: Path, manifest: Callable[[Path], dict[str, dict[str, Any]]]
) -> None:
    row = manifest(curated)[HAMILTON]
    rules = {reason.partition(":")[0] for reason in row["reasons"]}
    assert {"several_shots", "several_faces", "face_too_small"} <= rules
    assert not row["keep"]
    assert 20 < row["yaw_mean"] < 40
    assert row["rotation_magnitude_mean"] > row["yaw_mean"] / 2
    assert row["cut_seconds"]


def test_with_a_limit_of_180_pixels_the_single_shots_pass_the_face_rule(
    curated: Path, manifest: Callable[[Path], dict[str, dict[str, Any]]]
) -> None:
    decide_again(paper(curated, overrides=("rules.min_face_px=180",)))
    for name, row in manifest(curated).items():
        rules = {reason.partition(":")[0] for reason in row["reasons"]}
        assert ("face_too_small" in rules) == (name == HAMILTON)
        assert ("several_shots" in rules) == (name in JUMP_CUTS)


def test_damaged_copies_are_rows_and_the_rest_is_done(
    real_data: Path, manifest: Callable[[Path], dict[str, dict[str, Any]]], tmp_path: Path
) -> None:
    """Cut off and with bits turned over, of files from three encoders."""
    raw = tmp_path / "raw"
    raw.mkdir()
    names = (HAMILTON, "megactor_audio_CHTF_2", "liveportrait_d10")
    for name in names:
        whole = (real_data / "driving" / f"{name}.mp4").read_bytes()
        (raw / f"{name} whole.mp4").write_bytes(whole)
        for percent in (2, 50, 97):
            (raw / f"{name} cut {percent}.mp4").write_bytes(whole[: len(whole) * percent // 100])
        for flips in (1, 30, 1000):
            rng = np.random.default_rng([flips])
            values = np.frombuffer(whole, np.uint8).copy()
            values[rng.integers(0, len(values), flips)] ^= 1 << rng.integers(0, 8, flips, dtype=np.uint8)
            (raw / f"{name} flipped {flips}.mp4").write_bytes(values.tobytes())
    before = {path: path.read_bytes() for path in raw.iterdir()}
    gates = ("measure.gates=[probe,sound,light_faces,shots]", "rules.duplicates=keep")
    report = curate(paper(tmp_path / "out", raw, overrides=gates))
    rows = manifest(tmp_path / "out")
    assert len(rows) == report.clips == len(before) == 7 * len(names)
    assert {row["error_kind"] for row in rows.values()} <= {"MediaError", None}
    for name in names:
        assert rows[f"{name} whole"]["error"] is None
        for percent in (2, 50):
            row = rows[f"{name} cut {percent}"]
            assert row["error"] or any(reason.startswith("cut_off:") for reason in row["reasons"])
    assert {path: path.read_bytes() for path in raw.iterdir()} == before
