"""report.html: what an evaluation found, on one page that can be sent to somebody.

The page is one file without addresses or scripts. It is made of the result and of the arrays that the pairs
keep (`strips`, values a frame); no video is opened. The same result gives the same bytes, so it holds neither
the time nor the place it was made. Whatever the number of clips, it stays below 5 MB: six clips of a set are
shown, all others are in histograms, and lists end after some lines.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from megactor_core.evaluation.catalogue import MEASURES, PAPER_MEASURES, measures_of
from megactor_core.evaluation.pairing import Failure
from megactor_core.evaluation.paper_tables import TextTable, paper_tables
from megactor_core.evaluation.report_clips import clips_of_set
from megactor_core.evaluation.report_controls import controls
from megactor_core.evaluation.result import EvaluateResult, MetricValue, SetResult
from megactor_core.files import atomic_path
from megactor_core.pages.page import (
    Markup,
    Page,
    bullets,
    facts,
    interval,
    note,
    number,
    paragraph,
    table,
    tag,
)

REPORT: Final = "report.html"
GENERATOR: Final = "megactor evaluate"
"""By what a page says who made it."""
MOST_LISTED: Final = 20
"""Lines of a list; what is more is counted (ours)."""
_MOST_REASONS: Final = 5
Said = TypeVar("Said", bound=Hashable)

ARROWS: Final = (
    "↑ more is better, ↓ less is better. A number without an arrow is neither; read it beside the same "
    "number of the real clips. Intervals are 95 %, n is the number of clips."
)


def write_report(result: EvaluateResult) -> Path:
    """Write the page into the result's folder; raises OutputError where that cannot be."""
    path = result.output / REPORT
    with atomic_path(path) as temporary:
        temporary.write_text(report_page(result), encoding="utf-8")
    return path


def report_page(result: EvaluateResult) -> str:
    """The page as HTML."""
    page = Page(f"Evaluation by protocol {result.protocol['name']}", made_by=GENERATOR)
    page.head(*_head(result))
    page.section("As in the paper's tables", *_paper(result))
    page.section("All numbers", *_numbers(result))
    page.section("Not taken", *_not_taken(result))
    if result.control is not None:
        page.section("Controls", *controls(result.control))
    for mode, one in result.sets.items():
        rows = [row for row in result.rows if (row["mode"] or "") == mode]
        title = f"Clips driven by {mode}" if mode else "Clips"
        page.section(title, *clips_of_set(result, one, rows))
    page.section("Pairs", *_pairs(result))
    page.section("Failures", *_failures(result))
    page.section("How it was measured", *_method(result))
    return page.html()


# ---------------------------------------------------------------- the head


def _head(result: EvaluateResult) -> Iterator[Markup]:
    protocol = result.protocol
    changed = ", ".join(f"{key} = {value}" for key, value in protocol.get("changed", {}).items())
    yield facts(
        {
            **{key.replace("_", " "): str(value) for key, value in result.inputs.items()},
            "protocol": f"{protocol['name']}, changed: {changed}" if changed else str(protocol["name"]),
            "pairs": "; ".join(_measured(mode, one) for mode, one in result.sets.items()),
            "made by": ", ".join(f"{name} {which}" for name, which in result.versions.items()),
        }
    )
    warnings = _by_modes({mode: one.warnings for mode, one in result.sets.items()})
    for warning, modes in list(warnings.items())[:MOST_LISTED]:
        yield paragraph(f"{modes}: {warning}" if modes else warning, of="warn")
    if protocol.get("left_open"):
        yield paragraph("The paper does not state the following. It was done so:")
        yield bullets(protocol["left_open"], most=MOST_LISTED)


def _by_modes(said: Mapping[str, Iterable[Said]]) -> dict[Said, str]:
    """What is said of several modes once, and of which."""
    found: dict[Said, list[str]] = {}
    for mode, parts in said.items():
        for part in parts:
            found.setdefault(part, []).append(mode)
    return {part: ", ".join(modes) for part, modes in found.items()}


