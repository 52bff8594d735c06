"""Killed, interrupted, finished, changed: what --resume makes of each."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from megactor_core.animation.animate import AnimateReport, animate
from megactor_core.animation.store import RunFolder
from megactor_core.config.animate import AnimateConfig
from megactor_core.errors import ConfigError, Interrupted, OutputError
from megactor_core.files import read_json, sha256_of, write_json
from megactor_core.models.checkpoint import MANIFEST, SIGMA
from megactor_core.models.dit import Denoiser

pytestmark = pytest.mark.slow  # whole runs

STEPS = 5

KILLED = """
import os, signal, sys
from megactor_core.animation.animate import animate
from megactor_core.config.animate import AnimateConfig
config = AnimateConfig.model_validate_json(sys.argv[1])
def progress(phase, done, total):
    if phase == "denoising" and done >= int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
animate(config, progress)
"""


@pytest.fixture
def config(media: Path, speaking_checkpoint: Path, tmp_path: Path) -> AnimateConfig:
    """30 frames in windows of 8, 5 steps, with guidance: 150 frame steps. Unsigned, to compare bytes."""
    return AnimateConfig(
        reference=media / "portrait.png",
        driving=media / "driver.mp4",
        audio=media / "speech.wav",
        checkpoint=speaking_checkpoint,
        output=tmp_path / "out.mp4",
        steps=STEPS,
        window={"frames": 8},
        provenance=False,
    )


def stop_at(frames_done: int, error: type[BaseException]) -> Callable[[str, int, int], None]:
    def progress(phase: str, done: int, total: int) -> None:
        if phase == "denoising" and done >= frames_done:
            raise error

    return progress


def output(config: AnimateConfig) -> Path:
    assert config.output is not None
    return config.output


@pytest.mark.parametrize("frames_done", [4, 71, 149])
def test_killed_and_resumed_is_bit_identical(config: AnimateConfig, tmp_path: Path, frames_done: int) -> None:
    """Killed inside the first, a middle and the last step."""
    command = [sys.executable, "-c", KILLED, config.model_dump_json(), str(frames_done)]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not output(config).exists()
    assert RunFolder.of(output(config)).state().get("steps_done", 0) == frames_done // 30
    seen: list[int] = []
    animate(config.updated(resume=True), lambda phase, done, total: seen.append(done))
    resumed = output(config).read_bytes()
    assert not RunFolder.of(output(config)).path.exists()
    animate(config.updated(seed=1))
    animate(config)
    assert resumed == output(config).read_bytes()


def test_interrupted_says_how_to_go_on_and_goes_on(
    config: AnimateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = animate(config).output.read_bytes()
    output(config).unlink()
    with pytest.raises(Interrupted, match=r"2 solver steps .*--resume") as caught:
        animate(config, stop_at(71, KeyboardInterrupt))
    assert caught.value.exit_code == 130
    calls = []
    forward = Denoiser.forward

    def count(self: Denoiser, *args: Any, **kwargs: Any) -> Any:
        calls.append(args[0].shape)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(Denoiser, "forward", count)
    phases: list[str] = []
    animate(config.updated(resume=True), lambda phase, done, total: phases.append(phase))
    assert "finding the driver's face" not in phases  # the drivers are not read again
    assert len(calls) == sum(2 * n for n in (5, 5, 5))  # three steps, two rows of guidance, five windows
    assert output(config).read_bytes() == whole


def test_cadence_may_change(config: AnimateConfig) -> None:
    with pytest.raises(Interrupted):
        animate(config, stop_at(71, KeyboardInterrupt))
    report = animate(config.updated(resume=True, window_batch=3, decode_batch=2))
    assert report.frames == 30


@pytest.mark.parametrize(
    ("change", "words"),
    [({"seed": 9}, "seed was 0, now 9"), ({"alpha": 0.5}, "alpha was 1.0, now 0.5")],
)
def test_other_settings_are_refused(config: AnimateConfig, change: dict[str, Any], words: str) -> None:
    with pytest.raises(Interrupted):
        animate(config, stop_at(71, KeyboardInterrupt))
    with pytest.raises(ConfigError, match=words):
        animate(config.updated(resume=True, **change))
    assert RunFolder.of(output(config)).state()["steps_done"] == 2  # still there to go on with
    assert animate(config.updated(**change)).frames == 30  # without --resume it starts anew


def test_other_inputs_are_refused(config: AnimateConfig, media: Path, tmp_path: Path) -> None:
    driver = tmp_path / "driver.mp4"
    driver.write_bytes((media / "driver.mp4").read_bytes())
    config = config.updated(driving=driver)
    with pytest.raises(Interrupted):
        animate(config, stop_at(71, KeyboardInterrupt))
    driver.write_bytes(driver.read_bytes() + b"\0\0\0\x08free")
    with pytest.raises(ConfigError, match="input files"):
        animate(config.updated(resume=True))


def test_a_finished_run_is_left_as_it_is(config: AnimateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    first = animate(config.updated(compare=True))
    before = first.output.stat().st_mtime_ns
    monkeypatch.setattr(Denoiser, "forward", None)
    again = animate(config.updated(compare=True, resume=True))
    assert isinstance(again, AnimateReport)
    assert again.to_json() == first.to_json()
    assert first.output.stat().st_mtime_ns == before


def test_a_damaged_or_other_result_is_made_again(config: AnimateConfig) -> None:
    whole = animate(config).output.read_bytes()
    output(config).write_bytes(whole[:-10])
    assert animate(config.updated(resume=True)).output.read_bytes() == whole
    assert animate(config.updated(resume=True, seed=4)).output.read_bytes() != whole


def test_a_result_of_other_weights_is_made_again(config: AnimateConfig, tmp_path: Path) -> None:
    """A checkpoint that was trained on, under the same name."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(config.checkpoint, folder)
    config = config.updated(checkpoint=folder)
    first = animate(config).output.read_bytes()
    weights = load_file(folder / SIGMA)
    save_file({name: value * 1.01 for name, value in weights.items()}, folder / SIGMA)
    manifest = read_json(folder / MANIFEST)
    manifest[SIGMA]["sha256"] = sha256_of(folder / SIGMA)
    write_json(folder / MANIFEST, manifest)
    second = animate(config.updated(resume=True)).output.read_bytes()
    assert second != first
    assert second == animate(config.updated(resume=True)).output.read_bytes()


def test_resume_with_nothing_to_resume_starts(config: AnimateConfig) -> None:
    assert animate(config.updated(resume=True)).frames == 30


def test_a_strange_folder_in_the_way_is_kept(config: AnimateConfig) -> None:
    folder = RunFolder.of(output(config)).path
    folder.mkdir()
    (folder / "diary.txt").write_text("precious")
    with pytest.raises(OutputError, match="not a run of megactor"):
        animate(config)
    assert (folder / "diary.txt").read_text() == "precious"


def test_a_damaged_state_starts_anew(config: AnimateConfig) -> None:
    with pytest.raises(Interrupted):
        animate(config, stop_at(71, KeyboardInterrupt))
    state = RunFolder.of(output(config)).path / "state.json"
    state.write_text(json.dumps({"run": 3}))
    with pytest.raises(ConfigError, match="Cannot go on"):
        animate(config.updated(resume=True))
    assert animate(config).frames == 30
