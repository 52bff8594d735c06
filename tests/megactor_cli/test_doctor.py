"""`megactor doctor`: what it shows and its exit code."""

import json
from dataclasses import replace

import pytest

from megactor_core.doctor import CheckpointState, Codec, Device, DoctorReport, Problem, WeightsState

REPORT = DoctorReport(
    system={"megactor": "1.0"},
    packages={"torch": "2.13", "av": None},
    devices=[Device("cuda:0", "A GPU", 80_000_000_000)],
    codecs=[Codec("h264", reads=True, writes=False)],
    weights=[WeightsState("face", found=False, needed_by="faces", command="megactor weights pull face")],
    checkpoints=[CheckpointState("runs/stage1/final", trained=True)],
    cache="/cache",
    cache_free_bytes=10**9,
    problems=[Problem("Little space.", "Free some.", fatal=False)],
)


@pytest.fixture
def report(monkeypatch):
    def use(report: DoctorReport) -> None:
        monkeypatch.setattr("megactor_cli.doctor.examine", lambda: report)

    return use


def test_everything_that_was_found_is_shown(megactor, report) -> None:
    report(REPORT)
    result = megactor("doctor")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    for line in (
        "torch 2.13",
        "av missing",
        "cuda:0 A GPU, 80.0 GB",
        "h264 reads",
        "face missing: megactor weights pull face",
        "runs/stage1/final trained",
        "free 1.0 GB",
    ):
        assert line in lines
    assert "Warning: Little space. Fix: Free some." in result.err
    assert "can run here" in result.err


def test_a_fatal_problem_is_exit_code_1(megactor, report) -> None:
    report(replace(REPORT, problems=[Problem("No torch.", "Install it.", fatal=True)]))
    result = megactor("doctor")
    assert result.exit_code == 1
    assert "cannot run here" in result.err
    as_json = megactor("doctor", "--json")
    assert as_json.exit_code == 1
    assert json.loads(as_json.out)["ok"] is False
    assert json.loads(as_json.out)["problems"][0]["fix"] == "Install it."
