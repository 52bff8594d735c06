"""Runs in processes of their own: killed for real, and two that train together."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from megactor_core.config.train import TrainConfig
from megactor_core.training.train import train

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

PROGRAM = """
import atexit, importlib.util, os, signal, sys
import torch.distributed
def require_no_link():
    if torch.distributed.is_initialized():
        print("The link between the processes is still there.", file=sys.stderr, flush=True)
        os._exit(3)  # raising here would not change the exit code
atexit.register(require_no_link)  # what is registered later runs before it
spec = importlib.util.spec_from_file_location("fakes", sys.argv[3])
fakes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fakes)
from megactor_core.config.train import TrainConfig
from megactor_core.training.train import train
config = TrainConfig.model_validate_json(sys.argv[1])
def on_progress(phase, done, total):
    if done == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
train(config, source=fakes.FakeSource(stage=config.stage), on_progress=on_progress)
"""


def run_program(config: TrainConfig, tmp_path: Path, *, kill_at: int, launcher: tuple[str, ...] = ()) -> int:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, *launcher, str(program)]
    command += [config.model_dump_json(), str(kill_at), str(HERE / "conftest.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    if done.returncode > 0:
        pytest.fail(done.stderr[-3000:])
    return done.returncode


def largest_difference(one: Path, other: Path) -> float:
    names = ("sigma.safetensors", "audio_encoder.safetensors")
    pairs = [(load_file(one / name), load_file(other / name)) for name in names]
    return max(float((a[key] - b[key]).abs().max()) for a, b in pairs for key in a)


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_bit_for_bit(
    make_config: Callable[..., TrainConfig], fake_source, tmp_path: Path
) -> None:
    whole = make_config(2, output=tmp_path / "whole")
    train(whole, source=fake_source(stage=2))
    for kill_at in (1, 4, 5):
        config = make_config(2, output=tmp_path / f"killed-{kill_at}", init=whole.init)
        assert run_program(config, tmp_path, kill_at=kill_at) == -signal.SIGKILL
        assert not (config.folder / "final").exists()
        train(config.updated(resume=True), source=fake_source(stage=2))
        assert largest_difference(whole.folder / "final", config.folder / "final") == 0


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize(
    "how", [("--multi_gpu",), ("--use_fsdp", "--fsdp_version", "2")], ids=["ddp", "fsdp"]
)
def test_two_processes_are_one_with_twice_the_accumulation(
    how: tuple[str, ...], stage: int, make_config: Callable[..., TrainConfig], fake_source, tmp_path: Path
) -> None:
    settings = {"steps": 4, "checkpoint_every": 4, "learning_rate": 1e-4}
    alone = make_config(stage, output=tmp_path / "alone", accumulate=2, **settings)
    train(alone, source=fake_source(stage=stage))
    together = make_config(stage, output=tmp_path / "together", init=alone.init, **settings)
    launcher = ("-m", "accelerate.commands.launch", *how, "--num_processes", "2")
    run_program(together, tmp_path, kill_at=0, launcher=launcher)
    # and on from a checkpoint, which both ways of training can read
    short = together.updated(output=tmp_path / "short", steps=2)
    run_program(short, tmp_path, kill_at=0, launcher=launcher)
    run_program(short.updated(steps=4, resume=True), tmp_path, kill_at=0, launcher=launcher)
    assert largest_difference(together.folder / "final", short.folder / "final") == 0
    assert largest_difference(alone.folder / "final", together.folder / "final") < 1e-5
    assert largest_difference(alone.folder / "final", alone.folder / "checkpoints" / "start") > 1e-5
