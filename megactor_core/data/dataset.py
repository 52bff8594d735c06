"""Training samples by number: sample `index` is a pure function of the seed and of `index`.

Shape legend:
    F target frames   S side of the picture in pixels   C latent channels   H = W = S / 8   N = (S / 16)^2
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.utils.data import Dataset

from megactor_core.config.data import DataConfig
from megactor_core.config.model import LATENT_STRIDE_PX, TOKEN_STRIDE_PX, ModelConfig
from megactor_core.data.batch import Item
from megactor_core.data.draws import (
    Condition,
    FrameDraw,
    Purpose,
    draw_clip,
    draw_condition,
    draw_divisor,
    draw_frames,
    generator,
)
from megactor_core.data.driver import Driving, draw_changes, draw_driving, no_driving
from megactor_core.data.patches import PatchCutter
from megactor_core.data.pools import make_pools
from megactor_core.data.sample import IndexRow
from megactor_core.data.sound import read_sound, silence
from megactor_core.data.source import ClipSource, SampleFolder, StoredClip
from megactor_core.errors import ConfigError
from megactor_core.faces.regions import token_mask

_MOUTH_DILATION_LATENTS = 1  # for the autoencoder's receptive field; ours
_MOST_RATE_DENOMINATOR = 1001  # of video rates such as 30000/1001, which the index rounds to a float


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A sample's draws, and the clip they fell on."""

    index: int
    condition: Condition
    number: int
    row: IndexRow
    clip: StoredClip
    frames: FrameDraw


@dataclass(frozen=True, slots=True)
class _Pictures:
    """Reference and targets as pictures in [-1, 1] or as latents; `decoded`: target frames, if any were."""

    reference: Tensor | None = None
    target: Tensor | None = None
    reference_latent: Tensor | None = None
    target_latent: Tensor | None = None
    decoded: np.ndarray | None = None


