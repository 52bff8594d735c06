"""From pairs to a set: means with intervals over clips, and the distances of FID and FVD.

Clips are taken in the order of their names, so that a number depends neither on workers nor on resuming.
"""

import math
from collections import Counter
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from megactor_core.config.evaluate import MetricName
from megactor_core.engine.stage import Row
from megactor_core.evaluation.catalogue import BY_NAME, Measure, measures_of
from megactor_core.evaluation.clip import read_arrays
from megactor_core.evaluation.pairing import Failure, Pairing
from megactor_core.evaluation.protocol import Missing, Protocol
from megactor_core.evaluation.result import MetricValue, SetResult, value_of
from megactor_core.metrics import i3d, inception
from megactor_core.metrics.frechet import FrechetEstimate, GroupedMoments, frechet_estimate
from megactor_core.metrics.statistics import Summary, summarise

DIMENSIONS: Final[dict[str, int]] = {"fid": inception.FEATURES, "fvd": i3d.CLASSES}
NORMAL_95: Final = 1.959964
"""Standard errors on either side of a distance: the jackknife gives an error, not a distribution."""
SHOWN: Final = 3

OnDone = Callable[[int, int], None]


def summarise_set(
    rows: Sequence[Row],
    pairing: Pairing,
    protocol: Protocol,
    *,
    folder: Path,
    seed: int,
    on_done: OnDone,
) -> SetResult:
    """The numbers of the pairs' rows, sorted by name, and what could not be taken and why."""
    measured = [row for row in rows if row["status"] == "ok"]
    values: dict[str, MetricValue] = {}
    reasons: dict[MetricName, Missing] = dict(protocol.missing)
    biased: list[str] = []
    wanted = measures_of(protocol.metrics)
    for number, measure in enumerate(wanted, start=1):
        if measure.of == "set":
            found = _distance(measure, measured, protocol, folder)
        else:
            found = _mean(measure, measured, protocol, seed=seed)
        if found is not None:
            values[measure.name] = found
            if found.is_biased:
                biased.append(_bias(measure, found))
        on_done(number, len(wanted))
    have = {BY_NAME[name].metric for name in values}
    lacking = [one.title for one in wanted if one.metric in have and one.name not in values]
    for metric in protocol.metrics:
        if metric not in have:
            reasons[metric] = _nothing_found(metric, measured)
    return SetResult(
        metrics=values,
        missing={metric: {"reason": why.reason, "fix": why.fix} for metric, why in reasons.items()},
        pairs=_pairs(rows, measured, pairing),
        failures=(*pairing.failures, *_failures(rows)),
        warnings=(*biased, *_warnings(rows, measured, pairing), *_gaps(measured, lacking, have)),
    )


def _mean(measure: Measure, measured: Sequence[Row], protocol: Protocol, *, seed: int) -> MetricValue | None:
    values = np.array([row["measures"].get(measure.name, np.nan) for row in measured], dtype=np.float64)
    summary = summarise(values, seed=seed)
    if not summary.count:
        return None
    return value_of(
        measure,
        protocol.preprocessing,
        value=summary.mean,
        interval=_interval(summary),
        count=summary.count,
        weights=protocol.weights.get(measure.metric, ()),
    )


def _interval(summary: Summary) -> tuple[float, float] | None:
    return (summary.low, summary.high) if math.isfinite(summary.low) else None


def _distance(
    measure: Measure, measured: Sequence[Row], protocol: Protocol, folder: Path
) -> MetricValue | None:
    """FID or FVD over the features that the pairs' arrays hold."""
    real, generated = (GroupedMoments(DIMENSIONS[measure.name]) for _ in range(2))
    count = 0
    for number, row in enumerate(measured):
        if measure.metric in row["skipped"]:
            continue
        arrays = read_arrays(folder, row["row_id"])
        real.add(arrays[f"{measure.name}_real"], group=number)
        generated.add(arrays[f"{measure.name}_generated"], group=number)
        count += 1
    if not count:
        return None
    found = frechet_estimate(generated, real)
    return value_of(
        measure,
        protocol.preprocessing,
        value=found.distance,
        interval=_around(found),
        count=count,
        weights=protocol.weights[measure.metric],
        samples=found.rows,
        is_biased=found.is_biased,
    )


