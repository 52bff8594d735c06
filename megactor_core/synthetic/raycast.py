"""Where each pixel's line of sight meets a head: marching along it through the radius map.

Parallel rays, so no perspective. The march runs on a coarse grid first and is refined on a fine one. The
least gap between ray and surface gives the silhouette its soft edge. Where the fine grid's cells are larger
than a pixel, the pixels along an edge before something further away are marched one by one.

Shape legend:
    H, W rows and columns of the chart      h, w rows and columns of the fine grid
    P pixels beside edges
"""

from dataclasses import dataclass

import cv2
import numpy as np

from megactor_core.synthetic.chart import PHI_REACH, Y_TOP, Chart

_COARSE_REACH = (0.6, 0.5, *(0.4,) * 5, 0.3, 0.25, 0.2, 0.15, 0.1, 0.06)
_FINE_REACH = (0.2, 0.07, 0.02)
"""The longest step on each of the grids: they shrink, so that rays do not swing about the edge of a lock."""
_EDGE_REACH = (*(0.3,) * 4, 0.25, 0.15, 0.08)
_EDGE_LEAST_STEP = 0.08
"""Steps of single pixels beside an edge, from the nearer side of it."""
_EDGE_DEPTH = 0.05
"""A cell that lies by more off the mean of its neighbours, head units, is at an edge."""
_AROUND = np.ones((3, 3), np.uint8)
"""A cell and its eight neighbours."""
_COARSER = 3
_COARSE_COLUMNS = 240
"""The coarse grid reads a chart of about so many columns: more would only leave the processor's cache."""
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

    bend: x and z by which the neck is shifted at `bend_y`, growing with the square of the way down to there;
    what hangs lower is shifted as much.
    """

    rotation: np.ndarray
    centre: tuple[float, float]
    unit_px: float
    bend: tuple[float, float]
    bend_y: float

    def shift(self, y: np.ndarray) -> np.ndarray:
        """Share of the bend at heights y."""
        return np.square(np.clip((y - BEND_TOP) / (self.bend_y - BEND_TOP), 0, 1))

    def project(self, phi: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Places on the surface, (P,) each, as pixels of the picture (P, 2)."""
        return self.seen(np.stack([radius * np.sin(phi), y, radius * np.cos(phi)])).T

    def seen(self, places: np.ndarray) -> np.ndarray:
        """Places (3, P) on a head with a straight neck, x, y, z, as pixels of the picture (2, P)."""
        to_pixels = (self.rotation[:2] * self.unit_px).astype(places.dtype)
        pixels = to_pixels @ places + np.array(self.centre, places.dtype)[:, np.newaxis]
        bent = to_pixels[:, [0, 2]] @ np.array(self.bend, places.dtype)
        return np.asarray(pixels + bent[:, np.newaxis] * self.shift(places[1]))


@dataclass(frozen=True, slots=True)
class Window:
    """Part of the picture that is marched: first pixel and size, in whole cells of `cell_px` pixels."""

    left: int
    top: int
    columns: int
    rows: int
    cell_px: int

    @property
    def width(self) -> int:
        """In pixels."""
        return self.columns * self.cell_px

    @property
    def height(self) -> int:
        return self.rows * self.cell_px

    @property
    def bottom(self) -> int:
        """The first row of pixels below."""
        return self.top + self.height

    @property
    def part(self) -> tuple[slice, slice]:
        """Where it lies in the picture."""
        return slice(self.top, self.bottom), slice(self.left, self.left + self.width)

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


@dataclass(frozen=True, slots=True)
class Edges:
    """The pixels beside edges: rows and columns in the window (P,), and their hits (1, P)."""

    at: tuple[np.ndarray, np.ndarray]
    hits: Hits


