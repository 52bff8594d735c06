"""comparison.html: two results side by side, with the clips that changed most.

One file without addresses or scripts, as `report` writes. Pictures are those that either result kept.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from megactor_core.errors import MetricError, OutputError
from megactor_core.evaluation.catalogue import BY_NAME, Measure
from megactor_core.evaluation.clip import read_arrays
from megactor_core.evaluation.compare import ComparedMetric, Comparison, Values, clips_by_key
from megactor_core.evaluation.report import GENERATOR
from megactor_core.evaluation.report_clips import RANKED_BY, SHOWN
from megactor_core.evaluation.run import OUTPUTS
from megactor_core.evaluation.strips import Strip
from megactor_core.files import atomic_path
from megactor_core.pages.charts import interval_bar
from megactor_core.pages.page import (
    Markup,
    Page,
    facts,
    jpeg,
    note,
    number,
    paragraph,
    table,
    tag,
)

COMPARISON: Final = "comparison.html"
_MOST_WARNINGS: Final = 20
_READ: Final = 4096


def write_comparison(comparison: Comparison, *, output: Path | None) -> Path:
    """Write the page into a folder; None: one under outputs/evaluation, named after both results.

    Raises OutputError where another file of that name lies there, or where it cannot be written.
    """
    folder = output or OUTPUTS / f"{Path(comparison.a).resolve().name}-{Path(comparison.b).resolve().name}"
    path = folder / COMPARISON
    if path.exists() and not _is_ours(path):
        raise OutputError(f"'{path}' is no comparison of megactor's.", fix="Choose another --output.")
    with atomic_path(path) as temporary:
        temporary.write_text(comparison_page(comparison), encoding="utf-8")
    return path


def comparison_page(comparison: Comparison) -> str:
    """The page as HTML; the results' folders are read for the clips' values and pictures."""
    page = Page("Two evaluations compared", made_by=GENERATOR)
    page.head(facts({"A": comparison.a, "B": comparison.b}))
    page.head(*(paragraph(warning, of="warn") for warning in islice(comparison.warnings, _MOST_WARNINGS)))
    page.section("Differences", *_differences(comparison))
    clips = clips_by_key(Path(comparison.a)), clips_by_key(Path(comparison.b))
    for mode in dict.fromkeys(row.mode for row in comparison.rows):
        title = f"Clips driven by {mode} that changed most" if mode else "Clips that changed most"
        page.section(title, *_changed(comparison, mode, *clips))
    return page.html()


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(_READ)


# ---------------------------------------------------------------- numbers


def _differences(comparison: Comparison) -> Iterator[Markup]:
    yield note(
        "↑ more is better, ↓ less is better. Differences are taken clip by clip where both results have the "
        "clip; n is their number. A difference is marked where its 95 % interval leaves out 0: then it is "
        "more than chance. Bars are drawn about 0, each row to its own scale."
    )
    columns = ["metric", "A", "B", "B - A", "95 % interval", "", "marked", "n"]
    yield table(columns, map(_row, comparison.rows), numbers=frozenset({1, 2, 3, 4, 7}))


def _row(row: ComparedMetric) -> tuple[str, ...]:
    return (
        row.title,
        number(row.a),
        number(row.b),
        f"{row.difference:+.5g}",
        "-" if row.interval is None else f"{row.interval[0]:+.5g} to {row.interval[1]:+.5g}",
        _bar(row),
        _mark(row),
        str(row.count),
    )


def _bar(row: ComparedMetric) -> Markup:
    if row.interval is None:
        return Markup()
    look: Any = "made" if leaves_out_zero(row) else "real"
    return interval_bar(*row.interval, row.difference, look=look)


def _mark(row: ComparedMetric) -> Markup:
    """Which result is better, or that they differ where neither way is."""
    if not leaves_out_zero(row):
        return Markup()
    said = "they differ" if row.verdict == "-" else f"{row.verdict} is better"
    return tag("span", {"class": "mark"}, said)


def leaves_out_zero(row: ComparedMetric) -> bool:
    """Whether a difference is more than chance."""
    return row.interval is not None and not row.interval[0] <= 0 <= row.interval[1]


# ---------------------------------------------------------------- clips


def _changed(comparison: Comparison, mode: str, first: Values, second: Values) -> Iterator[Markup]:
    """The clips that gained and lost most from A to B."""
    compared = {row.name for row in comparison.rows if row.mode == mode}
    name = next((name for name in RANKED_BY if name in compared), None)
    if name is None:
        yield paragraph("No number ranks them.")
        return
    measure = BY_NAME[name]
    sign = -1 if measure.better == "higher" else 1
    gains = {
        key: sign * (first[key][name] - second[key][name])
        for key in sorted(first.keys() & second.keys())
        if key[0] == mode and first[key].get(name) is not None and second[key].get(name) is not None
    }
    order = sorted(gains, key=lambda key: (-gains[key], key))
    better = [key for key in order[:SHOWN] if gains[key] > 0]
    worse = [key for key in order[-SHOWN:] if gains[key] < 0]
    yield note(f"By {measure.title} {measure.arrow}.")
    if not better and not worse:
        yield paragraph("None did.")
    for said, keys in (("better in B", better), ("worse in B", worse)):
        for key in keys:
            yield _card(comparison, key, measure, said, (first[key][name], second[key][name]))


def _card(
    comparison: Comparison, key: tuple[str, str], measure: Measure, said: str, values: tuple[float, float]
) -> Markup:
    mode, name = key
    title = f" {name}: {measure.title} {number(values[0])} in A, {number(values[1])} in B {measure.unit}"
    head = tag("h4", {}, tag("span", {"class": "mark"}, said), title.rstrip())
    row_id = f"{mode}/{name}" if mode else name
    try:
        strips = [Strip.of_arrays(read_arrays(Path(f), row_id)) for f in (comparison.a, comparison.b)]
    except MetricError as error:
        return tag("article", {"class": "clip"}, head, note(f"No pictures: {error.message}"))
    if any(strip is None for strip in strips):
        return tag("article", {"class": "clip"}, head, note("One of the results kept no pictures."))
    a, b = (strip for strip in strips if strip is not None)
    pictures = (
        _picture("real", a.real, name),
        _picture("generated, A", a.generated, name),
        _picture("generated, B", b.generated, name),
    )
    return tag("article", {"class": "clip"}, head, tag("div", {"class": "rows"}, *pictures))


def _picture(caption: str, coded: bytes, name: str) -> Markup:
    return tag("figure", {}, tag("figcaption", {}, caption), jpeg(coded, shows=f"{caption}: {name}"))
