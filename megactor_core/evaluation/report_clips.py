"""The clips of a set in its report: the best and the worst with pictures and courses, all in histograms."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, Final

import numpy as np

from megactor_core.engine.stage import Row
from megactor_core.errors import MetricError
from megactor_core.evaluation.catalogue import BY_NAME, MEASURES, Measure
from megactor_core.evaluation.clip import read_arrays
from megactor_core.evaluation.meters import PSNR_MOST_DB
from megactor_core.evaluation.result import EvaluateResult, SetResult
from megactor_core.evaluation.strips import Strip
from megactor_core.pages.charts import Line, Look, histogram, line_chart
from megactor_core.pages.page import Markup, jpeg, note, number, paragraph, table, tag

SHOWN: Final = 3
"""Clips at either end (ours)."""
RANKED_BY: Final = ("lpips", "ssim", "psnr", "ms_ssim", "face_distance", "sync_c", "av_correlation")
"""The first of these that was measured says which clips are the best; ours."""
_POSE: Final = ("yaw", "pitch", "roll")


def clips_of_set(result: EvaluateResult, one: SetResult, rows: Sequence[Row]) -> Iterator[Markup]:
    """The section's parts."""
    measured = [row for row in rows if row["status"] == "ok"]
    measure = ranking_measure(measured)
    if measure is None:
        yield paragraph("No clip has a number to rank it by.")
        return
    ranked = rank(measured, measure)
    best, worst = ends_of(ranked)
    yield note(
        f"{len(ranked)} clips by {measure.title} {measure.arrow}: {len(best)} at the best end, {len(worst)} "
        "at the worst. Pictures are of both clips at the same times."
    )
    for place, row in enumerate(best, start=1):
        yield _card(result, row, measure, f"best {place}")
    for place, row in reversed(list(enumerate(worst, start=1))):
        yield _card(result, row, measure, f"worst {place}")
    yield from _distributions(one, measured)


def ranking_measure(measured: Sequence[Row]) -> Measure | None:
    """By what clips are ranked; None where none of them has a number of that kind."""
    have = {name for row in measured for name in row["measures"]}
    return next((BY_NAME[name] for name in RANKED_BY if name in have), None)


def rank(measured: Sequence[Row], measure: Measure) -> list[Row]:
    """The clips that have the number, the best first; equal ones by name."""
    sign = -1 if measure.better == "higher" else 1
    have = [row for row in measured if measure.name in row["measures"]]
    return sorted(have, key=lambda row: (sign * row["measures"][measure.name], row["name"]))


