"""`megactor preprocess`: options reach their settings, what is said can be read by people and by scripts."""

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.preprocessing.estimate import Estimate
from megactor_core.preprocessing.report import PreprocessReport, Unused

REPORT = PreprocessReport(
    output="out",
    index="out/index.parquet",
    source="the folder 'in'",
    clips=3,
    ok=1,
    rejected=1,
    errors=1,
    computed=3,
    not_kept=0,
    reasons={"no face": 1},
    error_kinds={"MediaError": 1},
    unused=[
        Unused("It is empty (0 bytes).", 5, ["a.mp4", "b.mp4", "c.mp4"]),
        *(Unused(f"reason {number}", 1, [f"{number}.mp4"]) for number in range(12)),
    ],
    seconds=4.0,
    frames=100,
    bytes=123_456,
    samples_by_split={"train": 1, "validation": 0},
    identities_by_split={"train": 1, "validation": 0},
    with_audio=1,
    with_driver=0,
    with_latents=0,
    wall_seconds=2.0,
    worker_cpu_seconds=3.0,
    parent_cpu_seconds=0.1,
    worker_deaths=0,
)
ESTIMATE = Estimate(
    source="the folder 'in'",
    output="out",
    clips=2000,
    measured=8,
    measured_ok=7,
    not_kept=0,
    cpu_seconds_per_clip=9.0,
    bytes_per_clip=1e6,
    expected_samples=1750,
    total_cpu_hours=5.0,
    total_bytes=2_000_000_000,
    hours_by_workers={"1": 5.0, "16": 0.3125},
    start_seconds=2.0,
    free_bytes=10**12,
)


@dataclass
class Remembered:
    """What the core was asked for, and what it shall answer."""

    report: PreprocessReport = REPORT
    asked: list[tuple[str, PreprocessConfig]] = field(default_factory=list)


@pytest.fixture
def preprocessing(monkeypatch: pytest.MonkeyPatch) -> Remembered:
    remembered = Remembered()

    def answer(name: str) -> Any:
        def run(config: PreprocessConfig, *, on_progress: Any, on_note: Any) -> Any:
            remembered.asked.append((name, config))
            on_note("a note from the core")
            on_progress("preprocessing", 1, 1)
            return remembered.report if name == "preprocess" else ESTIMATE

        return run

    monkeypatch.setattr("megactor_core.preprocessing.preprocess.preprocess", answer("preprocess"))
    monkeypatch.setattr("megactor_core.preprocessing.estimate.estimate", answer("estimate"))
    return remembered


def test_every_option_reaches_its_setting(preprocessing: Remembered, megactor) -> None:
    given = {
        "output": ("o", Path("o")),
        "drivers": ("d", Path("d")),
        "size": ("256", 256),
        "fps": ("30000/1001", Fraction(30000, 1001)),
        "faces": ("1", 1),
        "landmarks": ("dwpose", "dwpose"),
        "audio_features": ("whisper", "whisper"),
        "autoencoder": ("sd-vae-ft-ema", "sd-vae-ft-ema"),
        "engine": ("local", "local"),
        "workers": ("3", 3),
    }
    arguments = [part for name, (text, _) in given.items() for part in ("--" + name.replace("_", "-"), text)]
    result = megactor("preprocess", "in", *arguments, "--latents", "--retry-errors")
    assert result.exit_code == 0, result.err
    expected = {name: value for name, (_, value) in given.items()}
    config = PreprocessConfig(source=Path("in"), latents=True, retry_errors=True, **expected)
    assert preprocessing.asked == [("preprocess", config)]


def test_without_options_the_workspace_is_used(preprocessing: Remembered, megactor) -> None:
    assert megactor("preprocess").exit_code == 0
    (_, config) = preprocessing.asked[0]
    assert (config.source, config.output, config.size) == (None, Path("data/processed"), 512)
    assert config.audio_features == "log-mel"