def _measured(mode: str, one: SetResult) -> str:
    pairs = one.pairs
    text = f"{pairs.get('measured', 0)} of {pairs.get('paired', 0)} measured"
    frames = f", {pairs['frames']} frames" if "frames" in pairs else ""
    return (f"{mode}: " if mode else "") + text + frames


# ---------------------------------------------------------------- tables


def _paper(result: EvaluateResult) -> Iterator[Markup]:
    tables = paper_tables(result)
    if not tables:
        titles = ", ".join(measure.title for measure in MEASURES if measure.name in PAPER_MEASURES)
        yield note(
            f"This protocol takes none of {titles}, and quotes no rows of the paper. The protocols "
            "paper-hdtf and paper-ccv2 do."
        )
    for one in tables:
        yield tag("h3", {}, one.title)
        yield _paper_table(one, list(result.sets.values()))


def _paper_table(one: TextTable, sets: Sequence[SetResult]) -> Markup:
    """Rows that are quoted are marked; those that were measured, one a set at the end, have intervals."""
    quoted, measured = one.rows[: -len(sets)], one.rows[-len(sets) :]
    first_number = len(one.columns) - len(PAPER_MEASURES)
    rows: list[Sequence[str]] = [(tag("span", {"class": "mark quoted"}, row[0]), *row[1:]) for row in quoted]
    for row, found in zip(measured, sets, strict=True):
        cells = [
            _with_interval(text, found.metrics.get(name))
            for name, text in zip(PAPER_MEASURES, row[first_number:], strict=True)
        ]
        rows.append((tag("span", {"class": "mark"}, row[0]), *row[1:first_number], *cells))
    return table(one.columns, rows, numbers=frozenset(range(first_number, len(one.columns))))


def _with_interval(text: str, found: MetricValue | None) -> Markup:
    return tag("span", {}, text) if found is None else tag("span", {}, text, *_said_of(found))


def _numbers(result: EvaluateResult) -> Iterator[Markup]:
    shown = [m for m in MEASURES if any(m.name in one.metrics for one in result.sets.values())]
    if not shown:
        yield paragraph("No number could be taken; the reasons are below.")
        return
    yield note(ARROWS)
    # One set has a column for each thing said of a number; several stand side by side, with all in a cell.
    said = ("value", "95 % interval", "n") if list(result.sets) == [""] else tuple(result.sets)
    rows = [
        (
            tag("span", {}, f"{measure.title} {measure.arrow}", tag("small", {}, measure.unit)),
            *_values([one.metrics.get(measure.name) for one in result.sets.values()], len(said)),
            result.preprocessing.get(measure.metric, ""),
        )
        for measure in shown
    ]
    columns = ["metric", *said, "preprocessing"]
    yield table(columns, rows, numbers=frozenset(range(1, 1 + len(said))))


def _values(found: Sequence[MetricValue | None], columns: int) -> list[str]:
    """The cells of a row: one a set, or those of the one set."""
    if len(found) == 1 and columns > 1 and found[0] is not None:
        one = found[0]
        return [tag("span", {}, number(one.value), *_cautions(one)), interval(one.interval), str(one.count)]
    return [_with_interval("-" if one is None else number(one.value), one) for one in found]


def _said_of(found: MetricValue) -> Iterator[Markup]:
    """What stands under a number."""
    yield tag("small", {}, interval(found.interval) if found.interval else "no interval")
    yield tag("small", {}, f"n = {found.count}")
    yield from _cautions(found)


def _cautions(found: MetricValue) -> Iterator[Markup]:
    """What must be known of a number that is of a set and not of clips."""
    if found.samples is not None:
        yield tag("small", {}, f"{found.samples[0]} against {found.samples[1]} samples")
    if found.is_biased:
        yield tag("small", {"class": "bad"}, "biased: fewer samples than dimensions")


