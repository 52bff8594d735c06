"""Eye and mouth regions: boxes, pixel masks, the driving picture of eq. (1), and masks over tokens."""

from collections.abc import Set
from dataclasses import dataclass
from typing import Literal

import numpy as np
from einops import rearrange

from megactor_core.errors import ConfigError

Region = Literal["eyes", "mouth"]
BoxShape = Literal["square", "tight"]
BoxPer = Literal["frame", "clip"]

# iBUG-68, [R]'s grouping: a side is a brow and its eye.
SIDE_A = (*range(17, 22), *range(36, 42))
SIDE_B = (*range(22, 27), *range(42, 48))
MOUTH = tuple(range(48, 68))
REGIONS: frozenset[Region] = frozenset({"eyes", "mouth"})
LUMA = (0.2989, 0.5870, 0.1140)
"""Weights of red, green and blue in the driving picture [R]."""


@dataclass(frozen=True, slots=True)
class RegionBoxes:
    """Boxes x0, y0, x1, y1 in pixels, float32: eyes (F, 2, 4), mouth (F, 1, 4); NaN where there is no face.

    They may reach beyond the picture.
    """

    eyes: np.ndarray
    mouth: np.ndarray


def region_boxes(
    points: np.ndarray,
    *,
    size_px: int,
    shape: BoxShape,
    per: BoxPer,
    divisor: float,
    padding: float,
) -> RegionBoxes:
    """The boxes of both eyes (with brows) and of the mouth: points (F, 68, 2) of a crop of `size_px` pixels.

    square: centred on the mean of the region's points, half a side is size_px / divisor. tight: from the
    centre of the points' box, `padding` times its width and height to each side. per clip: the union over
    the frames, the same box for every frame, as [R] trains.
    """

    def boxes(group: tuple[int, ...]) -> np.ndarray:
        selected = points[:, list(group)].astype(np.float64)
        if shape == "square":
            return _square_boxes(selected, half_px=size_px / divisor)
        return _tight_boxes(selected, padding=padding)

    eyes = np.stack([boxes(SIDE_A), boxes(SIDE_B)], axis=1)
    mouth = boxes(MOUTH)[:, np.newaxis]
    if per == "clip":
        eyes, mouth = _union_over_frames(eyes), _union_over_frames(mouth)
    return RegionBoxes(eyes=eyes.astype(np.float32), mouth=mouth.astype(np.float32))


def box_masks(boxes: np.ndarray, *, size_px: int) -> np.ndarray:
    """Every pixel that one of the K boxes touches: (F, K, 4) -> (F, size_px, size_px) bool, rows first.

    Pixels are touched whole, so a mask never covers less than its box; NaN boxes touch nothing.
    """
    pixels = np.arange(size_px)
    columns = (pixels + 0.5 > boxes[..., 0:1]) & (pixels - 0.5 < boxes[..., 2:3])
    rows = (pixels + 0.5 > boxes[..., 1:2]) & (pixels - 0.5 < boxes[..., 3:4])
    mask = np.zeros((len(boxes), size_px, size_px), dtype=bool)
    for k in range(boxes.shape[1]):
        mask |= rows[:, k, :, np.newaxis] & columns[:, k, np.newaxis, :]
    return mask


def driving_masks(boxes: RegionBoxes, *, size_px: int, regions: Set[str]) -> tuple[np.ndarray, np.ndarray]:
    """The eye and the mouth masks of F frames' boxes, (F, size_px, size_px) bool each.

    Where the mouth is not driven, its pixels are taken out of the eye mask: the boxes may overlap, and
    mouth pixels would otherwise reach the model through the eyes' box.
    Raises ConfigError for a region other than eyes and mouth.
    """
    require_regions(regions)
    eyes = box_masks(boxes.eyes, size_px=size_px)
    mouth = box_masks(boxes.mouth, size_px=size_px)
    if "mouth" not in regions:
        eyes &= ~mouth
    return eyes, mouth


def driven_mask(eyes: np.ndarray, mouth: np.ndarray, *, regions: Set[str]) -> np.ndarray:
    """The union of the masks of the driven regions: what the driving picture shows (eq. 1)."""
    require_regions(regions)
    mask = np.zeros_like(eyes)
    if "eyes" in regions:
        mask |= eyes
    if "mouth" in regions:
        mask |= mouth
    return mask


def driving_composite(frames: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The driving picture: luma inside the mask, 0 outside, the same in three channels.

    frames (F, S, S, 3) uint8 and mask (F, S, S) bool -> (F, S, S, 3) float32 in [0, 1].
    """
    luma = np.einsum("fhwc,c->fhw", frames, np.array(LUMA, dtype=np.float32) / 255, dtype=np.float32)
    return np.repeat(np.where(mask, luma, np.float32(0))[..., np.newaxis], 3, axis=-1)


def token_mask(mask: np.ndarray, *, stride_px: int = 16, dilate_tokens: int = 0) -> np.ndarray:
    """The tokens a pixel mask touches: (F, S, S) bool -> (F, (S / stride_px)**2) bool, row by row.

    A token is set where any of its pixels is (stride 16 for the transformer's tokens, 8 for the latent),
    then the set grows by `dilate_tokens` in all eight directions.
    Raises ConfigError where the size is no multiple of the stride.
    """
    height, width = mask.shape[1:]
    if height % stride_px or width % stride_px:
        raise ConfigError(
            f"A mask of {width}x{height} pixels does not divide into tokens of {stride_px} pixels.",
            fix=f"Choose a size that is a multiple of {stride_px}.",
        )
    cells = rearrange(mask, "f (h p) (w q) -> f h w (p q)", p=stride_px, q=stride_px)
    return rearrange(_dilate(np.asarray(cells.any(axis=-1)), dilate_tokens), "f h w -> f (h w)")


def require_regions(regions: Set[str]) -> None:
    """Raise ConfigError for names other than eyes and mouth."""
    if unknown := sorted(set(regions) - REGIONS):
        raise ConfigError(
            f"There is no region '{unknown[0]}'.", fix=f"The regions are {', '.join(sorted(REGIONS))}."
        )


def _square_boxes(points: np.ndarray, *, half_px: float) -> np.ndarray:
    centre = points.mean(axis=1)
    return np.concatenate([centre - half_px, centre + half_px], axis=-1)


def _tight_boxes(points: np.ndarray, *, padding: float) -> np.ndarray:
    low, high = points.min(axis=1), points.max(axis=1)
    centre, reach = (low + high) / 2, padding * (high - low)
    return np.concatenate([centre - reach, centre + reach], axis=-1)


def _union_over_frames(boxes: np.ndarray) -> np.ndarray:
    """The box round each of the K boxes of all frames; frames without a face keep NaN."""
    seen = np.isfinite(boxes).all(axis=(1, 2))
    union = np.full_like(boxes, np.nan)
    if seen.any():
        low = boxes[seen, :, :2].min(axis=0)
        high = boxes[seen, :, 2:].max(axis=0)
        union[seen] = np.concatenate([low, high], axis=-1)
    return union


def _dilate(tokens: np.ndarray, reach: int) -> np.ndarray:
    if reach == 0:
        return tokens
    padded = np.pad(tokens, ((0, 0), (reach, reach), (reach, reach)))
    window = (2 * reach + 1, 2 * reach + 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, window, axis=(1, 2))
    return np.asarray(windows.any(axis=(-2, -1)))
