"""The dry run: what a sample foretells holds of the whole run, and nothing is left of it."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from megactor_core.config.curate import CurateConfig, RulesConfig
from megactor_core.curation.dry_run import dry_run
from megactor_core.curation.manifest import Judged
from megactor_core.curation.projection import Bytes, DryRunReport, Machine, Measured, project
from megactor_core.curation.strata import Stratum
from megactor_core.curation.summary import CurateReport
from megactor_core.curation.trial import Trial, trial_of
from megactor_core.errors import Interrupted, UsageError

ConfigFor = Callable[..., CurateConfig]
Manifest = Callable[[Path], dict[str, dict[str, Any]]]
SAMPLE, HOURS = 9, 100.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def foretold(corpus: Path, config_for: ConfigFor, place: Path) -> DryRunReport:
    """Of nine of the thirteen clips; temporary files go to a folder that tests can look at."""
    before, tempfile.tempdir = tempfile.tempdir, str(place)
    try:
        overrides = (f"forecast.clips={SAMPLE}", "forecast.size_groups=2", "forecast.cores=8")
        return dry_run(config_for(corpus, output=place / "out", overrides=overrides, hours=HOURS))
    finally:
        tempfile.tempdir = before


def test_what_was_foretold_comes_true(foretold: DryRunReport, curate_report: CurateReport) -> None:
    assert (foretold.clips, foretold.measured) == (curate_report.clips, SAMPLE)
    assert foretold.sources.clips == pytest.approx(curate_report.clips)
    kept = curate_report.kept / curate_report.clips
    assert foretold.kept_share.low <= kept <= foretold.kept_share.high
    assert foretold.sources.raw_hours.value == pytest.approx(curate_report.raw_hours)  # clips of one length
    assert foretold.sources.kept_hours.low <= curate_report.kept_hours <= foretold.sources.kept_hours.high
    assert not foretold.errors_by_kind


def test_every_gate_has_its_pass_rate_and_cost(foretold: DryRunReport, curate_report: CurateReport) -> None:
    gates = {gate.gate: gate for gate in foretold.gates}
    assert list(gates) == [gate for gate, cost in curate_report.cpu_seconds_by_gate.items() if cost]
    assert gates["probe"].clips == SAMPLE
    for gate in gates.values():
        assert gate.cpu_seconds is not None
        assert gate.pass_share is not None
        assert 0 < gate.cpu_seconds.low <= gate.cpu_seconds.value <= gate.cpu_seconds.high
        assert gate.gpu_seconds is None
    assert [gate.clips for gate in foretold.gates] == sorted(
        (gate.clips for gate in foretold.gates), reverse=True
    )
    mute = curate_report.first_reasons["no_sound"] + curate_report.first_reasons["silent"]
    reached = curate_report.clips - curate_report.first_reasons.get("cut_off", 0)
    share = gates["sound"].pass_share
    assert share is not None
    assert share.low <= 1 - mute / reached <= share.high


def test_costs_add_up(foretold: DryRunReport) -> None:
    together = sum(gate.core_hours.value for gate in foretold.gates)
    rest = foretold.rest_cpu_seconds.value * foretold.clips / 3600
    assert foretold.sources.core_hours.value == pytest.approx(together + rest)
    assert foretold.sources.wall_hours.value == pytest.approx(foretold.sources.core_hours.value / 8)
    assert foretold.machine == Machine(8, 0, "no gate that is taken would use one")
    assert foretold.sources.gpu_hours is None
    assert min(foretold.sources.bytes.manifest, foretold.sources.bytes.journal) > 100 * foretold.clips


def test_hours_are_the_input_many_times_over(foretold: DryRunReport) -> None:
    assert foretold.hours is not None
    factor = HOURS / foretold.sources.raw_hours.value
    for name in ("kept_hours", "core_hours", "wall_hours"):
        expected = getattr(foretold.sources, name).value * factor
        assert getattr(foretold.hours, name).value == pytest.approx(expected)
    assert foretold.hours.clips == pytest.approx(foretold.clips * factor)
    assert foretold.hours.bytes.manifest == pytest.approx(foretold.sources.bytes.manifest * factor)
    assert foretold.hours.kept_hours.high <= HOURS


def test_nothing_is_left_and_a_small_sample_is_told(foretold: DryRunReport, place: Path) -> None:
    assert list(place.iterdir()) == []
    assert any("too small for a strong statement" in remark for remark in foretold.remarks)
    assert any("there twice" in remark for remark in foretold.remarks)


def test_clips_that_cannot_be_read_cost_and_count(config_for: ConfigFor, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in "ab":
        (raw / f"{name}.mp4").write_text("no video")
    report = dry_run(config_for(raw, output=tmp_path / "out", hours=10.0))
    assert (report.statuses, report.errors_by_kind) == ({"error": 2}, {"MediaError": 2})
    assert (report.hours, report.kept_share_of_time, report.sources.raw_hours.value) == (None, None, 0.0)
    probe, *others = report.gates
    assert (probe.clips, probe.pass_share and probe.pass_share.value) == (2, 0.0)
    assert probe.core_hours.value > 0
    assert report.sources.core_hours.value == pytest.approx(probe.core_hours.value)
    assert all((gate.clips, gate.pass_share, gate.cpu_seconds) == (0, None, None) for gate in others)
    assert any("nothing can be said of 10 hours" in remark for remark in report.remarks)
    assert not (tmp_path / "out").exists()


def test_there_must_be_something_to_measure(config_for: ConfigFor, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no clip"):
        dry_run(config_for(tmp_path, output=tmp_path / "out"))


def test_ctrl_c_leaves_nothing(corpus: Path, config_for: ConfigFor, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="nothing is kept"):
        dry_run(
            config_for(corpus, output=tmp_path / "out", overrides=("forecast.clips=1",)), on_progress=stop
        )
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- projections of made-up trials

TRIAL = Trial(
    stratum=0,
    status="ok",
    error_kind=None,
    first_reason=None,
    video_seconds=36.0,
    passed={"probe": True, "sync": True},
    cpu_seconds={"probe": 1.0, "sync": 2.0},
    rest_seconds=0.6,
    gpu_seconds={"sync": 7.2},
    crop_bytes=1000,
)


def projected(*trials: Trial, clips: int, machine: Machine, **config: Any) -> DryRunReport:
    measured = Measured(
        strata=[Stratum("one", clips, ())],
        trials=trials,
        row_bytes=Bytes(manifest=100.0, journal=200.0, crops=0.0),
        gates=("probe", "sync"),
        wall_seconds=1.0,
        worker_cpu_seconds=1.0,
    )
    return project(measured, CurateConfig(**config), machine=machine, not_measured=[])


def test_time_on_a_gpu_is_projected_and_waited_for() -> None:
    stopped = replace(
        TRIAL, status="rejected", passed={"probe": False}, cpu_seconds={"probe": 1.0}, gpu_seconds={}
    )
    report = projected(TRIAL, stopped, clips=1000, machine=Machine(cores=10, gpus=2, gpu_note=""), hours=50.0)
    assert report.sources.raw_hours.value == pytest.approx(10)
    assert report.sources.gpu_hours is not None
    assert report.sources.gpu_hours.value == pytest.approx(1.0)
    assert report.sources.core_hours.value == pytest.approx(1000 * (4 + 1.2) / 2 / 3600)
    assert report.sources.wall_hours.value == pytest.approx(0.5)
    assert report.hours is not None
    assert report.hours.gpu_hours is not None
    assert report.hours.gpu_hours.value == pytest.approx(5.0)
    assert report.hours.kept_hours.value == pytest.approx(25.0)
    assert report.sources.bytes == Bytes(manifest=100_000.0, journal=200_000.0, crops=1_000_000.0)
    (sync,) = [gate for gate in report.gates if gate.gate == "sync"]
    assert (sync.clips, sync.gpu_seconds and sync.gpu_seconds.value) == (1, 7.2)


def test_where_nothing_is_kept_there_may_still_be_something() -> None:
    rejected = replace(TRIAL, status="rejected", gpu_seconds={})
    report = projected(*[rejected] * 10, clips=100, machine=Machine(1, 0, "none"))
    assert report.sources.kept_hours.value == 0
    assert report.sources.kept_hours.high == pytest.approx(0.278, abs=1e-3)  # of 1 h, as Wilson has it


def test_a_large_sample_needs_no_warning() -> None:
    rejected = replace(TRIAL, status="rejected")
    trials = [TRIAL, rejected] * 200
    small = projected(*trials[:20], clips=400, machine=Machine(1, 1, ""), rules={"duplicates": "keep"})
    large = projected(*trials, clips=400, machine=Machine(1, 1, ""), rules={"duplicates": "keep"})
    assert "About 385 clips" in small.remarks[0]
    assert large.remarks == ()


def test_what_a_failed_clip_took_is_its_gates() -> None:
    row = {
        "row_id": "a",
        "status": "error",
        "error_kind": "exception",
        "gate_seconds": {"probe": 1.0},
        "cpu_seconds": 5.0,
        "todo": ["shots", "faces"],
        "run": 1,
    }
    clip = Judged(row, {"seconds": 2.0}, None, "train", ("probe",), ("probe", "shots", "faces"))
    trial = trial_of(clip, RulesConfig(), stratum=3)
    assert trial.cpu_seconds == {"probe": 1.0, "shots": 4.0}
    assert trial.passed == {"probe": True, "shots": False}
    assert (trial.rest_seconds, trial.stratum, trial.is_kept) == (0.0, 3, False)
