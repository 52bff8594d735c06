"""Held-out frames through the autoencoder while it trains: what it makes of people it has not seen.

Shape legend:  F frames   S side of the picture in pixels
"""

from typing import Self

import numpy as np
import torch
from einops import rearrange

from megactor_core.config.train import TrainConfig
from megactor_core.data.source import ClipSource, SampleFolder
from megactor_core.listener import Listener
from megactor_core.metrics.picture import psnr
from megactor_core.models.autoencoder import Autoencoder
from megactor_core.training.held_out import CLIP_FRAMES, AnimatedClip
from megactor_core.training.start import Model

MODE = "decoded"


class HeldOutPictures:
    """The first frames of some held-out clips, the same ones each time."""

    def __init__(self, clips: ClipSource, config: TrainConfig, autoencoder: Autoencoder) -> None:
        self._clips, self._autoencoder = clips, autoencoder
        self.count = min(config.validation_clips, len(clips.rows))

    @classmethod
    def open(cls, config: TrainConfig, model: Model) -> Self:
        """Of the run's data folder; raises ConfigError where it has no held-out clip."""
        assert model.autoencoder is not None
        held_out = config.draw.model_copy(update={"split": "validation"})
        return cls(SampleFolder(config.data, held_out), config, model.autoencoder)

    def animate(self, device: torch.device, listener: Listener) -> list[AnimatedClip]:
        """Encode and decode all of them with the weights as they are, which lie on `device`."""
        decoded = []
        for number in range(self.count):
            decoded.append(self._decode(number, device))
            listener.progress("decoding held-out clips", number + 1, self.count)
        return decoded

    def _decode(self, number: int, device: torch.device) -> AnimatedClip:
        row = self._clips.rows[number]
        target = self._clips.open(number).read_frames(list(range(min(CLIP_FRAMES, row.frames or 0))))
        pictures = rearrange(torch.from_numpy(target).to(device).float() / 255, "f h w c -> f c h w")
        found = self._autoencoder.decode(self._autoencoder.encode(pictures))
        frames = rearrange((found * 255).round().byte().cpu(), "f c h w -> f h w c").numpy()
        return AnimatedClip(
            name=row.sample_id,
            portrait=target[0],
            target=target,
            animated={MODE: np.ascontiguousarray(frames)},
            psnr_db={MODE: float(psnr(target, frames).mean())},
        )
