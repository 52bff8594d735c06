"""The autoencoder's latents of every frame, so that training need not encode pictures."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.data.sample import VIDEO, create_latents
from megactor_core.engine.stage import Needs, Row, WorkerContext
from megactor_core.media.video import read_video
from megactor_core.models.autoencoder import Autoencoder
from megactor_core.preprocessing import workplace
from megactor_core.preprocessing.networks import load_autoencoder, repeatable
from megactor_core.preprocessing.track import CLIP_TIMEOUT_SECONDS

ENCODE_FRAMES = 4
"""Pictures encoded at once: bounds memory; always the same, so that sums come out the same."""


@dataclass(slots=True)
class Latents:
    """Writes latents.safetensors of the frames as they come out of video.mp4, computed in float32.

    The stored video is what training would encode, so the two ways agree. Adds the column has_latents.
    """

    name: ClassVar[str] = "latents"
    needs: ClassVar[Needs] = Needs(gpus=1, memory_gb=4.0, timeout_seconds=CLIP_TIMEOUT_SECONDS)

    config: PreprocessConfig
    samples: Path
    version: str
    autoencoder: Path
    """A checkpoint's folder, or that of an AutoencoderKL."""
    _network: Autoencoder | None = field(default=None, init=False, repr=False)
    _device: str = field(default="cpu", init=False, repr=False)

    def setup(self, worker: WorkerContext) -> None:
        """Load the autoencoder; raises WeightsError."""
        self._device = worker.device
        self._network = load_autoencoder(self.autoencoder).to(worker.device)

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        """One row for each clip."""
        for row in batch:
            with workplace.kept_only_if_done(self.samples, row) as folder, repeatable():
                self._encode(folder, frames=row["frames"])
            yield {**row, "has_latents": True}

    def _encode(self, folder: Path, *, frames: int) -> None:
        assert self._network is not None
        files: tuple[np.memmap, np.memmap] | None = None
        start = 0
        for pictures in _batches(read_video(folder / VIDEO, limits=self.config.limits)):
            moments = self._network.moments(pictures.to(self._device))
            if files is None:
                _, c, h, w = moments[0].shape
                files = create_latents(folder, shape=(frames, c, h, w))
            for file, values in zip(files, moments, strict=True):
                file[start : start + len(values)] = values.to(torch.float16).cpu().numpy()
            start += len(pictures)
        for file in files or ():
            file.flush()


def _batches(frames: Iterable[np.ndarray]) -> Iterator[Tensor]:
    """Pictures (n, 3, S, S) float32 in [0, 1]."""
    iterator = iter(frames)
    while chunk := list(islice(iterator, ENCODE_FRAMES)):
        yield rearrange(torch.from_numpy(np.stack(chunk)), "n h w c -> n c h w").float() / 255