@pytest.mark.parametrize(
    ("recipe", "size", "features"), [("tiny", 128, "log-mel"), ("paper", 512, "whisper")]
)
def test_the_recipes(preprocessing: Remembered, megactor, recipe: str, size: int, features: str) -> None:
    assert megactor("preprocess", "--recipe", recipe).exit_code == 0
    (_, config) = preprocessing.asked[0]
    assert (config.size, config.audio_features) == (size, features)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "100"], "Error: size = 100 is not a multiple of 32; use 96 or 128.\n"),
        (["--workers", "-1"], "Error: --workers is '-1', but must be at least 0.\n"),
        (["--faces", "two"], "--faces is 'two', but must be"),
        (["--set", "gop_frame=3"], "Error: --set gop_frame is not a known key; did you mean 'gop_frames'?\n"),
        (["--recipe", "tny"], "Error: There is no recipe 'tny' for preprocess; did you mean 'tiny'?\n"),
    ],
)
def test_a_wrong_value_is_one_message_and_exit_code_2(
    preprocessing: Remembered, megactor, arguments: list[str], message: str
) -> None:
    result = megactor("preprocess", *arguments)
    assert (result.exit_code, result.out) == (2, "")
    assert message in result.err
    assert result.err.count("\n") == 1
    assert preprocessing.asked == []


def test_people_read_counts_and_reasons(preprocessing: Remembered, megactor) -> None:
    result = megactor("preprocess", "in")
    assert "1 of 3 clips" in result.out
    assert "123.5 kB" in result.out
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert "a.mp4, b.mp4, c.mp4 and 2 more It is empty (0 bytes)." in lines
    assert "8.mp4 reason 8" in lines
    assert "9.mp4 reason 9" not in lines
    assert "3 more clips for other reasons; each clip's own reason is in 'out/index.parquet'." in lines
    assert "a note from the core" in result.err


def test_scripts_read_one_object(preprocessing: Remembered, megactor) -> None:
    assert json.loads(megactor("preprocess", "in", "--json").out) == REPORT.to_json()
    assert json.loads(megactor("preprocess", "in", "--json", "--dry-run").out) == ESTIMATE.to_json()


@pytest.mark.parametrize("arguments", [[""], ["in", "--output", ""], ["--set", "drivers=''"]])
def test_an_empty_path_is_not_the_folder_one_is_in(
    preprocessing: Remembered, megactor, arguments: list[str]
) -> None:
    result = megactor("preprocess", *arguments)
    assert result.exit_code == 2
    assert "the path is empty" in result.err or "must be a path" in result.err
    assert preprocessing.asked == []


def test_a_path_that_is_not_there_is_said_before_anything_large_is_loaded(tmp_path: Path) -> None:
    run = "import sys; from megactor_cli.app import run; code = run(['preprocess', 'nosuch']); "
    run += "print(code, 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", run], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["2", "False"]
    assert "There is no 'nosuch'" in done.stderr


def test_quiet_leaves_the_result_alone(preprocessing: Remembered, megactor) -> None:
    assert megactor("preprocess", "in", "--quiet").err == ""


def test_no_sample_at_all_is_exit_code_1(preprocessing: Remembered, megactor) -> None:
    preprocessing.report = replace(REPORT, ok=0)
    result = megactor("preprocess", "in", "--json")
    assert result.exit_code == 1
    assert json.loads(result.out)["ok"] == 0
    assert "No clip became a sample" in result.err


def test_a_dry_run_says_time_and_space(preprocessing: Remembered, megactor) -> None:
    result = megactor("preprocess", "in", "--dry-run")
    assert preprocessing.asked[0][0] == "estimate"
    lines = [line.split() for line in result.out.splitlines()]
    assert ["1", "5", "h"] in lines
    assert ["16", "19", "min"] in lines
    assert "2.0 GB, 1.0 TB free" in result.out


def test_nothing_there_is_one_message(megactor) -> None:
    result = megactor("preprocess")
    assert (result.exit_code, result.out) == (2, "")
    assert "there is no 'data/curated'" in result.err
    assert "megactor curate" not in result.err
    assert "megactor synth" in result.err