def cast(chart: Chart, radius: np.ndarray, view: View, window: Window) -> tuple[Hits, Edges | None]:
    """March every cell's ray to the surface with radius (H, W) float32.

    Edges are None where cells are pixels, or where there is no edge.
    """
    march = _March.over(chart, radius, view)
    rough = _Rays(march.coarser(), window.centres(_COARSER))
    rough.advance(_COARSE_REACH, least=_LEAST_STEP)
    # The nearest of the neighbours' depths is a start that lies outside the surface.
    # Where all neighbours hit, every ray between them does, also beside the edge of a nose.
    fine = _Rays(march, window.centres(), start=rough.closest())
    fine.expect(cv2.dilate(rough.nearest, _AROUND))
    fine.advance(_FINE_REACH)
    fine.settle()
    hits = fine.hits(window.cell_px)
    return hits, _edges(march, window, fine, hits) if window.cell_px > 1 else None


def _edges(march: "_March", window: Window, fine: "_Rays", hits: Hits) -> Edges | None:
    """March the pixels of all cells that have an edge before something further away."""
    nearer, seen = cv2.dilate(fine.depth, _AROUND), cv2.erode(hits.alpha, _AROUND)
    step = cv2.dilate(cv2.absdiff(cv2.blur(fine.depth, (3, 3)), fine.depth), _AROUND)
    cells = np.flatnonzero((step > _EDGE_DEPTH) & (seen > 0))
    if not len(cells):
        return None
    # Every pixel (down, right) of every cell.
    down, right = np.divmod(np.arange(window.cell_px**2), window.cell_px)
    cell_rows, cell_columns = np.divmod(cells[:, np.newaxis], window.columns)
    rows = (cell_rows * window.cell_px + down).ravel()
    columns = (cell_columns * window.cell_px + right).ravel()
    centres = (
        (window.left + columns).astype(np.float32)[np.newaxis],
        (window.top + rows).astype(np.float32)[np.newaxis],
    )
    start = np.repeat(nearer.ravel()[cells], window.cell_px**2)[np.newaxis]
    rays = _Rays(march, centres, start=start)
    rays.advance(_EDGE_REACH, least=_EDGE_LEAST_STEP)
    rays.settle()
    found = rays.hits(1)
    return Edges((rows, columns), Hits(found.columns, found.rows, np.ones_like(found.alpha)))


