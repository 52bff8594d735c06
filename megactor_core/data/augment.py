"""Augmentation of the driving frames (the release's kinds and rates [R]) and of stored log-mel sound.

Shape legend:
    F frames   S side in pixels   M mel bands   J mel frames of a window
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from megactor_core.config.data import AugmentConfig, SoundAugmentConfig
from megactor_core.faces.crop import warp_image
from megactor_core.faces.regions import LUMA

_LEVELS = np.arange(256, dtype=np.float32)
_NOISE_SHAPE = 2.0  # gamma: how much a mel band of a short stretch of white noise fluctuates; approximate
_DECIBEL = 1 / 40  # log-mel units: a factor of ten in power is 10 dB and a quarter
_FLOOR = -1.0  # the log-mel scale's silence


@dataclass(frozen=True, slots=True)
class Augmentation:
    """The drawn change of a sample's driving frames: the same for all of them.

    stretch (x, y) about the face; factors of brightness, contrast and saturation; hue in turns.
    """

    stretch: tuple[float, float]
    grayscale: bool
    brightness: float
    contrast: float
    saturation: float
    hue: float

    def matrix(self, centre: np.ndarray) -> np.ndarray:
        """The (2, 3) map of the stretch about `centre` (2,)."""
        linear = np.diag(self.stretch)
        shift = (np.eye(2) - linear) @ centre.astype(np.float64)
        return np.concatenate([linear, shift[:, np.newaxis]], axis=1)


def draw_augmentation(config: AugmentConfig, rng: np.random.Generator) -> Augmentation:
    """Draw everything in one order whatever the rates are, so that no rate changes another's draws."""
    warps, greys, jitters = rng.random(3) < (config.warp_rate, config.grayscale_rate, config.jitter_rate)
    aspect = math.sqrt(rng.uniform(config.aspect_min, config.aspect_max))
    scale = rng.uniform(config.scale_min, config.scale_max)
    brightness, contrast, saturation = 1 + rng.uniform(-1, 1, 3) * (
        config.brightness,
        config.contrast,
        config.saturation,
    )
    hue = rng.uniform(-config.hue, config.hue)
    return Augmentation(
        stretch=(scale * aspect, scale / aspect) if warps else (1.0, 1.0),
        grayscale=bool(greys),
        brightness=float(brightness) if jitters else 1.0,
        contrast=float(contrast) if jitters else 1.0,
        saturation=float(saturation) if jitters else 1.0,
        hue=float(hue) if jitters else 0.0,
    )


def recolour_frames(frames: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    """Grey, then brightness, contrast, saturation and hue: (F, S, S, 3) uint8 to the same.

    Contrast turns about the mean luma of all frames together, so that it does not flicker.
    """
    if augmentation.grayscale:
        frames = grey_frames(frames)
    if (augmentation.brightness, augmentation.contrast) != (1, 1):
        frames = apply_curve(frames, _tone_curve(frames, augmentation))
    if augmentation.saturation != 1:
        share = augmentation.saturation
        frames = np.stack([cv2.addWeighted(frame, share, _grey(frame), 1 - share, 0) for frame in frames])
    if augmentation.hue:
        frames = np.stack([_turn_hue(frame, augmentation.hue) for frame in frames])
    return frames


def warp_frames(frames: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Draw every frame through the (2, 3) map of its points, black from outside: as `animate` aligns."""
    if np.array_equal(matrix, np.eye(2, 3)):
        return frames
    size_px = frames.shape[1]
    return np.stack([warp_image(frame, matrix, size_px=size_px, border="black") for frame in frames])


def grey_frames(frames: np.ndarray) -> np.ndarray:
    """Luma in all three channels, (F, S, S, 3) uint8."""
    return np.stack([_grey(frame) for frame in frames])


def apply_curve(frames: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Look every value up in a curve (256,) or a curve a channel (256, 3)."""
    table = np.clip(np.rint(curve), 0, 255).astype(np.uint8)
    return table[frames] if table.ndim == 1 else np.stack([cv2.LUT(f, table[np.newaxis]) for f in frames])


def augment_windows(
    windows: Tensor, columns: Tensor, config: SoundAugmentConfig, rng: np.random.Generator
) -> Tensor:
    """Gain and noise on log-mel windows (F, M, J); columns (F, J) are their mel frames, negative outside.

    A gain shifts the log scale, exactly down to its floor. Noise adds its power in every band, and the same
    in a mel frame that several windows show; that it fluctuates as white noise does is approximate.
    """
    louder, noisy = rng.random(2) < (config.gain_rate, config.noise_rate)
    gain_db = rng.uniform(-config.gain_db, config.gain_db)
    noise_db = rng.uniform(config.noise_db_min, config.noise_db_max)
    changed = windows
    if louder:
        changed = changed + gain_db * _DECIBEL
    if noisy:
        changed = (_power(changed) + _noise(windows.shape[1], columns, noise_db, rng)).log10() / 4 + 1
    inside = (columns >= 0)[:, None]
    return torch.where(inside, changed.clamp(min=_FLOOR), windows)


def _tone_curve(frames: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    bright = np.clip(_LEVELS * augmentation.brightness, 0, 255)
    middle = float(bright[frames].mean(axis=(0, 1, 2)) @ LUMA)
    return np.asarray(middle + augmentation.contrast * (bright - middle))


def _grey(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _turn_hue(frame: np.ndarray, turns: float) -> np.ndarray:
    hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(turns * 256) % 256)  # wraps round, as hue does
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def _power(log_mel: Tensor) -> Tensor:
    return 10 ** (4 * (log_mel - 1))


def _noise(bands: int, columns: Tensor, noise_db: float, rng: np.random.Generator) -> Tensor:
    """Noise power (F, M, J), drawn once for each mel frame from the first to the last that is shown."""
    first, last = int(columns.min()), int(columns.max())
    power = rng.gamma(_NOISE_SHAPE, 10 ** (noise_db / 10) / _NOISE_SHAPE, (bands, last - first + 1))
    return torch.from_numpy(power.astype(np.float32))[:, columns - first].transpose(0, 1)