class TrainingData(Dataset[Item]):
    """A stream of samples without an end: `data[index]` for any index from 0.

    An epoch of the visual mode shows every clip at most once, and so does one of the modes with sound.
    """

    def __init__(self, source: ClipSource, *, config: DataConfig, model: ModelConfig, seed: int) -> None:
        """Raises ConfigError where the clips do not fit the model or the configuration."""
        self.source = source
        self.config = config
        self.model = model
        self.seed = seed
        self.pools = make_pools(source.rows, config, model)

    @classmethod
    def open(cls, folder: Path, *, config: DataConfig, model: ModelConfig, seed: int) -> Self:
        """Samples of a folder that `megactor preprocess` wrote.

        Raises MediaError where there is no index, ConfigError where its clips do not fit.
        """
        return cls(SampleFolder(folder, config), config=config, model=model, seed=seed)

    def __len__(self) -> int:
        """Clips that samples are drawn from: an epoch of the visual mode. The stream goes on after it."""
        return len(self.pools.all)

    def condition(self, index: int) -> Condition:
        """What drives sample `index`; reads nothing."""
        return draw_condition(self.config, seed=self.seed, index=index)

    def clip(self, index: int) -> int:
        """The number of the clip, in `source.rows`, that sample `index` shows; reads nothing."""
        pool = self.pools.of(self.condition(index).mode)
        return pool[draw_clip(len(pool), seed=self.seed, index=index)]

    def __getitem__(self, index: int) -> Item:
        """Sample `index`; raises MediaError where its files are missing or damaged."""
        drawn = self._draw(index)
        pictures = self._pictures(drawn)
        driving = self._driving(drawn, pictures.decoded)
        return Item(
            index=index,
            mode=drawn.condition.mode,
            reference=pictures.reference,
            target=pictures.target,
            reference_latent=pictures.reference_latent,
            target_latent=pictures.target_latent,
            driving=driving.picture,
            eyes=_tokens(driving.masks.eyes, dilate=self.model.mask.eye_dilation_tokens),
            mouth=_tokens(driving.masks.mouth, dilate=0),
            mask_active=drawn.condition.masks_attention,
            loss_weight=_loss_weight(driving.masks.mouth, spares_mouth=drawn.condition.spares_mouth),
            audio=self._audio(drawn),
            has_audio=drawn.condition.hears,
            null=drawn.condition.null,
        )

    def _draw(self, index: int) -> _Drawn:
        number = self.clip(index)
        clip = self.source.open(number)
        frames = draw_frames(self.config, found=clip.found, seed=self.seed, index=index)
        return _Drawn(index, self.condition(index), number, self.source.rows[number], clip, frames)

    def _pictures(self, drawn: _Drawn) -> _Pictures:
        wanted = [drawn.frames.reference, *drawn.frames.target.tolist()]
        if self.pools.stored_latents:
            mean, _ = drawn.clip.latents(wanted)
            _require_latent_shape(mean, drawn.row, self.model)
            latents = torch.from_numpy(mean.astype(np.float32))
            return _Pictures(reference_latent=latents[0], target_latent=latents[1:])
        decoded = drawn.clip.read_frames(wanted)
        pictures = rearrange(torch.from_numpy(decoded).float() / 127.5 - 1, "n h w c -> n c h w").contiguous()
        return _Pictures(reference=pictures[0], target=pictures[1:], decoded=decoded[1:])

    def _driving(self, drawn: _Drawn, decoded: np.ndarray | None) -> Driving:
        condition, points = drawn.condition, drawn.clip.points[drawn.frames.target]
        divisor = draw_divisor(self.config.patch, seed=self.seed, index=drawn.index)
        cutter = PatchCutter(self.config.patch, divisor=divisor, size_px=self.model.native_px)
        if not condition.drives_visually:
            return no_driving(points, regions=condition.regions, cutter=cutter)
        clips = len(self.source.rows)
        changes = draw_changes(self.config, seed=self.seed, index=drawn.index, clip=drawn.number, clips=clips)
        return draw_driving(
            self._driver_frames(drawn, decoded, own=changes.substitutes.driver),
            points,
            regions=condition.regions,
            cutter=cutter,
            changes=changes,
            config=self.config,
            palette=self._palette(changes.substitutes.palette),
        )

    def _driver_frames(self, drawn: _Drawn, decoded: np.ndarray | None, *, own: bool) -> np.ndarray:
        """(F, S, S, 3): the sample's own driver where it has one and `own` says so, else the target."""
        wanted = drawn.frames.target.tolist()
        if own and drawn.row.has_driver:
            return drawn.clip.read_driver_frames(wanted)
        return drawn.clip.read_frames(wanted) if decoded is None else decoded

    def _palette(self, place: tuple[int, float] | None) -> np.ndarray | None:
        """A frame of another clip, to take the colours of."""
        if place is None:
            return None
        number, where = place
        frame = int(where * (self.source.rows[number].frames or 1))
        return self.source.open(number).read_frames([frame])[0]

    def _audio(self, drawn: _Drawn) -> Tensor:
        if not drawn.condition.hears:
            return silence(len(drawn.frames.target), self.model.audio)
        return read_sound(
            drawn.clip,
            drawn.frames.target,
            audio=self.model.audio,
            video_fps=Fraction(drawn.row.video_fps or 0).limit_denominator(_MOST_RATE_DENOMINATOR),
            augment=self.config.sound,
            rng=generator(self.seed, drawn.index, Purpose.SOUND),
        )


def _tokens(mask: np.ndarray, *, dilate: int) -> Tensor:
    return torch.from_numpy(token_mask(mask, stride_px=TOKEN_STRIDE_PX, dilate_tokens=dilate))


def _loss_weight(mouth: np.ndarray, *, spares_mouth: bool) -> Tensor:
    """(F, 1, H, W): 0 in the grown mouth where it is spared, else 1."""
    frames, side = len(mouth), mouth.shape[1] // LATENT_STRIDE_PX
    if not spares_mouth:
        return torch.ones(frames, 1, side, side)
    spared = token_mask(mouth, stride_px=LATENT_STRIDE_PX, dilate_tokens=_MOUTH_DILATION_LATENTS)
    return rearrange(torch.from_numpy(~spared).float(), "f (h w) -> f 1 h w", h=side)


def _require_latent_shape(mean: np.ndarray, row: IndexRow, model: ModelConfig) -> None:
    side = model.native_px // LATENT_STRIDE_PX
    wanted = (model.latent_channels, side, side)
    if mean.shape[1:] != wanted:
        raise ConfigError(
            f"The latents of '{row.sample_id}' are {_shape(mean.shape[1:])}, the model's {_shape(wanted)}.",
            fix="Preprocess again with the model's autoencoder, or set latents = false to read pictures.",
        )


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