class _March:
    """What all rays of a picture share, in the units of the chart that is read."""

    def __init__(
        self, radius: np.ndarray, view: View, *, columns_per_radian: float, rows_per_unit: float
    ) -> None:
        self.radius, self.view = radius, view
        self.columns_per_radian = columns_per_radian
        self.rows_per_unit = rows_per_unit
        self.direction = view.rotation[2]
        self.last_row = np.float32(len(radius) - 1)

    @staticmethod
    def over(chart: Chart, radius: np.ndarray, view: View) -> "_March":
        return _March(
            radius, view, columns_per_radian=chart.columns_per_radian, rows_per_unit=chart.rows_per_unit
        )

    def coarser(self) -> "_March":
        """The same over every second, third ... row and column of the chart."""
        step = max(1, self.radius.shape[1] // _COARSE_COLUMNS)
        return _March(
            np.ascontiguousarray(self.radius[::step, ::step]),
            self.view,
            columns_per_radian=self.columns_per_radian / step,
            rows_per_unit=self.rows_per_unit / step,
        )


class _Rays:
    """The rays of one grid, on their way: (h, w) each."""

    def __init__(
        self, march: _March, centres: tuple[np.ndarray, np.ndarray], *, start: np.ndarray | None = None
    ) -> None:
        self.march = march
        view, (right, down) = march.view, centres
        across = (right - np.float32(view.centre[0])) / np.float32(view.unit_px)
        downwards = (down - np.float32(view.centre[1])) / np.float32(view.unit_px)
        turned = view.rotation.astype(np.float32)
        # Backwards: then the angle's jump by a full turn lies behind the head.
        self.x, self.z = (-turned[0, axis] * across - turned[1, axis] * downwards for axis in (0, 2))
        y = turned[0, 1] * across + turned[1, 1] * downwards
        # Above this row no ray comes down to the neck before it is through the head.
        deepest = y.max(axis=1) + _START * abs(march.direction[1])
        self.bent_from = int(np.searchsorted(np.maximum.accumulate(deepest), BEND_TOP))
        self.row = (y - np.float32(Y_TOP)) * np.float32(march.rows_per_unit)
        shape = y.shape
        self.zero_column = np.full(shape, (PHI_REACH - np.pi) * march.columns_per_radian, np.float32)
        if start is None:
            self.depth = np.full(shape, _START, np.float32)
        else:
            self.depth = cv2.resize(start, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
        self.gap = np.full(shape, 9, np.float32)
        self.nearest = self.gap
        self.previous = self.depth
        self.best = self.depth.copy()

    def closest(self) -> np.ndarray:
        """The depth of every ray's hit, or of its nearest approach where it missed, (h, w)."""
        return np.where(self.nearest > 0, self.best, self.depth)

    def expect(self, gap: np.ndarray) -> None:
        """Take over the least gaps of a coarser grid."""
        rows, columns = self.depth.shape
        self.nearest = cv2.resize(gap, (columns, rows), interpolation=cv2.INTER_LINEAR)

    def advance(self, reach: tuple[float, ...], *, least: float = 0.0) -> None:
        """Step along the rays by the distance to the surface, damped; by `least` at least where outside.

        With a least step the nearest approach is remembered.
        """
        for longest in reach:
            self._look()
            step = np.minimum(self.gap, np.float32(longest))
            np.maximum(step, np.float32(-_BACK * longest), out=step)
            if least:
                np.copyto(self.best, self.depth, where=self.gap == self.nearest)
                np.maximum(step, np.float32(min(least, longest)), out=step, where=step > 0)
            self.previous, self.depth = self.depth, cv2.scaleAdd(step, -_DAMPING, self.depth)

    def settle(self) -> None:
        """One step along the secant of the last two places: damped steps swing to and fro at an overhang."""
        before = self.gap
        self._look()
        change = self.gap - before
        change[np.abs(change) < _FLAT] = 9
        share = np.clip(self.gap / change, np.float32(-0.5), np.float32(1))
        self.depth = self.depth - share * (self.depth - self.previous)

    def hits(self, cell_px: int) -> Hits:
        """Where the rays are now."""
        columns, rows, _ = self._place()
        cells = self.nearest * np.float32(self.march.view.unit_px / cell_px)
        inside = (rows > 0) & (rows < self.march.last_row)
        alpha = np.clip(np.float32(1.15) - cells, np.float32(0), np.float32(1)) * inside
        # A crack between two parts of the head is one that no ray of the grid found its way through.
        return Hits(columns, rows, cv2.morphologyEx(alpha, cv2.MORPH_CLOSE, _AROUND))

    def _look(self) -> None:
        """Measure the gap to the surface (negative inside) and remember the least."""
        columns, rows, reach = self._place()
        surface = cv2.remap(
            self.march.radius, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        self.gap = cv2.subtract(reach, surface)
        self.nearest = cv2.min(self.gap, self.nearest)

    def _place(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Columns and rows of the chart at the rays' depths, and the distance from the axis there."""
        march, view = self.march, self.march.view
        x = cv2.scaleAdd(self.depth, -march.direction[0], self.x)
        z = cv2.scaleAdd(self.depth, -march.direction[2], self.z)
        rows = cv2.scaleAdd(self.depth, march.direction[1] * march.rows_per_unit, self.row)
        if self.bent_from < len(rows):
            lower = slice(self.bent_from, None)
            share = view.shift(rows[lower] / np.float32(march.rows_per_unit) + np.float32(Y_TOP))
            x[lower] += share * np.float32(view.bend[0])
            z[lower] += share * np.float32(view.bend[1])
        reach, angle = cv2.cartToPolar(z, x)
        return cv2.scaleAdd(angle, march.columns_per_radian, self.zero_column), rows, reach
