"""The controls in a report: what each strength does, clip by clip and in the mean."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from megactor_core.evaluation.controls import ControlResult
from megactor_core.pages.charts import Line, line_chart
from megactor_core.pages.page import Markup, bullets, interval, note, number, paragraph, table, tag

MOST_LINES: Final = 30
"""Clips with a line of their own (ours)."""
_MOST_REASONS: Final = 10
_CHARTS: Final = (
    ("audio_scale", "mouth_amplitude", "mouth amplitude over audio scale, eye distances"),
    ("alpha", "shift", "head shift over alpha, in that of alpha 1"),
    ("alpha", "roll", "head roll over alpha, in that of alpha 1"),
)


def controls(control: ControlResult) -> Iterator[Markup]:
    """The section's parts."""
    rows = [
        (name.replace("_", " "), number(found.value), interval(found.interval), str(found.count))
        for name, found in control.measures.items()
    ]
    if rows:
        yield table(["control", "mean", "95 % interval", "clips"], rows, numbers=frozenset({1, 3}))
    else:
        yield paragraph("No control could be measured.")
    charts = [_responses(control.clips, *chart) for chart in _CHARTS]
    yield tag("div", {"class": "charts"}, *charts, _cross_talk(control.clips))
    reasons = [
        f"{clip['name']}: {name.replace('_', ' ')}: {reason}"
        for clip in control.clips
        for name, reason in clip["skipped"].items()
    ]
    if reasons:
        yield note("Not measured:")
        yield bullets(reasons, most=_MOST_REASONS)


def _responses(clips: Sequence[dict[str, Any]], control: str, response: str, title: str) -> Markup:
    """A faint line a clip, and the mean; exact control of alpha is the diagonal."""
    curves = [clip["curves"][control] for clip in clips if control in clip.get("curves", {})]
    if not curves:
        return Markup()
    strengths = _track(curves[0]["strengths"])
    tracks = np.stack([_track(curve[response]) for curve in curves])
    known = np.isfinite(tracks)
    if not known.any():
        return Markup()
    mean = np.where(known, tracks, 0.0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
    lines = [
        Line("a clip" if k == 0 else "", "faint", strengths, track)
        for k, track in enumerate(tracks[:MOST_LINES])
    ]
    if control == "alpha":
        lines.append(Line("exact", "ideal", strengths, strengths))
    return line_chart(title, [*lines, Line("mean", "made", strengths, mean, has_dots=True)], x_label="")


def _cross_talk(clips: Sequence[dict[str, Any]]) -> Markup:
    """What changes when only the eyes' driver does: the mouth's part of it, a dot a clip."""
    names = ("cross_talk_eyes_change", "cross_talk_mouth_change")
    both = [[clip["measures"].get(name, np.nan) for name in names] for clip in clips]
    changes = np.array(both, dtype=np.float64).reshape(-1, 2)
    changes = changes[np.isfinite(changes).all(axis=1)]
    if not len(changes):
        return Markup()
    reach = np.array([0.0, float(changes.max()) or 1.0])
    dots = [Line("", "made", change[:1], change[1:], has_dots=True) for change in changes[:MOST_LINES]]
    title = "cross-talk: change of the mouth over that of the eyes, grey levels"
    return line_chart(title, [Line("as much as the eyes", "ideal", reach, reach), *dots], x_label="")


def _track(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
