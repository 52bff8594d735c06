"""Held-out clips animated while a stage trains: the same ones each time, by each driver alone and together.

The clip's own picture and sound drive another frame of it, cut and masked as training cuts them; sampling is
`animate`'s, with the checkpoint's settings.

Shape legend:
    F frames   S side of the picture in pixels   C latent channels   H, W latent sides   T audio tokens
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, Self

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from megactor_core.animation.conditions import Conditions, Speech
from megactor_core.animation.denoise import Sampling, denoise
from megactor_core.animation.driving import open_driving, write_nothing
from megactor_core.animation.output import decode_frames
from megactor_core.animation.store import RunFolder
from megactor_core.config.animate import AnimateConfig
from megactor_core.config.data import DataConfig, FaceDropoutConfig, MixConfig
from megactor_core.config.train import TrainConfig
from megactor_core.data.batch import Item
from megactor_core.data.dataset import TrainingData
from megactor_core.data.sample import IndexRow
from megactor_core.data.source import ClipSource, SampleFolder, StoredClip
from megactor_core.listener import Listener
from megactor_core.metrics.picture import psnr
from megactor_core.training.start import Model

CLIP_FRAMES = AnimateConfig().window.frames
"""Frames of an animated clip: one window."""

Shares = Mapping[str, float]
MODES: Mapping[str, Shares] = {
    "A": {"visual": 0, "audio": 1, "mixed": 0},
    "V": {"visual": 1, "audio": 0, "mixed": 0},
    "A+V": {"visual": 0, "audio": 0, "mixed": 1},
}
"""Ways to drive a clip, as mixes of the reader's; A+V shows the driver's eyes alone, as stage 2 trains."""


@dataclass(frozen=True, slots=True)
class AnimatedClip:
    """One held-out clip in every mode, frames (F, S, S, 3) uint8."""

    name: str
    portrait: np.ndarray
    """(S, S, 3) uint8"""
    target: np.ndarray
    animated: Mapping[str, np.ndarray]
    psnr_db: Mapping[str, float]
    """Mean over the frames, against the target."""


class HeldOut(Protocol):
    """What a stage shows of itself on people whom it has not seen."""

    def animate(self, device: torch.device, listener: Listener) -> list[AnimatedClip]:
        """All of its clips, with the weights as they are."""
        ...


class HeldOutClips:
    """Clips to animate: for each of them, an item of the reader's in every mode."""

    def __init__(self, clips: ClipSource, config: TrainConfig, model: Model) -> None:
        """`model` with its autoencoder; raises ConfigError where no clip is long enough."""
        self._config, self._model = config, model
        rows = list(range(len(clips.rows)))
        heard = [number for number in rows if clips.rows[number].has_audio]
        uses_audio = config.stage != 1 and bool(heard)
        chosen = _Chosen(clips, heard if uses_audio else rows)  # so that all modes draw from the same clips
        self._readers = {
            mode: TrainingData(
                chosen, config=_draws(config.draw, shares), model=model.config, seed=config.seed
            )
            for mode, shares in MODES.items()
            if uses_audio or mode == "V"
        }
        self.count = min(config.validation_clips, len(chosen.rows))

    @classmethod
    def open(cls, config: TrainConfig, model: Model) -> Self:
        """Of the run's data folder.

        Raises ConfigError where no held-out clip fits, WeightsError where the public autoencoder is missing.
        """
        held_out = config.draw.model_copy(update={"split": "validation"})
        return cls(SampleFolder(config.data, held_out), config, model.with_autoencoder())

    @torch.no_grad()
    def animate(self, device: torch.device, listener: Listener) -> list[AnimatedClip]:
        """Animate all of them with the model as it is, which lies on `device` but for the autoencoder."""
        animated = []
        for number in range(self.count):
            animated.append(self._animate(number, device))
            listener.progress("animating held-out clips", number + 1, self.count)
        return animated

    def _animate(self, number: int, device: torch.device) -> AnimatedClip:
        items = {mode: reader[number] for mode, reader in self._readers.items()}
        item = next(iter(items.values()))
        assert item.reference is not None
        assert item.target is not None
        target = _pictures(item.target)
        animated = {mode: self._sample(item, device) for mode, item in items.items()}
        reader = next(iter(self._readers.values()))
        return AnimatedClip(
            name=reader.source.rows[reader.clip(number)].sample_id,
            portrait=_pictures(item.reference[None])[0],
            target=target,
            animated=animated,
            psnr_db={mode: float(psnr(target, frames).mean()) for mode, frames in animated.items()},
        )

    def _sample(self, item: Item, device: torch.device) -> np.ndarray:
        """(F, S, S, 3) uint8"""
        model = self._model
        assert model.autoencoder is not None
        autoencoder = model.autoencoder.to(device)
        sampling = Sampling.of(AnimateConfig(seed=self._config.seed), model.config)
        with TemporaryDirectory() as scratch:
            folder = RunFolder(Path(scratch))
            try:
                conditions = self._conditions(item, folder, device)
                latents = denoise(model.sigma, conditions, sampling, folder, Listener())
                return np.stack(list(decode_frames(autoencoder, latents, count=conditions.frames, batch=4)))
            finally:
                folder.close()

    def _conditions(self, item: Item, folder: RunFolder, device: torch.device) -> Conditions:
        """What `animate` reads from files, from an item of the reader's."""
        model = self._model
        assert item.reference is not None
        assert model.autoencoder is not None
        frames, size_px = len(item.driving), model.config.native_px
        drives = item.mode != "audio"
        driving = open_driving(folder, model.config, size_px=size_px, driven=[drives] * frames)
        write_nothing(driving, model.sigma, size_px=size_px)
        if drives:
            motion = model.sigma.driven_encoder(item.driving.to(device))
            driving.motion.write(0, motion.float().cpu().numpy())
            driving.eyes.write(0, item.eyes.numpy())
            driving.mouth.write(0, item.mouth.numpy())
        return Conditions(
            config=model.config,
            frames=frames,
            reference_latent=model.autoencoder.encode((item.reference[None].to(device) + 1) / 2),
            driving=driving,
            followed=list(range(frames)),
            speech=_speech(item, model, folder, device) if item.has_audio else None,
            mask_mode=self._config.mask_mode if item.mask_active else "off",
        )