def _not_taken(result: EvaluateResult) -> Iterator[Markup]:
    missing = {
        mode: [(metric, _titles(metric), why["reason"], why["fix"]) for metric, why in one.missing.items()]
        for mode, one in result.sets.items()
    }
    partly = {
        mode: [
            (metric, _titles(metric, less_than_all_of=one), reason, str(clips))
            for metric, reasons in one.pairs.get("skipped", {}).items()
            if metric not in one.missing
            for reason, clips in list(reasons.items())[:_MOST_REASONS]
        ]
        for mode, one in result.sets.items()
    }
    if any(missing.values()):
        yield _reasons(missing, "what to do")
    if any(partly.values()):
        yield tag("h3", {}, "Not of every clip")
        yield _reasons(partly, "clips")
    if not any(missing.values()) and not any(partly.values()):
        yield paragraph("All numbers of the protocol were taken of all measured clips.")


def _reasons(said: Mapping[str, Sequence[tuple[str, ...]]], last: str) -> Markup:
    columns, rows = ["metric", "numbers", "because", last], _by_modes(said)
    if list(said) == [""]:
        return table(columns, rows)
    return table([*columns, "driven by"], ((*row, modes) for row, modes in rows.items()))


def _titles(metric: Any, *, less_than_all_of: SetResult | None = None) -> str:
    """A metric's numbers; or those of them that not every measured clip of a set has."""
    one = less_than_all_of
    whole = {
        name
        for name, found in (one.metrics if one else {}).items()
        if one is not None and found.count == one.pairs.get("measured")
    }
    return "; ".join(measure.title for measure in measures_of([metric]) if measure.name not in whole)


# ---------------------------------------------------------------- what did not pair or failed


def _pairs(result: EvaluateResult) -> Iterator[Markup]:
    for mode, one in result.sets.items():
        if mode:
            yield tag("h3", {}, mode)
        pairs = one.pairs
        yield paragraph(f"{_measured('', one)}.")
        for key, title in (
            ("only_generated", "without a real clip"),
            ("only_real", "without a generated clip"),
        ):
            names = pairs.get(key, [])
            if names:
                yield paragraph(f"{len(names)} {title}:")
                yield bullets(names, most=MOST_LISTED)
        shortened = pairs.get("shortened", {})
        if shortened:
            yield paragraph(f"{len(shortened)} of unequal length, compared to the end of the shorter one:")
            yield bullets(
                (f"{name}: the {longer} clip goes on" for name, longer in shortened.items()), most=MOST_LISTED
            )
        if not (shortened or pairs.get("only_generated") or pairs.get("only_real")):
            yield note("Every clip found its counterpart, and lengths agree.")


def _failures(result: EvaluateResult) -> Iterator[Markup]:
    failures = [(mode, failure) for mode, one in result.sets.items() for failure in one.failures]
    if not failures:
        yield paragraph("None.")
    for kind, count in Counter(failure.error_kind for _, failure in failures).most_common():
        yield tag("h3", {}, f"{kind}: {count}")
        of_kind = (_failure(mode, failure) for mode, failure in failures if failure.error_kind == kind)
        yield bullets(of_kind, most=MOST_LISTED)


def _failure(mode: str, failure: Failure) -> str:
    return f"{mode}/{failure.name}: {failure.error}" if mode else f"{failure.name}: {failure.error}"


# ---------------------------------------------------------------- the method


def _method(result: EvaluateResult) -> Iterator[Markup]:
    settings = result.protocol.get("settings", {})
    if settings:
        yield tag("h3", {}, "Settings that the numbers depend on")
        yield facts({key: "-" if value is None else str(value) for key, value in settings.items()})
    if result.preprocessing:
        yield tag("h3", {}, "Preprocessing by metric")
        yield facts(dict(result.preprocessing))
    weights = {metric: ", ".join(hashes) for metric, hashes in result.weights.items() if hashes}
    if weights:
        yield tag("h3", {}, "SHA-256 of the networks' weights")
        yield facts(weights)
    yield note(
        "metrics.json beside this page holds the same numbers for programs, clips.parquet each clip's."
    )
