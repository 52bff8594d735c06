"""CPU time of training steps and of reading for them: python tests/benchmarks/training.py FOLDER [FOLDER_256]

FOLDER is what these two commands leave, or any other preprocessed at 128 px; FOLDER_256 the same with
--size 256, for the preset `small`:

    megactor synth --clips 16 --seconds 3 --twins --output /tmp/corpus
    megactor preprocess /tmp/corpus --size 128 --output FOLDER

The settings are the recipes' of the tiny model; `small` takes the stage's own, and clips of 8 frames. A step
is a real one: pictures encoded by the autoencoder, unless FOLDER holds latents, forward, backward, clipping,
AdamW, moving average. Printed are samples a CPU second, the counted work behind them as a share of what large
matrix products reach on the same thread, and the CPU time of reading the same number of samples, with all
augmentation, beside it.
Exit code 1 where the control pair says that the machine was too noisy.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import torch
from measure import CONTROL_TOLERANCE, Seconds, interleaved, ratio, spread

from megactor_core.config.model import ModelConfig, PresetName
from megactor_core.config.recipes import find_recipe, read_recipe
from megactor_core.config.train import TrainConfig
from megactor_core.data.loader import DataBatches
from megactor_core.models.autoencoder import Autoencoder
from megactor_core.models.checkpoint import CheckpointInfo, draw_parts
from megactor_core.training.devices import make_accelerator
from megactor_core.training.loop import Loop
from megactor_core.training.start import Model
from megactor_core.training.task import stage_task

PEAK_SIDE = 1024
SAMPLES: dict[tuple[PresetName, int], int] = {
    ("tiny", 1): 3,
    ("tiny", 2): 3,
    ("tiny", 3): 2,
    ("small", 1): 2,
    ("small", 2): 2,
    ("small", 3): 1,
}
"""Samples a step, by preset and stage."""


def config_of(preset: PresetName, stage: int, folder: Path) -> TrainConfig:
    settings = {"stage": stage, "data": folder, "device": "cpu", "output": Path(tempfile.gettempdir())}
    if preset == "tiny":
        recipe = read_recipe(find_recipe("train", f"tiny-stage{stage}"))
    else:
        recipe = {"draw": {"clip_frames": 8}} if stage == 3 else {}
    return TrainConfig.build({**recipe, **settings, "preset": preset}, source="here")


def new_model(config: ModelConfig) -> Model:
    parts = draw_parts(config, seed=0)
    assert parts.autoencoder is not None
    return Model(
        info=CheckpointInfo(name="new", trained=False, model=config),
        sigma=parts.sigma,
        autoencoder=Autoencoder(parts.autoencoder, scaling_factor=1.0),
        audio_encoder=parts.audio_encoder,
    )


def make_works(config: TrainConfig, samples: int) -> tuple[dict[str, Callable[[], object]], int]:
    """A step, the same again, reading for it, and a matrix product; and the FLOPs of a sample."""
    source = DataBatches.open(config.data, config=config.draw, model=config.model, seed=0)
    model, device = new_model(config.model), torch.device("cpu")
    task = stage_task(config, model, device=device, holds_latents=source.holds_latents)
    loop = Loop(config, task, make_accelerator(config))
    batch, numbers = source.batch(range(samples)), count()
    square = torch.ones(PEAK_SIDE, PEAK_SIDE)

    def step() -> None:
        with torch.enable_grad():
            next(loop.steps(iter([batch])))

    works: dict[str, Callable[[], object]] = {
        "step": step,
        "step again": step,
        "read": lambda: source.batch([next(numbers) for _ in range(samples)]),
        "product": lambda: [torch.mm(square, square) for _ in range(4)],
    }
    return works, task.sample_flops


def report(seconds: Seconds, *, samples: int, frames: int, sample_flops: int) -> Iterator[str]:
    step = statistics.median(seconds["step"])
    rate = samples * sample_flops / step
    peak = 4 * 2 * PEAK_SIDE**3 / min(seconds["product"])
    yield f"{samples / step:.2f} samples of {frames} frames a CPU second, {sample_flops / 1e9:.2f} GFLOP each"
    yield f"{rate / 1e9:.1f} of {peak / 1e9:.1f} GFLOP/s: {rate / peak:.0%} of the peak"
    share = ratio(seconds["read"], seconds["step"])
    yield f"read / step: {share:.3f} ({spread(seconds['read'], seconds['step'])})"


def main(folder: Path, folder_256: Path | None = None) -> int:
    """Print each preset and stage; 1 where a control failed."""
    torch.set_num_threads(1)
    failed = 0
    for (preset, stage), samples in SAMPLES.items():
        place = folder if preset == "tiny" else folder_256
        if place is None:
            continue
        config = config_of(preset, stage, place)
        works, sample_flops = make_works(config, samples)
        seconds = interleaved(works)
        control = ratio(seconds["step again"], seconds["step"])
        failed |= abs(control - 1) > CONTROL_TOLERANCE
        sys.stdout.write(f"{preset}, stage {stage}, {samples} samples a step (control {control:.3f})\n")
        frames = config.draw.target_frames
        lines = report(seconds, samples=samples, frames=frames, sample_flops=sample_flops)
        sys.stdout.writelines(f"    {line}\n" for line in lines)
        sys.stdout.flush()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
