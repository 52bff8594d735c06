"""Eq. 1 in training: which pixels of the driver drive, and which tokens and latents the mouth covers.

Two faces take part. The driver's, after its augmentation, says where patches are cut and what must not be
seen; the target's says where the mouth is drawn: its tokens may not read the eyes' (eq. 2), and its latents
leave the loss. `animate` aligns the driver to the portrait, and there both are one face.

Shape legend:
    F frames   S side in pixels
"""

from collections.abc import Set
from dataclasses import dataclass

import numpy as np

from megactor_core.config.data import PatchConfig
from megactor_core.faces.regions import (
    BoxShape,
    Region,
    RegionBoxes,
    box_masks,
    driven_mask,
    driving_masks,
    region_boxes,
)


@dataclass(frozen=True, slots=True)
class PatchMasks:
    """Masks of pixels, (F, S, S) bool each.

    shown: what the driving picture shows. eyes: the driver's eye patches; mouth: the target's mouth.
    """

    shown: np.ndarray
    eyes: np.ndarray
    mouth: np.ndarray


@dataclass(frozen=True, slots=True)
class PatchCutter:
    """Cuts the patches of one sample: its drawn size, the same for driver and target."""

    config: PatchConfig
    divisor: int
    size_px: int

    def masks(
        self, *, driver_points: np.ndarray, target_points: np.ndarray, regions: Set[Region]
    ) -> PatchMasks:
        """The masks of a sample whose `regions` drive; points (F, 68, 2).

        Where the mouth does not drive, neither the driver's mouth nor the place of the target's is in the
        eyes' patches: the first would show it, the second would put eye pixels right into mouth tokens.
        """
        mouth_of_target = self.mouth(target_points)
        eyes, mouth = driving_masks(self._boxes(driver_points), size_px=self.size_px, regions=regions)
        if "mouth" not in regions:
            eyes &= ~(self.mouth(driver_points) | mouth_of_target)
        return PatchMasks(shown=driven_mask(eyes, mouth, regions=regions), eyes=eyes, mouth=mouth_of_target)

    def mouth(self, points: np.ndarray) -> np.ndarray:
        """All that counts as mouth where it does not drive: its patch, and the box of its points."""
        patch = self._boxes(points)
        own = self._boxes_of(points, shape="tight", padding=self.config.guard_padding)
        return box_masks(np.concatenate([patch.mouth, own.mouth], axis=1), size_px=self.size_px)

    def without_mouth(self, frames: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Frames with the mouth painted black: what is filtered or warped later cannot spread it."""
        return np.where(self.mouth(points)[..., np.newaxis], np.uint8(0), frames)

    def _boxes(self, points: np.ndarray) -> RegionBoxes:
        return self._boxes_of(points, shape=self.config.shape, padding=self.config.padding)

    def _boxes_of(self, points: np.ndarray, *, shape: BoxShape, padding: float) -> RegionBoxes:
        return region_boxes(
            points,
            size_px=self.size_px,
            shape=shape,
            per=self.config.per,
            divisor=self.divisor,
            padding=padding,
        )
