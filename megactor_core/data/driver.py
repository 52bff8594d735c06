"""The driving picture of a training sample: eq. 1 on a driver that is changed first.

Shape legend:
    F target frames   S side of the picture in pixels
"""

from collections.abc import Set
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from megactor_core.config.data import DataConfig
from megactor_core.data.augment import Augmentation, draw_augmentation, recolour_frames, warp_frames
from megactor_core.data.draws import Purpose, generator
from megactor_core.data.patches import PatchCutter, PatchMasks
from megactor_core.data.substitutes import (
    Substitutes,
    bend_faces,
    degrade,
    draw_substitutes,
    posterise,
    smooth_surfaces,
    transfer_colours,
)
from megactor_core.faces.amplitude import transform_points
from megactor_core.faces.regions import Region, driving_composite

# Their mean is what the driver is stretched about: eye corners and nose stay put while the jaw moves.
_CENTRE_POINTS = (36, 39, 42, 45, *range(27, 36))


@dataclass(frozen=True, slots=True)
class Changes:
    """What is done to the driver of one sample, to all its frames alike."""

    substitutes: Substitutes
    augmentation: Augmentation


@dataclass(frozen=True, slots=True)
class Driving:
    """The driving picture (F, 3, S, S) float32 in [0, 1] and the masks it was cut with."""

    picture: Tensor
    masks: PatchMasks


def draw_changes(config: DataConfig, *, seed: int, index: int, clip: int, clips: int) -> Changes:
    """The changes of sample `index`, which shows clip number `clip` of `clips`."""
    return Changes(
        substitutes=draw_substitutes(
            config.substitute, generator(seed, index, Purpose.SUBSTITUTE), clip=clip, clips=clips
        ),
        augmentation=draw_augmentation(config.augment, generator(seed, index, Purpose.AUGMENT)),
    )


def draw_driving(
    frames: np.ndarray,
    points: np.ndarray,
    *,
    regions: Set[Region],
    cutter: PatchCutter,
    changes: Changes,
    config: DataConfig,
    palette: np.ndarray | None,
) -> Driving:
    """The driving picture of the driver's frames (F, S, S, 3) uint8, whose target's points are (F, 68, 2).

    Where the mouth does not drive it is painted over before anything else, so that no filter, no colour
    statistic and no warp can carry it into the picture. The augmentation's stretch [R] moves pixels and
    points together: patches are cut where the stretched face has its eyes and mouth, as `animate` cuts them
    on the aligned driver, and a little off the target's, as an aligned driver's are. palette: a frame of
    another clip to take the colours of, or None.
    """
    mouth_drives = "mouth" in regions
    shown = frames if mouth_drives else cutter.without_mouth(frames, points)
    shown = _substituted(
        shown, points, changes.substitutes, config=config, palette=palette, keep_mouth=mouth_drives
    )
    shown = recolour_frames(shown, changes.augmentation)
    matrix = changes.augmentation.matrix(points[:, list(_CENTRE_POINTS)].mean(axis=(0, 1)))
    masks = cutter.masks(
        driver_points=transform_points(matrix, points), target_points=points, regions=regions
    )
    picture = driving_composite(warp_frames(shown, matrix), masks.shown)
    return Driving(rearrange(torch.from_numpy(picture), "f h w c -> f c h w").contiguous(), masks)


def no_driving(points: np.ndarray, *, regions: Set[Region], cutter: PatchCutter) -> Driving:
    """A black driving picture, and the regions of the target (F, 68, 2) itself."""
    masks = cutter.masks(driver_points=points, target_points=points, regions=regions)
    return Driving(torch.zeros(len(points), 3, cutter.size_px, cutter.size_px), masks)


def _substituted(
    frames: np.ndarray,
    points: np.ndarray,
    substitutes: Substitutes,
    *,
    config: DataConfig,
    palette: np.ndarray | None,
    keep_mouth: bool,
) -> np.ndarray:
    if substitutes.smooth:
        frames = smooth_surfaces(frames)
    if substitutes.posterise:
        frames = posterise(frames, levels=config.substitute.posterise_levels)
    if palette is not None:
        frames = transfer_colours(frames, palette)
    if substitutes.bend is not None:
        frames = bend_faces(frames, points, substitutes.bend, keep_mouth=keep_mouth)
    if substitutes.degrade is not None:
        frames = degrade(frames, factor=substitutes.degrade)
    return frames
