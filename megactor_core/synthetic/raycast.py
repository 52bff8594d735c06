"""Where each pixel's line of sight meets a head: marching along it through the radius map.

Parallel rays, so no perspective. The march runs on a coarse grid first and is refined on a fine one. The
least gap between ray and surface gives the silhouette its soft edge.

Shape legend:
    H, W rows and columns of the chart      h, w rows and columns of the fine grid
"""

from dataclasses import dataclass

import cv2
import numpy as np

from megactor_core.synthetic.chart import PHI_REACH, Y_TOP, Chart

_COARSE_REACH = (*(0.4,) * 10, 0.3, 0.25, 0.2, 0.15, 0.1, 0.07, 0.05)
_FINE_REACH = (0.25, 0.12, 0.05)
"""The longest step on each of the grids: they shrink, so that rays do not swing about the edge of a lock."""
_COARSER = 3
_START = 1.2
"""Every ray starts this far in front of the axis, head units: before any nose."""
_DAMPING = 0.85
_BACK = 0.6
"""Steps back out of the head, as a share of the longest step."""
_LEAST_STEP = 0.10
"""A ray that grazes the jaw would stand still beside it; the neck behind it is to be found."""
_FLAT = 1e-4
"""A gap that changes by less than this says nothing about the surface's slope."""
BEND_TOP = 1.0
"""The neck bends below this height."""


