"""Limits in a report: how the clips lie about each, and what would be kept if one were moved."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from megactor_core.config.curate import RulesConfig
from megactor_core.curation.manifest import Judged
from megactor_core.curation.rules import RULES, Bound, Rule
from megactor_core.curation.summary import CurateReport
from megactor_core.curation.what_if import STEPS, Kept, Moved, Numbers, WhatIf
from megactor_core.pages.charts import Limit, limit_histogram
from megactor_core.pages.page import (
    Markup,
    duration,
    joined,
    note,
    number,
    paragraph,
    percent,
    small,
    table,
    tag,
)


def histograms(judged: Sequence[Judged], rules: RulesConfig, numbers: Numbers) -> Iterator[Markup]:
    """A histogram of each number that a rule limits, over the clips of which it was measured."""
    stopped = sum(clip.row["stopped"] is not None for clip in judged if clip.decision is not None)
    audited = sum(bool(clip.row["audited"]) for clip in judged)
    yield note(
        "Bars in the other colour are past the limit, the dashed line. Each chart is of the clips on which "
        f"its number was measured: {stopped} of {len(judged)} clips were stopped by an early gate, and are "
        f"missing from the charts of later gates. {audited} were audited, which means that they went through "
        "all gates whatever they broke; with --audit 1.0 all do."
    )
    charts = [
        limit_histogram(_title(bound, known, len(judged)), known, limits)
        for bound, known, limits in _charts(rules, numbers)
    ]
    yield tag("div", {"class": "charts"}, *charts) if charts else paragraph("No rule has a number.")


def _charts(rules: RulesConfig, numbers: Numbers) -> Iterator[tuple[Bound, np.ndarray, list[Limit]]]:
    """Each number once, with the limits of all rules that look at it."""
    by_number: dict[str, list[tuple[Rule, Bound]]] = {}
    for rule in RULES:
        if rule.bound is not None and rule.name in numbers:
            by_number.setdefault(rule.bound.name, []).append((rule, rule.bound))
    for group in by_number.values():
        values = numbers[group[0][0].name]
        limits = [_limit(rule, bound, rules, alone=len(group) == 1) for rule, bound in group]
        yield group[0][1], values[np.isfinite(values)], limits


def _limit(rule: Rule, bound: Bound, rules: RulesConfig, *, alone: bool) -> Limit:
    limit = float(bound.limit(rules))
    label = f"{'at least' if bound.is_floor else 'at most'} {limit:.4g}"
    return Limit(limit, bound.is_floor, label if alone else f"{rule.name}: {label}")


def _title(bound: Bound, known: np.ndarray, clips: int) -> str:
    unit = f",{bound.unit}" if bound.unit else ""
    return f"{bound.name}{unit}: {len(known)} of {clips} clips"


# ---------------------------------------------------------------- what if


def what_if_table(found: Sequence[WhatIf], report: CurateReport) -> Iterator[Markup]:
    """What moving each limit alone would do, from the measures that are there."""
    yield note(
        "Kept clips and their length in all, if this limit alone were moved by that share of itself, and "
        "everything else were as it is. Not decided: clips that a looser limit opens again, but whose later "
        "gates were never taken; a run with that limit measures them. Whole numbers move by one at least, "
        "shares end at 1."
    )
    if not found:
        yield paragraph("No rule that is on has a limit and measured clips.")
        return
    now = Kept(report.kept, 3600 * report.kept_hours, report.pending)
    rows = [
        (
            joined((item.setting, small(", ".join(item.rules)))),
            number(item.limit),
            *(_moved(moved, now) for moved in item.moved),
        )
        for item in found
    ]
    columns = [
        "limit",
        "now",
        *(f"{percent(abs(step))} {'looser' if step < 0 else 'tighter'}" for step in STEPS),
    ]
    yield paragraph(f"Now {now.clips} clips are kept, {duration(now.seconds)}.")
    yield table(columns, rows, numbers=frozenset(range(1, len(columns))))


def _moved(moved: Moved | None, now: Kept) -> Markup:
    if moved is None:
        return joined(("-",))
    kept = moved.kept
    change = f" ({kept.clips - now.clips:+d})" if kept.clips != now.clips else ""
    undecided = kept.undecided - now.undecided
    opened = [small(f"{undecided} not decided:"), small("needs measuring")] if undecided > 0 else []
    return joined(
        (f"{kept.clips}{change}", small(f"{duration(kept.seconds)} at {number(moved.limit)}"), *opened)
    )


def settings_said(values: Mapping[str, object]) -> dict[str, str]:
    """Settings as text; those that are off as a dash."""
    return {name: "-" if value is None else str(value) for name, value in values.items()}
