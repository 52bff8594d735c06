"""Which part of the picture a head may cover: enough points of its surface, seen in any pose.

Shape legend:
    N points
"""

from dataclasses import dataclass

import cv2
import numpy as np

from megactor_core.synthetic.chart import Chart
from megactor_core.synthetic.contours import jaw_shift
from megactor_core.synthetic.identity import Identity
from megactor_core.synthetic.raycast import View
from megactor_core.synthetic.state import FaceState

_DIRECTIONS = 40
_STEP_Y = 0.08
_MARGIN = 0.05
"""What may stand out between two points, head units."""
_WIDEST_MOUTH = 1.25


@dataclass(frozen=True, slots=True)
class Hull:
    """Places (3, N) float32 on a head all round, with the jaw up and let down."""

    places: np.ndarray

    @staticmethod
    def of(chart: Chart, identity: Identity, radius: np.ndarray, opacity: np.ndarray) -> "Hull":
        """From the radius (H, W) where the surface is not transparent: opacity (H, W) uint8."""
        step = max(1, round(_STEP_Y * chart.rows_per_unit))
        widest = cv2.dilate(np.where(opacity > 0, radius, -1), np.ones((2 * step + 1, 1), np.uint8))
        phi = np.linspace(-np.pi, np.pi, _DIRECTIONS, endpoint=False)
        columns = np.clip(chart.pixels(np.stack([phi, 0 * phi], axis=1))[:, 0].round(), 0, chart.width - 1)
        rows = np.append(np.arange(0, chart.height - 1, step), chart.height - 1)
        around = widest[rows][:, columns.astype(int)]
        there = around > 0
        y = np.broadcast_to(chart.y[rows], around.shape)[there]
        phi = np.broadcast_to(phi, around.shape)[there]
        down = y + jaw_shift(identity, FaceState(mouth_open=_WIDEST_MOUTH), y)
        x, z = around[there] * np.sin(phi), around[there] * np.cos(phi)
        places = np.concatenate([np.stack([x, y, z]), np.stack([x, down, z])], axis=1)
        return Hull(np.ascontiguousarray(places, np.float32))

    def box(self, view: View) -> tuple[tuple[int, int], tuple[int, int]]:
        """The first pixel (x, y) that may show the head, and the first beyond it."""
        seen = view.seen(self.places)
        margin = _MARGIN * view.unit_px + 2
        left, top = np.floor(seen.min(axis=1) - margin).astype(int)
        right, bottom = np.ceil(seen.max(axis=1) + margin).astype(int) + 1
        return (int(left), int(top)), (int(right), int(bottom))
