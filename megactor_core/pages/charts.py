"""Small charts as SVG within a page: sharp at any size, of the page's own colours, light or dark, and alike
byte by byte wherever they are drawn, which pictures of a plotting library are not.

Shape legend:  F points of a line   N values
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from megactor_core.pages.page import Markup, joined, tag

Look = Literal["real", "made", "third", "faint", "ideal"]
"""A class of the page's style."""

WIDTH, HEIGHT = 400, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 8, 8, 22
_MOST_POINTS: Final = 300
"""Of one line: what is longer is thinned to the extremes of neighbouring points."""
_BINS: Final = 20
_TICKS: Final = 5
_LIMIT_LABEL: Final = 14
"""Pixels above the bars for the label of a limit."""
_LEAST_SPAN: Final = 2e-3
"""Of an axis, in parts of its values: finer ones would have labels too long to read (ours)."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart; gaps where `y` is not finite."""

    label: str
    """Empty: not in the legend."""
    look: Look
    x: np.ndarray
    """(F,)"""
    y: np.ndarray
    """(F,)"""
    has_dots: bool = False


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that a histogram shows: values below a floor are past it, values above any other."""

    value: float
    is_floor: bool
    label: str


@dataclass(frozen=True, slots=True)
class _Axis:
    """From values to pixels."""

    low: float
    high: float
    start_px: float
    end_px: float

    def px(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start_px + share * (self.end_px - self.start_px)

    def ticks(self) -> Iterator[float]:
        step = _nice_step((self.high - self.low) / _TICKS)
        first = math.ceil(self.low / step - 1e-9)
        for k in range(first, math.floor(self.high / step + 1e-9) + 1):
            yield k * step


def line_chart(title: str, lines: Sequence[Line], *, x_label: str) -> Markup:
    """Lines over one axis; nothing where none has a finite point."""
    shown = [line for line in lines if (np.isfinite(line.x) & np.isfinite(line.y)).any()]
    if not shown:
        return Markup()
    x = _axis([line.x for line in shown], _LEFT, WIDTH - _RIGHT, pad=0.0)
    y = _axis([line.y for line in shown], HEIGHT - _BOTTOM, _TOP, pad=0.06)
    drawn = [part for line in shown for part in _drawn(line, x, y)]
    return _figure(title, [*_frame(x, y, x_label), *drawn], shown)


def histogram(title: str, values: np.ndarray) -> Markup:
    """How N values are spread; nothing for fewer than two different ones."""
    known = values[np.isfinite(values)]
    if not len(known) or known.min() == known.max():
        return Markup()
    counts, edges = np.histogram(known, bins=min(_BINS, max(4, len(known) // 2)))
    x = _Axis(float(edges[0]), float(edges[-1]), _LEFT, WIDTH - _RIGHT)
    y = _Axis(0.0, float(counts.max()), HEIGHT - _BOTTOM, _TOP)
    bars = [
        _bar(x.px(left), x.px(right), y.px(count), y.px(0))
        for count, left, right in zip(counts.tolist(), edges[:-1], edges[1:], strict=True)
        if count
    ]
    return _figure(title, [*_frame(x, y, "", whole_y=True), *bars], [])


def limit_histogram(title: str, values: np.ndarray, limits: Sequence[Limit]) -> Markup:
    """How N values lie about one or more limits, those past a limit in another colour; nothing without any.

    The first limit lies between two bars, so that each bar is on one side of it.
    """
    known = values[np.isfinite(values)]
    if not len(known) or not limits:
        return Markup()
    anchor, is_floor = limits[0].value, limits[0].is_floor
    step = _bin_width([*known.tolist(), *(limit.value for limit in limits)])
    # A value on the limit is not past it: it belongs to the bar above a floor, and to the one below others.
    places = (known - anchor) / step
    bins = (np.floor(places) if is_floor else np.ceil(places) - 1).astype(int)
    reach = [(limit.value - anchor) / step for limit in limits]
    # With room for a bar on either side, for a limit at the very edge would lie on the axis.
    first = min(int(bins.min()), math.floor(min(reach))) - 1
    last = max(int(bins.max()) + 1, math.ceil(max(reach))) + 1
    counts = np.bincount(bins - first, minlength=last - first)
    x = _Axis(anchor + first * step, anchor + last * step, _LEFT, WIDTH - _RIGHT)
    y = _Axis(0.0, float(counts.max()), HEIGHT - _BOTTOM, _TOP + _LIMIT_LABEL)
    bars = [
        _bar(
            x.px(anchor + number * step),
            x.px(anchor + (number + 1) * step),
            y.px(count),
            y.px(0),
            is_past=any(_is_past(anchor + (number + 0.5) * step, limit) for limit in limits),
        )
        for number, count in enumerate(counts.tolist(), start=first)
        if count
    ]
    lines = [part for limit in limits for part in _limit_line(limit, x.px(limit.value))]
    return _figure(title, [*_frame(x, y, "", whole_y=True), *bars, *lines], [])


def share_bar(share: float) -> Markup:
    """A part of a whole, 0 to 1, as wide as a cell of a table."""
    width, height = 200, 12
    parts = (
        tag("rect", {"class": "rest", "x": 0, "y": 0, "width": width, "height": height}),
        tag("rect", {"x": 0, "y": 0, "width": f"{share * width:.1f}", "height": height}),
    )
    return tag("svg", {"viewBox": f"0 0 {width} {height}", "aria-hidden": "true"}, *parts)


def interval_bar(low: float, high: float, value: float, *, look: Look) -> Markup:
    """An interval about a value beside the line of zero, as wide as a cell of a table."""
    width, height, reach = 220, 22, max(abs(low), abs(high), abs(value))
    x = _Axis(-reach or -1.0, reach or 1.0, 8, width - 8)
    middle = height / 2
    parts = (
        tag("line", {"class": "ideal", **_ends(x.px(0), 1, x.px(0), height - 1)}),
        tag("line", {"class": look, "stroke-width": 3, **_ends(x.px(low), middle, x.px(high), middle)}),
        _dot(x.px(value), middle, look),
    )
    return tag("svg", {"viewBox": f"0 0 {width} {height}", "aria-hidden": "true"}, *parts)


def _figure(title: str, parts: Sequence[str], lines: Sequence[Line]) -> Markup:
    keys = [tag("span", {"class": f"key {line.look}"}, line.label) for line in lines if line.label]
    drawing = tag("svg", {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria-label": title}, *parts)
    return tag("figure", {}, tag("figcaption", {}, title, *(keys if len(lines) > 1 else [])), drawing)


def _axis(tracks: Sequence[np.ndarray], start_px: float, end_px: float, *, pad: float) -> _Axis:
    """Over all finite values; a constant, or nearly one, gets room on either side."""
    values = np.concatenate([np.asarray(track, dtype=np.float64) for track in tracks])
    known = values[np.isfinite(values)]
    low, high = float(known.min()), float(known.max())
    least = _LEAST_SPAN * max(abs(low), abs(high)) or 1.0
    if high - low <= least:
        room = (least - (high - low)) / 2
        return _Axis(low - room, high + room, start_px, end_px)
    room = pad * (high - low)
    return _Axis(low - room, high + room, start_px, end_px)


def _frame(x: _Axis, y: _Axis, x_label: str, *, whole_y: bool = False) -> Iterator[Markup]:
    for value in y.ticks():
        if whole_y and value != round(value):
            continue
        at = y.px(value)
        yield tag("line", {"class": "grid", **_ends(_LEFT, at, WIDTH - _RIGHT, at)})
        yield _label(_LEFT - 6, at + 4, _tick(value), "end")
    for value in x.ticks():
        at = x.px(value)
        if not x_label or at < WIDTH - _RIGHT - 8 * len(x_label):
            yield _label(at, HEIGHT - 7, _tick(value), "middle")
    if x_label:
        yield _label(WIDTH - _RIGHT, HEIGHT - 7, x_label, "end")


def _drawn(line: Line, x: _Axis, y: _Axis) -> Iterator[Markup]:
    xs, ys = _thinned(np.asarray(line.x, np.float64), np.asarray(line.y, np.float64))
    known = np.isfinite(xs) & np.isfinite(ys)
    for run in np.split(np.arange(len(xs)), np.flatnonzero(np.diff(known.astype(int))) + 1):
        if len(run) and known[run[0]]:
            at = [(x.px(float(xs[k])), y.px(float(ys[k]))) for k in run]
            if len(at) == 1 and not line.has_dots:
                yield _dot(*at[0], line.look)
            yield tag("polyline", {"class": line.look, "points": " ".join(f"{a:.1f},{b:.1f}" for a, b in at)})
            if line.has_dots:
                yield joined(_dot(a, b, line.look) for a, b in at)


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most 300 points, so that no peak is lost: the lowest and the highest of each group of neighbours."""
    if len(x) <= _MOST_POINTS:
        return x, y
    chosen: list[int] = []
    for group in np.array_split(np.arange(len(x)), _MOST_POINTS // 2):
        if not np.isfinite(y[group]).any():
            chosen.append(int(group[0]))
        else:
            chosen += sorted({int(group[np.nanargmin(y[group])]), int(group[np.nanargmax(y[group])])})
    return x[chosen], y[chosen]


def _bin_width(values: Sequence[float]) -> float:
    """Of about twenty bars; of many whole numbers, each bar holds as many."""
    span = max(values) - min(values)
    if not span:
        return abs(values[0]) / _BINS or 1.0
    if span >= _BINS and all(value == round(value) for value in values):
        return float(math.ceil(span / _BINS))
    return max(span, _LEAST_SPAN * max(map(abs, values)) or 1.0) / _BINS


def _is_past(value: float, limit: Limit) -> bool:
    return value < limit.value if limit.is_floor else value > limit.value


def _limit_line(limit: Limit, at: float) -> Iterator[Markup]:
    yield tag("line", {"class": "limit", **_ends(at, _TOP, at, HEIGHT - _BOTTOM)})
    is_left = at < (_LEFT + WIDTH - _RIGHT) / 2
    yield _label(at + (4 if is_left else -4), _TOP + 9, limit.label, "start" if is_left else "end")


def _bar(left: float, right: float, top: float, bottom: float, *, is_past: bool = False) -> Markup:
    size = {"width": f"{max(1.0, right - left - 1):.1f}", "height": f"{bottom - top:.1f}"}
    look = {"class": "past"} if is_past else {}
    return tag("rect", {**look, "x": f"{left:.1f}", "y": f"{top:.1f}", **size})


def _dot(x: float, y: float, look: Look) -> Markup:
    return tag("circle", {"class": look, "cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": 3})


def _ends(x1: float, y1: float, x2: float, y2: float) -> dict[str, str]:
    return {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}


def _label(x: float, y: float, text: str, anchor: str) -> Markup:
    return tag("text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}, text)


def _tick(value: float) -> str:
    return f"{round(value, 12):.5g}"


def _nice_step(raw: float) -> float:
    """1, 2 or 5 times a power of ten, the next one up."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
