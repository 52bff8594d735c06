"""CPU time of reading a batch against a training step on it: python tests/benchmarks/data.py FOLDER

FOLDER is what these two commands leave, or any other preprocessed at 128 px:

    megactor synth --clips 16 --seconds 3 --twins --output /tmp/corpus
    megactor preprocess /tmp/corpus --size 128 --output FOLDER

Batches of 16 samples of stage 2 with its augmentation, new ones every round, decoded from video; the step is
forward and backward of `tiny` alone, without the autoencoder, the audio encoder and the optimiser, so that a
real step takes longer. Also frames decoded a sample. Exit code 1 where the control pair says that the machine
was too noisy.
"""

import statistics
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import torch
from measure import CONTROL_TOLERANCE, Seconds, interleaved, ratio, spread

from megactor_core.config.data import DataConfig
from megactor_core.config.model import LATENT_STRIDE_PX, ModelConfig
from megactor_core.data.batch import Batch, collate
from megactor_core.data.dataset import TrainingData
from megactor_core.media.seekable import SeekableVideo
from megactor_core.models.masks import region_mask
from megactor_core.models.sigma import Sigma

BATCH = 16
ROUNDS = 15
CONFIG = ModelConfig.preset("tiny")


def make_step(batch: Batch) -> Callable[[], object]:
    """Forward and backward of the model on a batch's conditions."""
    torch.manual_seed(0)
    sigma = Sigma(CONFIG)
    side = CONFIG.native_px // LATENT_STRIDE_PX
    latents = torch.randn(BATCH, 1, CONFIG.latent_channels, side, side)
    mask = region_mask(
        mouth=batch.mouth.flatten(0, 1),
        eyes=batch.eyes.flatten(0, 1),
        mode="paper",
        active=batch.mask_active,
    )

    def step() -> None:
        with torch.enable_grad():
            prediction = sigma(
                latents,
                torch.full((BATCH,), 500),
                reference_latent=latents[:, 0],
                driving=batch.driving,
                audio=torch.zeros(BATCH, 1, CONFIG.audio.tokens, CONFIG.audio.width),
                mask=mask,
            )
            (prediction**2 * batch.loss_weight).mean().backward()

    return step


def make_reader(data: TrainingData, numbers: Iterator[int]) -> Callable[[], Batch]:
    """Reads the next batch at every call."""
    return lambda: collate([data[next(numbers)] for _ in range(BATCH)])


def decoded_per_sample(data: TrainingData, samples: int) -> float:
    """Frames that the decoder went through, counted."""
    counts: list[int] = []
    leave = SeekableVideo.__exit__

    def counting(self: SeekableVideo, *reason: Any) -> None:
        counts.append(self.decoded)
        leave(self, *reason)

    SeekableVideo.__exit__ = counting  # type: ignore[method-assign]
    try:
        for index in range(samples):
            data[index]
    finally:
        SeekableVideo.__exit__ = leave  # type: ignore[method-assign]
    return sum(counts) / samples


def main(folder: Path) -> int:
    """Print the ratios; 1 where the control failed."""
    data = TrainingData.open(folder, config=DataConfig.for_stage(2), model=CONFIG, seed=0)
    plain = TrainingData.open(
        folder, config=DataConfig.for_stage(2).without_augmentation(), model=CONFIG, seed=0
    )
    step = make_step(collate([data[i] for i in range(BATCH)]))
    seconds = interleaved(
        {
            "step": step,
            "step again": step,
            "read": make_reader(data, count()),
            "read without augmentation": make_reader(plain, count()),
        },
        rounds=ROUNDS,
    )
    control = ratio(seconds["step again"], seconds["step"])
    sys.stdout.writelines(f"{line}\n" for line in report(seconds))
    sys.stdout.write(
        f"frames decoded a sample: {decoded_per_sample(data, 200):.1f}\ncontrol: {control:.3f}\n"
    )
    return int(abs(control - 1) > CONTROL_TOLERANCE)


def report(seconds: Seconds) -> Iterator[str]:
    """The shares of a step that reading takes, and the median of each work."""
    for name in ("read", "read without augmentation"):
        share, spread_of_share = ratio(seconds[name], seconds["step"]), spread(seconds[name], seconds["step"])
        yield f"{name} / step: {share:.3f} ({spread_of_share})"
    for name, taken in seconds.items():
        yield f"{name}: {1e3 * statistics.median(taken):.0f} ms a batch of {BATCH}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
