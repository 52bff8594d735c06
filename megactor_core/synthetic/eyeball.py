"""The front of an eye: white, iris with its ring and fibres, pupil; painted once, moved with the gaze."""

import cv2
import numpy as np

from megactor_core.synthetic.chart import smoothstep
from megactor_core.synthetic.identity import Identity

_WHITE = np.array([216, 209, 204], np.float32)
_REACH = 0.25
"""Half the side of the painted square, head units."""


class Eyeball:
    """Pictures of one identity's eye at `unit_px` pixels a head unit; whiter to both sides of the iris."""

    def __init__(self, identity: Identity, *, unit_px: float) -> None:
        side_px = max(16, round(2 * _REACH * unit_px))
        self._centre = (side_px - 1) / 2
        grid = (np.arange(side_px, dtype=np.float32) - self._centre) / unit_px
        self._iris = _painted_iris(identity, *np.meshgrid(grid, grid))

    def seen(self, shape: tuple[int, int], centre: np.ndarray, gaze: np.ndarray) -> np.ndarray:
        """The eye in a patch of `shape`, (h, w, 4) uint8: centre of the lids, gaze from it, (2,) pixels."""
        rows, columns = shape
        moved = centre + gaze - self._centre
        shift = np.array([[1, 0, moved[0]], [0, 1, moved[1]]], np.float64)
        return cv2.warpAffine(
            self._iris, shift, (columns, rows), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )


def _painted_iris(identity: Identity, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """White, iris, pupil and the lamp's glint, (P, P, 4) uint8; x, y (P, P) from the middle of the iris."""
    draw = np.random.default_rng([identity.seed, 6])
    radius, angle = np.hypot(x, y) / identity.eyes.iris_radius, np.arctan2(y, x)
    edge = 0.5 * float(x[0, 1] - x[0, 0]) / identity.eyes.iris_radius  # half a pixel, for soft edges
    fibres = np.interp(angle, np.linspace(-np.pi, np.pi, 48), draw.normal(0, 1, 48))
    iris = np.array(identity.eyes.iris, np.float32)
    glow = 0.75 + 0.5 * smoothstep(-0.6, 0.8, y / identity.eyes.iris_radius)  # lit from above, glows below
    colour = (
        iris * (glow * (1 + 0.10 * fibres) * (1.25 - 0.35 * smoothstep(0.45, 0.9, radius)))[..., np.newaxis]
    )
    ring = smoothstep(0.78, 0.98, radius)[..., np.newaxis]
    colour = colour * (1 - 0.72 * ring)
    shade = (1 - 0.22 * smoothstep(0.09, 0.22, np.abs(x)))[..., np.newaxis]
    outside = smoothstep(1 - edge - 0.06, 1 + edge + 0.06, radius)[..., np.newaxis]
    colour = colour * (1 - outside) + _WHITE * shade * outside
    pupil = smoothstep(0.44 + edge, 0.38 - edge, radius)[..., np.newaxis]
    colour = colour * (1 - pupil) + np.array([10, 8, 9], np.float32) * pupil
    side = 1 if identity.light.azimuth_degrees > 0 else -1
    glint = np.hypot(x / identity.eyes.iris_radius - 0.34 * side, y / identity.eyes.iris_radius + 0.36)
    spark = smoothstep(0.26 + edge, 0.14, glint)[..., np.newaxis]
    colour = colour * (1 - spark) + 255 * spark
    painted = np.full((*x.shape, 4), 255, np.uint8)
    painted[..., :3] = np.clip(colour, 0, 255)
    return painted