def ends_of(ranked: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The best, and the worst in the same order; no clip is both."""
    best = min(SHOWN, (len(ranked) + 1) // 2)
    worst = min(SHOWN, len(ranked) - best)
    return list(ranked[:best]), list(ranked[len(ranked) - worst :])


# ---------------------------------------------------------------- one clip


def _card(result: EvaluateResult, row: Row, measure: Measure, place: str) -> Markup:
    title = f"{row['name']}: {measure.title} {number(row['measures'][measure.name])} {measure.unit}".strip()
    head = tag("h4", {}, tag("span", {"class": "mark"}, place), " ", title)
    others = [
        tag("span", {}, f"{other.title} {number(row['measures'][other.name])} {other.unit}".strip())
        for other in MEASURES
        if other.better is not None and other.name in row["measures"] and other is not measure
    ]
    parts = [head, tag("div", {"class": "also"}, *others)]
    try:
        arrays = read_arrays(result.output, row["row_id"])
    except MetricError as error:
        return tag("article", {"class": "clip"}, *parts, note(f"No pictures: {error.message}"))
    fps = Fraction(result.protocol.get("settings", {}).get("fps", 25))
    is_reference = row["mode"] is not None
    strip = _strip(arrays, fps, name=row["name"], is_reference=is_reference)
    return tag("article", {"class": "clip"}, *parts, strip, _courses(arrays, fps))


def _strip(arrays: dict[str, np.ndarray], fps: Fraction, *, name: str, is_reference: bool) -> Markup:
    """The reference beside both clips. Clips of a checkpoint are animated from their first real frame."""
    strip = Strip.of_arrays(arrays)
    if strip is None:
        return note("No pictures were kept; evaluate into another folder to have them.")
    first = "reference (first real frame)" if is_reference else "first real frame"
    times = [tag("span", {}, f"{float(frame / fps):.2f} s") for frame in strip.frames]
    both = tag(
        "div",
        {},
        _figure("real", jpeg(strip.real, shows=f"frames of the real clip {name}")),
        _figure("generated", jpeg(strip.generated, shows=f"frames of the generated clip {name}")),
        tag("div", {"class": "times"}, *times),
    )
    return tag("div", {"class": "strip"}, _figure(first, jpeg(strip.first, shows=f"{first} of {name}")), both)


def _figure(caption: str, picture: Markup) -> Markup:
    return tag("figure", {}, tag("figcaption", {}, caption), picture)


def _courses(arrays: dict[str, np.ndarray], fps: Fraction) -> Markup:
    """Charts over time of what the pair's arrays hold."""
    charts = [*_compared(arrays, fps), *_distances(arrays, fps), *_lips_and_sound(arrays, fps)]
    return tag("div", {"class": "charts"}, *charts)


def _compared(arrays: dict[str, np.ndarray], fps: Fraction) -> Iterator[Markup]:
    """What can be read of either clip by itself, real and generated."""
    for name, title in (
        ("mouth_open", "mouth opening, eye distances"),
        ("eyes_open", "eye opening, height over width"),
    ):
        yield _both(title, arrays.get(f"{name}_real"), arrays.get(f"{name}_generated"), fps)
    for axis, angle in enumerate(_POSE):
        real, generated = arrays.get("pose_real"), arrays.get("pose_generated")
        if real is not None and generated is not None:
            yield _both(f"{angle}, degrees", real[:, axis], generated[:, axis], fps)


def _distances(arrays: dict[str, np.ndarray], fps: Fraction) -> Iterator[Markup]:
    """What is read of the pair, frame by frame."""
    if "face_distance" in arrays and "mouth_distance" in arrays:
        face = _over_time("whole face", "third", arrays["face_distance"], fps)
        mouth = _over_time("mouth", "made", arrays["mouth_distance"], fps)
        yield line_chart("landmark distance, eye distances", [face, mouth], x_label="s")
    for name in ("lpips", "ssim", "psnr"):
        if name in arrays:
            title = f"{BY_NAME[name].title} {BY_NAME[name].arrow}, frame by frame"
            values = np.minimum(arrays[name], PSNR_MOST_DB) if name == "psnr" else arrays[name]
            yield line_chart(title, [_over_time("", "made", values, fps)], x_label="s")
            return


def _lips_and_sound(arrays: dict[str, np.ndarray], fps: Fraction) -> Iterator[Markup]:
    if "sync_confidence" in arrays:
        course = _over_time("", "made", arrays["sync_confidence"], fps)
        yield line_chart("SyncNet's confidence, median of 9 frames", [course], x_label="s")
    if "av_curve" in arrays:
        curve = arrays["av_curve"]
        offsets = np.arange(len(curve)) - len(curve) // 2
        yield line_chart(
            "lips against sound: correlation by offset, frames",
            [Line("", "made", offsets, curve)],
            x_label="",
        )


def _both(title: str, real: Any, generated: Any, fps: Fraction) -> Markup:
    if real is None or generated is None:
        return Markup()
    lines = [_over_time("real", "real", real, fps), _over_time("generated", "made", generated, fps)]
    return line_chart(title, lines, x_label="s")


def _over_time(label: str, look: Look, values: np.ndarray, fps: Fraction) -> Line:
    return Line(label, look, np.arange(len(values)) / float(fps), values)


# ---------------------------------------------------------------- all clips


def _distributions(one: SetResult, measured: Sequence[Row]) -> Iterator[Markup]:
    """Each number over all clips, and who stands at its ends."""
    shown = [m for m in MEASURES if m.of == "clip" and m.better is not None and m.name in one.metrics]
    ranked = {measure: rank(measured, measure) for measure in shown}
    if len(measured) < 2 or not any(ranked.values()):
        return
    yield tag("h3", {}, "All clips")
    rows = [
        (f"{measure.title} {measure.arrow}", *_end(order[0], measure), *_end(order[-1], measure))
        for measure, order in ranked.items()
        if order
    ]
    yield table(["metric", "best", "clip", "worst", "clip"], rows, numbers=frozenset({1, 3}))
    charts = [
        histogram(
            f"{measure.title} {measure.arrow}{f', {measure.unit}' if measure.unit else ''}",
            np.array([row["measures"][measure.name] for row in order]),
        )
        for measure, order in ranked.items()
    ]
    if len(measured) > 2 * SHOWN:
        yield tag("div", {"class": "charts small"}, *charts)


def _end(row: Row, measure: Measure) -> tuple[str, str]:
    return number(row["measures"][measure.name]), row["name"]
