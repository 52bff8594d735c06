"""`megactor curate --dry-run` and `--status`: options, refusals, and what people and scripts read."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from megactor_core.config.curate import CurateConfig
from megactor_core.curation.estimate import Interval
from megactor_core.curation.projection import (
    Bytes,
    DataSetSample,
    DryRunReport,
    GateCost,
    Machine,
    Projection,
)
from megactor_core.curation.status import CurateStatus, LastClip

PROJECTION = Projection(
    clips=12345,
    raw_hours=Interval(20.0, 19.0, 21.0),
    kept_hours=Interval(1.5, 0.5, 2.5),
    core_hours=Interval(2200.0, 2000.0, 2400.0),
    gpu_hours=None,
    wall_hours=Interval(0.5, 0.25, 0.75),
    bytes=Bytes(manifest=12_000_000.0, journal=15_000_000.0, crops=0.0),
)
REPORT = DryRunReport(
    clips=12345,
    measured=10,
    datasets={"hdtf": DataSetSample(clips=12345, measured=10, strata=4)},
    gates=(
        GateCost(
            gate="probe",
            clips=10,
            pass_share=Interval(0.9, 0.596, 0.982),
            cpu_seconds=Interval(0.0042, 0.0038, 0.0047),
            gpu_seconds=None,
            core_hours=Interval(220.0, 200.0, 240.0),
        ),
        GateCost("sync", 0, None, None, None, Interval(0.0, 0.0, 0.0)),
    ),
    rest_cpu_seconds=Interval(0.001, 0.001, 0.001),
    kept_share=Interval(0.1, 0.0179, 0.404),
    kept_share_of_time=Interval(0.1, 0.0179, 0.404),
    statuses={"rejected": 9, "ok": 1},
    first_reasons={"no_sound": 9},
    errors_by_kind={},
    machine=Machine(8, 0, "no gate that is taken would use one"),
    sources=PROJECTION,
    hours=replace(PROJECTION, raw_hours=Interval(4670.0, 4670.0, 4670.0)),
    not_measured=[],
    remarks=("The sample of 10 clips is too small.",),
    wall_seconds=2.0,
    worker_cpu_seconds=3.0,
)
STATUS = CurateStatus(
    output="out",
    state="running",
    host="here",
    process=123,
    started="2026-01-01T00:00:00+00:00",
    ended=None,
    elapsed_seconds=60.0,
    clips=100,
    done=40,
    kept=10,
    rejected=29,
    errors=1,
    errors_by_kind={"MediaError": 1},
    first_reasons={"no_sound": 29},
    raw_hours=0.5,
    kept_hours=0.1,
    computed=40,
    clips_a_second=40 / 60,
    times_real_time=30.0,
    seconds_left=90.0,
    last_clip=LastClip("smile-1", "rejected", "no_sound", 2.0),
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[CurateConfig]:
    """What the core was asked for, in place of the core."""
    configs: list[CurateConfig] = []

    def answer(report: Any) -> Any:
        def work(config: CurateConfig, **_callbacks: Any) -> Any:
            configs.append(config)
            return report

        return work

    monkeypatch.setattr("megactor_core.curation.dry_run.dry_run", answer(REPORT))
    monkeypatch.setattr("megactor_core.curation.status.read_status", answer(STATUS))
    return configs


def test_options_reach_the_dry_run(asked: list[CurateConfig], megactor) -> None:
    result = megactor(
        *("curate", "a", "--dry-run", "--hours", "4670", "--workers", "3"),
        *("--set", "forecast.clips=7", "--set", "forecast.cores=32"),
    )
    assert result.exit_code == 0, result.err
    (config,) = asked
    assert (config.sources, config.hours, config.workers) == ((Path("a"),), 4670.0, 3)
    assert (config.forecast.clips, config.forecast.cores) == (7, 32)


def test_people_read_what_it_costs_and_gives(asked: list[CurateConfig], megactor) -> None:
    out = megactor("curate", "a", "--dry-run").out
    for text in (
        "10 of 12,345 clips",
        "4.2 ms (3.8 to 4.7)",
        "90.0 % (59.6 to 98.2)",
        "4,670 h like them",
        "1.5 h (0.5 to 2.5)",
        "2,200 (2,000 to 2,400)",
        "time on 8 cores",
        "12.0 MB",
        "No GPU-hours: no gate that is taken would use one.",
        "The sample of 10 clips is too small.",
    ):
        assert text in out
    (line,) = [line for line in out.splitlines() if line.startswith("sync")]
    assert line.split()[:4] == ["sync", "0", "-", "-"]


def test_people_read_how_far_a_run_is(asked: list[CurateConfig], megactor) -> None:
    result = megactor("curate", "--status", "--output", "o")
    assert (asked[0].output, result.err) == (Path("o"), "")
    for text in (
        "at work (process 123 on here)",
        "40 of 100 clips (40 %)",
        "10, 6.0 min of 30.0 min",
        "29 (no_sound: 29)",
        "0.667 clips/s, 30 x real time",
        "0:01:30",
        "smile-1: rejected (no_sound), 0:00:02 ago",
    ):
        assert text in result.out


@pytest.mark.parametrize(("option", "report"), [("--dry-run", REPORT), ("--status", STATUS)])
def test_scripts_read_json(asked: list[CurateConfig], megactor, option: str, report: Any) -> None:
    result = megactor("curate", option, "--json", "--quiet")
    assert json.loads(result.out) == json.loads(json.dumps(report.to_json()))
    assert result.err == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dry-run", "--decide", "paper"], "--dry-run and --decide do not go together"),
        (["--status", "--decide", "paper"], "--status and --decide do not go together"),
        (["--dry-run", "--status"], "--dry-run and --status do not go together"),
        (["--hours", "5"], "Add --dry-run"),
        (["--status", "--hours", "5"], "Add --dry-run"),
        (["a", "--status"], "--status reads the run in --output, not 'a'"),
        (["--dry-run", "--hours", "many"], "--hours"),
        (["--dry-run", "--hours", "0"], "--hours"),
        (["--dry-run", "--hours", "inf"], "--hours"),
        (["--dry-run", "--set", "forecast.clips=0"], "forecast.clips"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(
    asked: list[CurateConfig], megactor, arguments: list[str], said: str
) -> None:
    result = megactor("curate", *arguments)
    assert (result.exit_code, result.out) == (2, "")
    assert said in result.err
    assert len(result.err.splitlines()) == 1
    assert asked == []