def _around(found: FrechetEstimate) -> tuple[float, float] | None:
    if found.error is None:
        return None
    reach = NORMAL_95 * found.error
    return max(0.0, found.distance - reach), found.distance + reach


def _bias(measure: Measure, found: MetricValue) -> str:
    made, true = found.samples or (0, 0)
    if min(made, true) == 1:
        return f"{measure.title} is of {made} generated and {true} real samples: it compares means alone."
    return (
        f"{measure.title} is of {made} generated and {true} real samples in {DIMENSIONS[measure.name]} "
        "dimensions: too few, so it is biased; compare it only with one of equally many."
    )


def _nothing_found(metric: MetricName, measured: Sequence[Row]) -> Missing:
    """Why no pair has a number: the most frequent reason."""
    reasons = Counter(row["skipped"][metric] for row in measured if metric in row["skipped"])
    if not reasons:
        return Missing("No pair was measured.", "See the errors of the pairs.")
    reason, count = reasons.most_common(1)[0]
    return Missing(
        f"{reason} ({count} of {len(measured)} clips)", "Leave it out, or give clips that allow it."
    )


def _pairs(rows: Sequence[Row], measured: Sequence[Row], pairing: Pairing) -> dict[str, object]:
    return {
        "paired": len(rows),
        "measured": len(measured),
        "frames": sum(row["frames"] for row in measured),
        "only_generated": list(pairing.only_generated),
        "only_real": list(pairing.only_real),
        "shortened": {row["name"]: row["longer"] for row in measured if row["longer"]},
        "skipped": {metric: dict(reasons.most_common()) for metric, reasons in _skipped(measured).items()},
    }


def _failures(rows: Sequence[Row]) -> tuple[Failure, ...]:
    return tuple(
        Failure(row["name"], str(row["error_kind"]), str(row["error"] or row["reason"]))
        for row in rows
        if row["status"] != "ok"
    )


def _warnings(rows: Sequence[Row], measured: Sequence[Row], pairing: Pairing) -> list[str]:
    said = []
    if len(measured) == 1:
        said.append("There is one pair only, so there are no intervals.")
    if pairing.failures:
        said.append(f"{len(pairing.failures)} clips could not be generated.")
    if len(measured) < len(rows):
        said.append(f"{len(rows) - len(measured)} of {len(rows)} pairs could not be measured.")
    for names, side in ((pairing.only_generated, "real"), (pairing.only_real, "generated")):
        if names:
            said.append(f"{len(names)} clips have no {side} counterpart: {_some(names)}.")
    shortened = [row["name"] for row in measured if row["longer"]]
    if shortened:
        said.append(f"{len(shortened)} pairs differ in length; the shorter counts: {_some(shortened)}.")
    badged = [row["name"] for row in measured if row.get("badged_seconds")]
    if badged:
        said.append(
            f"{len(badged)} pairs carry a visible badge at their start, which is left out on both sides: "
            f"{_some(badged)}. Animate with --badge off to measure whole clips."
        )
    damaged = [row["name"] for row in measured if any(row["damaged"].values())]
    if damaged:
        said.append(f"{len(damaged)} pairs have damaged frames, held from before: {_some(damaged)}.")
    return said


def _gaps(measured: Sequence[Row], lacking: Sequence[str], have: Container[MetricName]) -> list[str]:
    """Numbers that some clips lack, or all of them beside other numbers of the metric."""
    said = []
    for metric, reasons in _skipped(measured).items():
        if metric in have:
            reason = reasons.most_common(1)[0][0]
            said.append(f"{metric} is not of {reasons.total()} of {len(measured)} clips: {reason}")
    if lacking:
        said.append(
            f"No clip has a number for {', '.join(lacking)}: too few frames with a face, or nothing moves."
        )
    return said


def _skipped(measured: Sequence[Row]) -> dict[MetricName, Counter[str]]:
    """Reasons by metric, and of how many clips."""
    skipped: dict[MetricName, Counter[str]] = {}
    for row in measured:
        for metric, reason in row["skipped"].items():
            skipped.setdefault(metric, Counter())[reason] += 1
    return skipped


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
