"""The chart of a head: columns are directions round the vertical axis, rows are heights.

Everything about a head is kept in such pictures: how far its surface is from the axis, its normals, its
colours. Brows, eyes and mouth are drawn into them frame by frame.

Shape legend:
    H, W rows and columns of the chart
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

PHI_REACH = 2.3
"""Half the chart's range of directions, radians; a head turned by 40 degrees shows no more."""
Y_TOP, Y_BOTTOM = -1.42, 1.62
X_PER_PHI = 0.8
"""Head units per radian on the face: x of a feature over this is its direction."""
_OVERSAMPLING = 1.9 / 0.335
"""Columns of the chart per pixel of head unit in the picture; fewer would blur the face."""


@dataclass(frozen=True)
class Chart:
    """The size of a chart, and the ways between (phi, y) and its pixels (whole numbers at pixel centres)."""

    width: int
    height: int

    @staticmethod
    def for_scale(unit_px: float) -> "Chart":
        """The chart for a head whose unit is `unit_px` pixels in the picture."""
        width = max(64, round(_OVERSAMPLING * unit_px))
        px_per_unit = width / (2 * PHI_REACH * X_PER_PHI)
        return Chart(width, round(px_per_unit * (Y_BOTTOM - Y_TOP)))

    @property
    def px_per_unit(self) -> float:
        return self.width / (2 * PHI_REACH * X_PER_PHI)

    @property
    def columns_per_radian(self) -> float:
        return (self.width - 1) / (2 * PHI_REACH)

    @property
    def rows_per_unit(self) -> float:
        return (self.height - 1) / (Y_BOTTOM - Y_TOP)

    @cached_property
    def phi(self) -> np.ndarray:
        """Direction of each column, (1, W) float32: 0 to the front, positive to the picture's right."""
        return np.linspace(-PHI_REACH, PHI_REACH, self.width, dtype=np.float32)[np.newaxis]

    @cached_property
    def y(self) -> np.ndarray:
        """Height of each row, (H, 1) float32, downwards."""
        return np.linspace(Y_TOP, Y_BOTTOM, self.height, dtype=np.float32)[:, np.newaxis]

    def row(self, y: float) -> float:
        return (y - Y_TOP) * self.rows_per_unit

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) directions and heights as (..., 2) columns and rows, float32."""
        scale = np.array([self.columns_per_radian, self.rows_per_unit])
        return ((points + np.array([PHI_REACH, -Y_TOP])) * scale).astype(np.float32)


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between; in the type of `value`."""
    share = np.clip((value - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def bump(distance: np.ndarray, reach: float | np.ndarray) -> np.ndarray:
    """A Gaussian hill: exp(-(distance / reach)^2)."""
    return np.exp(-np.square(distance / reach))