class _Chosen:
    """Some of a source's clips."""

    def __init__(self, source: ClipSource, numbers: Sequence[int]) -> None:
        self._source, self._numbers = source, numbers

    @property
    def rows(self) -> Sequence[IndexRow]:
        return [self._source.rows[number] for number in self._numbers]

    def open(self, number: int) -> StoredClip:
        return self._source.open(self._numbers[number])


def _draws(draw: DataConfig, shares: Shares) -> DataConfig:
    """The stage's draws without chance: one mode, all regions, every frame, pictures, nothing dropped."""
    changes = {
        "mix": MixConfig(**shares),
        "face_dropout": FaceDropoutConfig(nothing=0, eyes=0, mouth=0, both=1),
        "null_rate": 0.0,
        "clip_frames": CLIP_FRAMES,
        "frames_per_reference": 1,
        "stride_min": 1,
        "stride_max": 1,
        "latents": False,
    }
    return draw.without_augmentation().model_copy(update=changes)


def _speech(item: Item, model: Model, folder: RunFolder, device: torch.device) -> Speech:
    """A record a frame, (T, E), and the zero state."""
    audio = item.audio.to(device)
    tokens = audio if model.audio_encoder is None else model.audio_encoder(audio)  # (F, T, E)
    states = torch.cat([tokens, torch.zeros_like(tokens[:1])]).float().cpu().numpy()
    file = folder.file("audio", shape=states.shape[1:])
    file.write(0, states)
    return Speech(states=file, index=np.arange(len(audio))[:, None])


def _pictures(pixels: Tensor) -> np.ndarray:
    """(F, 3, S, S) in [-1, 1] -> (F, S, S, 3) uint8."""
    return rearrange(((pixels + 1) * 127.5).round().byte(), "f c h w -> f h w c").numpy()