@dataclass(frozen=True, slots=True)
class View:
    """How a head is seen: rotation (3, 3) from head to picture, centre in pixels, pixels per head unit.

    bend: x and z by which the neck is shifted at `bend_y`, growing with the square of the way down to there.
    """

    rotation: np.ndarray
    centre: tuple[float, float]
    unit_px: float
    bend: tuple[float, float]
    bend_y: float

    def shift(self, y: np.ndarray) -> np.ndarray:
        """Share of the bend at heights y."""
        return np.square(np.maximum(y - BEND_TOP, 0) / (self.bend_y - BEND_TOP))

    def project(self, phi: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Places on the surface, (P,) each, as pixels of the picture (P, 2)."""
        share = self.shift(y)
        x = radius * np.sin(phi) + share * self.bend[0]
        z = radius * np.cos(phi) + share * self.bend[1]
        seen = np.stack([x, y, z], axis=1) @ self.rotation.T
        return seen[:, :2] * self.unit_px + np.array(self.centre)


@dataclass(frozen=True, slots=True)
class Window:
    """Part of the picture that is marched: first pixel and size, in whole cells of `cell_px` pixels."""

    left: int
    top: int
    columns: int
    rows: int
    cell_px: int

    def centres(self, coarser: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Pixel positions of the cells' centres, (1, w) and (h, 1) float32."""

        def along(first: int, cells: int) -> np.ndarray:
            count = max(1, -(-cells // coarser))
            step = cells * self.cell_px / count
            return (first - 0.5 + (np.arange(count) + 0.5) * step).astype(np.float32)

        return along(self.left, self.columns)[np.newaxis], along(self.top, self.rows)[:, np.newaxis]


@dataclass(frozen=True, slots=True)
class Hits:
    """Where rays meet the surface: columns and rows of the chart, opacity of the silhouette; (h, w)."""

    columns: np.ndarray
    rows: np.ndarray
    alpha: np.ndarray


def cast(chart: Chart, radius: np.ndarray, view: View, window: Window) -> Hits:
    """March every cell's ray to the surface with radius (H, W) float32."""
    march = _March(chart, radius, view)
    rough = _Rays(march, window.centres(_COARSER), start=None)
    rough.advance(_COARSE_REACH, least=_LEAST_STEP)
    # The nearest of the neighbours' depths is a start that lies outside the surface.
    # Where all neighbours hit, every ray between them does, also beside the edge of a nose.
    around = np.ones((3, 3), np.uint8)
    fine = _Rays(march, window.centres(), start=rough.closest())
    fine.expect(cv2.dilate(rough.nearest, around))
    fine.advance(_FINE_REACH)
    fine.settle()
    return fine.hits(window.cell_px)


class _March:
    """What all rays of a picture share."""

    def __init__(self, chart: Chart, radius: np.ndarray, view: View) -> None:
        self.radius, self.view = radius, view
        self.columns_per_radian = np.float32(chart.columns_per_radian)
        self.rows_per_unit = np.float32(chart.rows_per_unit)
        self.first_column = np.float32(PHI_REACH * chart.columns_per_radian)
        self.first_row = np.float32(-Y_TOP * chart.rows_per_unit)
        self.direction = view.rotation[2].astype(np.float32)
        self.last_row = np.float32(chart.height - 1)


class _Rays:
    """The rays of one grid, on their way."""

    def __init__(
        self, march: _March, centres: tuple[np.ndarray, np.ndarray], *, start: np.ndarray | None
    ) -> None:
        self.march, self.refined = march, start is not None
        view, (right, down) = march.view, centres
        x = (right - np.float32(view.centre[0])) / np.float32(view.unit_px)
        y = (down - np.float32(view.centre[1])) / np.float32(view.unit_px)
        turned = view.rotation.astype(np.float32)
        self.origin = [turned[0, axis] * x + turned[1, axis] * y for axis in range(3)]
        # Above this row no ray comes down to the neck before it is through the head.
        deepest = self.origin[1].max(axis=1) + _START * abs(march.direction[1])
        self.bent_from = int(np.searchsorted(np.maximum.accumulate(deepest), BEND_TOP))
        shape = self.origin[0].shape
        if start is None:
            self.depth = np.full(shape, _START, np.float32)
        else:
            self.depth = cv2.resize(start, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
        self.gap = np.full(shape, 9, np.float32)
        self.nearest = self.gap
        self.previous = self.depth
        self.best = self.depth

    def closest(self) -> np.ndarray:
        """The depth of every ray's hit, or of its nearest approach where it missed, (h, w)."""
        return np.where(self.nearest > 0, self.best, self.depth)

    def expect(self, gap: np.ndarray) -> None:
        """Take over the least gaps of a coarser grid."""
        rows, columns = self.depth.shape
        self.nearest = cv2.resize(gap, (columns, rows), interpolation=cv2.INTER_LINEAR)

    def advance(self, reach: tuple[float, ...], *, least: float = 0.0) -> None:
        """Step along the rays by the distance to the surface, damped; by `least` at least where outside."""
        for longest in reach:
            self._look()
            step = np.clip(self.gap, -_BACK * longest, longest)
            if least:
                step = np.where(step > 0, np.maximum(step, np.float32(min(least, longest))), step)
            self.previous, self.depth = self.depth, cv2.scaleAdd(step, -_DAMPING, self.depth)

    def settle(self) -> None:
        """One step along the secant of the last two places: damped steps swing to and fro at an overhang."""
        before = self.gap
        self._look()
        change = self.gap - before
        change[np.abs(change) < _FLAT] = 9
        share = np.clip(self.gap / change, -0.5, 1)
        self.depth = self.depth - share * (self.depth - self.previous)

    def hits(self, cell_px: int) -> Hits:
        columns, rows, _ = self._place(self.depth)
        cells = self.nearest * np.float32(self.march.view.unit_px / cell_px)
        inside = (rows > 0) & (rows < self.march.last_row)
        alpha = np.clip(np.float32(1.15) - cells, 0, 1) * inside
        return Hits(columns, rows, alpha)

    def _look(self) -> None:
        """Measure the gap to the surface (negative inside) and remember the least."""
        columns, rows, reach = self._place(self.depth)
        surface = cv2.remap(
            self.march.radius, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        self.gap = reach - surface
        if not self.refined:
            self.best = np.where(self.gap < self.nearest, self.depth, self.best)
        self.nearest = cv2.min(self.gap, self.nearest)

    def _place(self, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Columns and rows of the chart at a depth of each ray, and the distance from the axis there."""
        march = self.march
        x, y, z = (cv2.scaleAdd(depth, float(march.direction[i]), self.origin[i]) for i in range(3))
        lower = slice(self.bent_from, None)
        share = march.view.shift(y[lower])
        x[lower] -= share * np.float32(march.view.bend[0])
        z[lower] -= share * np.float32(march.view.bend[1])
        columns = np.arctan2(x, z) * march.columns_per_radian + march.first_column
        rows = y * march.rows_per_unit + march.first_row
        return columns, rows, cv2.magnitude(x, z)
