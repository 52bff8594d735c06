"""Two results side by side: what changed, and whether by more than chance.

Clips are compared one by one where both results have them, so that what makes a clip hard drops out. FID and
FVD have no value a clip: their errors are taken to be independent, which makes the interval a little wide.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from megactor_core.errors import UsageError, first_line
from megactor_core.evaluation.catalogue import MEASURES, Measure
from megactor_core.evaluation.result import read_clips, read_result
from megactor_core.metrics.statistics import summarise_difference

Verdict = Literal["A", "B", "-"]
Key = tuple[str, str]
"""Mode ("" where there is none) and name of a clip."""
Values = dict[Key, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ComparedMetric:
    """One number in both results."""

    mode: str
    name: str
    title: str
    a: float
    b: float
    difference: float
    """b - a."""
    interval: tuple[float, float] | None
    """95 %."""
    count: int
    """Clips that have a value in both."""
    verdict: Verdict
    """The better one, where the interval leaves out 0; `-` for neither, and where neither way is better."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two results have in common."""

    a: str
    b: str
    rows: tuple[ComparedMetric, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(a: Path, b: Path, *, seed: int) -> Comparison:
    """Compare the results in two folders.

    Raises UsageError where one holds no result, and where they have no number in common.
    """
    results, clips = (read_result(a), read_result(b)), (clips_by_key(a), clips_by_key(b))
    warnings: list[str] = []
    try:
        rows = [row for mode in _modes(*results) for row in _of_mode(mode, results, clips, seed, warnings)]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise UsageError(
            f"The results in '{a}' and '{b}' are not as `megactor evaluate` writes them "
            f"({type(error).__name__}: {first_line(error)}).",
            fix="Evaluate again.",
        ) from None
    if not rows:
        raise UsageError(
            f"The results in '{a}' and '{b}' have no comparable number.",
            fix="Evaluate both by the same protocol." + (f" {warnings[0]}" if warnings else ""),
        )
    return Comparison(str(a), str(b), tuple(rows), (*_clips_apart(*clips), *warnings))


def clips_by_key(folder: Path) -> Values:
    """The measured clips of a result, a column a measure; raises UsageError where they cannot be read."""
    return {(row["mode"] or "", row["name"]): row for row in read_clips(folder) if row["status"] == "ok"}


def _modes(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """The modes of both; "" is the set of a result without modes."""
    theirs = second.get("modes", [""])
    return [mode for mode in first.get("modes", [""]) if mode in theirs]


def _of_mode(
    mode: str,
    results: tuple[dict[str, Any], dict[str, Any]],
    clips: tuple[Values, Values],
    seed: int,
    warnings: list[str],
) -> Iterator[ComparedMetric]:
    found = [result["metrics"][mode] if mode else result["metrics"] for result in results]
    for measure in MEASURES:
        if any(measure.name not in metrics for metrics in found):
            continue
        first, second = (metrics[measure.name] for metrics in found)
        unlike = _unlike(first, second)
        if unlike:
            warnings.append(f"{measure.title} is not compared: {unlike}.")
        elif measure.of == "set":
            yield _distances(mode, measure, first, second, warnings)
        else:
            compared = _means(mode, measure, clips, seed)
            if compared is not None:
                yield compared


def _unlike(first: dict[str, Any], second: dict[str, Any]) -> str | None:
    """Why two numbers of one name are not of one kind."""
    for key, what in (("preprocessing", "preprocessing"), ("weights", "weights")):
        if first[key] != second[key]:
            return f"its {what} is {_shown(first[key])} in A and {_shown(second[key])} in B"
    return None


def _shown(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else ", ".join(str(part)[:12] for part in value)


def _means(mode: str, measure: Measure, clips: tuple[Values, Values], seed: int) -> ComparedMetric | None:
    keys = [key for key in sorted(clips[0].keys() & clips[1].keys()) if key[0] == mode]
    first, second = (
        np.array([_number(values[key].get(measure.name)) for key in keys], dtype=np.float64)
        for values in clips
    )
    both = np.isfinite(first) & np.isfinite(second)
    if not both.any():
        return None
    summary = summarise_difference(first, second, seed=seed)
    interval = (summary.low, summary.high) if math.isfinite(summary.low) else None
    return ComparedMetric(
        mode=mode,
        name=measure.name,
        title=_title(mode, measure),
        a=float(first[both].mean()),
        b=float(second[both].mean()),
        difference=summary.mean,
        interval=interval,
        count=summary.count,
        verdict=_verdict(measure, interval),
    )


def _distances(
    mode: str, measure: Measure, first: dict[str, Any], second: dict[str, Any], warnings: list[str]
) -> ComparedMetric:
    if first["samples"] != second["samples"]:
        warnings.append(
            f"{measure.title} is of {first['samples'][0]} samples in A and {second['samples'][0]} in B; "
            "it is comparable at equal numbers only."
        )
    difference = second["value"] - first["value"]
    reaches = [None if f["interval"] is None else f["interval"][1] - f["value"] for f in (first, second)]
    interval = None
    if all(reach is not None for reach in reaches):
        reach = math.hypot(*(float(reach or 0.0) for reach in reaches))
        interval = (difference - reach, difference + reach)
    return ComparedMetric(
        mode=mode,
        name=measure.name,
        title=_title(mode, measure),
        a=first["value"],
        b=second["value"],
        difference=difference,
        interval=interval,
        count=min(first["count"], second["count"]),
        verdict=_verdict(measure, interval),
    )


def _verdict(measure: Measure, interval: tuple[float, float] | None) -> Verdict:
    if interval is None or measure.better is None or interval[0] <= 0 <= interval[1]:
        return "-"
    b_is_higher = interval[0] > 0
    return "B" if b_is_higher == (measure.better == "higher") else "A"


def _title(mode: str, measure: Measure) -> str:
    return f"{mode}: {measure.title}{measure.arrow}" if mode else f"{measure.title}{measure.arrow}"


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _clips_apart(first: Values, second: Values) -> Sequence[str]:
    apart = len(first.keys() ^ second.keys())
    if not apart:
        return ()
    common = len(first.keys() & second.keys())
    return (f"{apart} clips are in one result alone; means are of the {common} that both have.",)
