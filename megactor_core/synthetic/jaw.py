"""Letting the jaw down: the lower rows of every chart move, the neck takes up what they move.

Shape legend:
    H, W rows and columns of the chart      a, b rows and columns of the part of it that moves
"""

from dataclasses import dataclass

import cv2
import numpy as np

from megactor_core.synthetic.chart import PHI_REACH, Chart, smoothstep
from megactor_core.synthetic.contours import NECK_STILL, jaw_shift
from megactor_core.synthetic.identity import Identity
from megactor_core.synthetic.state import FaceState

_GOES, _STAYS = 1.15, 1.5
"""Directions between which the skin stops following the jaw."""


class Jaw:
    """What the jaw moves of one identity's chart."""

    def __init__(self, chart: Chart, identity: Identity) -> None:
        self.chart, self.identity = chart, identity
        self.follows = (1 - smoothstep(_GOES, _STAYS, np.abs(chart.phi))).astype(np.float32)  # (1, W)
        reach = round((PHI_REACH - _STAYS) * chart.columns_per_radian)
        self.columns = slice(reach, chart.width - reach)
        first = int(chart.row(identity.mouth.y)) - 1
        self.rows = slice(first, min(chart.height, int(chart.row(NECK_STILL[1])) + 2))
        self.heights = chart.y[:, 0].astype(np.float64)
        self.canonical = np.arange(chart.height, dtype=np.float64)
        shape = (self.rows.stop - self.rows.start, self.columns.stop - self.columns.start)
        across = np.arange(self.columns.start, self.columns.stop, dtype=np.float32)
        self.across = np.ascontiguousarray(np.broadcast_to(across, shape))

    def dropped(self, state: FaceState) -> "DroppedJaw":
        """The jaw as a state has it."""
        posed = self.heights + jaw_shift(self.identity, state, self.heights)
        rows = np.interp(self.heights, posed, self.canonical).astype(np.float32)
        numbers = self.canonical[self.rows, np.newaxis].astype(np.float32)
        down = (rows[self.rows, np.newaxis] - numbers) * self.follows[:, self.columns] + numbers
        return DroppedJaw(self, rows, down)


@dataclass(frozen=True, slots=True)
class DroppedJaw:
    """rows (H,) float32: the canonical row that is seen at each row where the skin follows the jaw.

    down (a, b) float32: the canonical rows of the part that moves.
    """

    jaw: Jaw
    rows: np.ndarray
    down: np.ndarray

    def moved(self, chart_picture: np.ndarray) -> np.ndarray:
        """A copy of a chart (H, W, ...) with the jaw let down."""
        moved = chart_picture.copy()
        moved[self.jaw.rows, self.jaw.columns] = cv2.remap(
            chart_picture, self.jaw.across, self.down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return moved

    def canonical_rows(self, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The rows before the jaw went down of places on the chart, in the shape of `columns` and `rows`."""
        nothing = np.zeros_like(rows)
        followed = cv2.remap(
            self.rows[:, np.newaxis], nothing, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        share = cv2.remap(
            self.jaw.follows, columns, nothing, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return rows + (followed - rows) * share
