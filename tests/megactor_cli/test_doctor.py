"""`megactor doctor`: what it shows and its exit code."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from megactor_core.doctor.estimate import CPU_SHARES, Pace
from megactor_core.doctor.installation import (
    CheckpointState,
    Codec,
    Device,
    DoctorReport,
    Problem,
    WeightsState,
)

PERFORMANCE = Path(__file__).resolve().parents[2] / "docs/performance.md"
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


@pytest.fixture
def paced(monkeypatch):
    """A CPU of 100 GFLOP a second."""

    def pace(_device: str, dtype: str) -> Pace:
        return Pace(denoiser=1e11, decoder=1e11, share=CPU_SHARES[dtype])

    monkeypatch.setattr("megactor_core.doctor.preset.measure_pace", pace)


def with_memory(count: int) -> DoctorReport:
    return replace(REPORT, devices=[Device("cpu", "2 threads", count)])


def test_a_preset_shows_what_it_needs_and_takes(megactor, report, paced) -> None:
    report(with_memory(9_000_000_000))
    result = megactor("doctor", "--preset", "paper", "--seconds", "2")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    for line in (
        "parameters 1,420,576,248",
        "get them megactor weights pull mediapipe-face sd-vae-ft-mse whisper-tiny",
        "a checkpoint 5.7 GB",
        "Sigma 5.7 GB 2.8 GB 2.8 GB",
        "this machine has 9.0 GB 9.0 GB no such device",
        "fits no yes -",
        "cpu float32: --set decode_batch=1 leaves 8.4 GB (the same result)",
        "cuda bfloat16 - no such device",
    ):
        assert line in lines
    assert any(line.startswith("cpu float32 100 GFLOP a second ") for line in lines)
    assert any(line.startswith("stage 3 409,086,720 5.7 GB") for line in lines)
    assert "is an aim: none has been measured" in result.err
    assert "Packages" not in result.out


def test_the_documents_hold_what_it_says_of_memory(megactor, report, paced) -> None:
    """docs/performance.md, row by row; this machine's own memory stands in none."""
    report(with_memory(64_000_000_000))
    lines = megactor("doctor", "--preset", "paper").out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("memory of animate"))
    rows = ["| " + " | ".join(re.split(" {2,}", line)) + " |" for line in lines[start + 2 : start + 12]]
    text = PERFORMANCE.read_text(encoding="utf-8")
    assert rows[0].startswith("| Sigma |")
    assert [row for row in rows if row not in text] == []


def test_a_preset_in_json_stands_beside_the_rest(megactor, report, paced) -> None:
    report(with_memory(64_000_000_000))
    values = json.loads(megactor("doctor", "--preset", "tiny", "--json").out)
    assert values["ok"] is True
    assert values["preset"]["preset"] == "tiny"
    assert values["preset"]["video_seconds"] == 10
    assert [mode["fits"] for mode in values["preset"]["modes"]] == [True, True, None]
    assert "preset" not in json.loads(megactor("doctor", "--json").out)


def test_a_machine_too_small_for_anything_says_so(megactor, report, paced) -> None:
    report(with_memory(1_000_000_000))
    result = megactor("doctor", "--preset", "paper")
    assert "cpu bfloat16: that does not fit either; take a smaller preset" in result.out


def test_without_torch_the_preset_is_left_out(megactor, report) -> None:
    report(replace(REPORT, devices=[], problems=[Problem("No torch.", "Install it.", fatal=True)]))
    result = megactor("doctor", "--preset", "paper")
    assert result.exit_code == 1
    assert "torch" in result.out
    assert "No torch." in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seconds", "3"), "--seconds does nothing without --preset"),
        (("--preset", "papr"), "'papr'"),
        (("--preset", "tiny", "--seconds", "0"), "--seconds 0 is not above 0"),
    ],
)
def test_wrong_usage_is_one_message(megactor, report, arguments: tuple[str, ...], message: str) -> None:
    report(with_memory(64_000_000_000))
    result = megactor("doctor", *arguments)
    assert result.exit_code == 2
    assert message in result.err
