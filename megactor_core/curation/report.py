"""report.html: what a run of `megactor curate` found, on one page that can be sent to somebody.

The page is one file without addresses or scripts, below 3 MB whatever the number of clips: sections show so
many and count the rest. The same results give the same bytes: it holds no date and no machine's name, while
messages of errors name the files that they are about. It is made of the decisions and of pictures that were
read before (pictures.py); nothing is decoded.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from megactor_core.config.curate import RulesConfig
from megactor_core.curation.contact_sheets import Sheets, sheets_html
from megactor_core.curation.manifest import Judged
from megactor_core.curation.output import REPORT
from megactor_core.curation.pictures import Picture
from megactor_core.curation.report_limits import histograms, settings_said, what_if_table
from megactor_core.curation.report_tables import cost, funnel, table_1
from megactor_core.curation.summary import CurateReport
from megactor_core.curation.what_if import compared_numbers, what_if
from megactor_core.engine.stage import ROW_ID
from megactor_core.files import atomic_path
from megactor_core.pages.page import (
    Markup,
    Page,
    bullets,
    duration,
    facts,
    note,
    paragraph,
    percent,
    table,
    tag,
)

MOST_LISTED: Final = 20
"""Lines of a list; what is more is counted (ours)."""
_GENERATOR: Final = "megactor curate"


def write_report(
    output: Path,
    report: CurateReport,
    judged: Sequence[Judged],
    rules: RulesConfig,
    *,
    sheets: Sheets,
    pictures: Mapping[str, Picture],
) -> Path:
    """Write the page into the output, atomically; raises OutputError."""
    path = output / REPORT
    with atomic_path(path) as temporary:
        page = report_page(report, judged, rules, sheets=sheets, pictures=pictures)
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")
    return path


def report_page(
    report: CurateReport,
    judged: Sequence[Judged],
    rules: RulesConfig,
    *,
    sheets: Sheets,
    pictures: Mapping[str, Picture],
) -> str:
    """The page as HTML; `pictures` has an item for each clip of the sheets."""
    numbers = compared_numbers(judged, rules)
    page = Page(f"Curation: {report.kept} of {report.clips} clips kept", made_by=_GENERATOR)
    page.head(*_head(report))
    page.section("As in the paper's Table 1", *table_1(report))
    page.section("What each rule leaves", *funnel(report, judged, rules))
    page.section("Measures and limits", *histograms(judged, rules, numbers))
    page.section("What if a limit were another", *what_if_table(what_if(judged, rules, numbers), report))
    page.section("Clips", *sheets_html(sheets, pictures))
    page.section("Not measured", *_not_measured(report, judged))
    page.section("Audit of the first looks", *_audit(report))
    page.section("Errors", *_errors(judged))
    page.section("Cost", *cost(report, judged))
    page.section("Settings", *_settings(report))
    return page.html()


def _head(report: CurateReport) -> Iterator[Markup]:
    pending = {"still to be measured": str(report.pending)} if report.pending else {}
    yield facts(
        {
            "kept": f"{report.kept} of {report.clips} clips, {duration(3600 * report.kept_hours)} of "
            f"{duration(3600 * report.raw_hours)}",
            "rejected": str(report.rejected),
            **pending,
            "errors": str(report.errors),
            "data sets": ", ".join(list(report.datasets)[:MOST_LISTED]) or "none",
        }
    )
    for item in report.not_measured:
        instead = f" In its place: {item['instead']}." if item["instead"] else ""
        yield paragraph(f"Not measured: {item['what']}.{instead}", of="warn")
    if report.pending:
        yield paragraph(
            f"{report.pending} clips are not decided: the same command with the sources measures them.",
            of="warn",
        )


def _not_measured(report: CurateReport, judged: Sequence[Judged]) -> Iterator[Markup]:
    if report.not_measured:
        rows: list[Sequence[str]] = [
            (item["what"], item["why"], item["instead"] or "-", item["fix"])
            for item in report.not_measured[:MOST_LISTED]
        ]
        yield table(("measure", "because", "in its place", "what to do"), rows)
    if report.idle_rules:
        yield paragraph(f"Nothing can break {', '.join(report.idle_rules)}: their gates are not taken.")
    reasons = Counter(
        (name, why) for clip in judged for name, why in clip.row["unmeasured"].items() if clip.decision
    )
    if reasons:
        yield tag("h3", {}, "Of single clips")
        ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        rows = [(name, why, str(clips)) for (name, why), clips in ordered[:MOST_LISTED]]
        yield table(("measure", "because", "clips"), rows, numbers=frozenset({2}))
        if len(ordered) > MOST_LISTED:
            yield note(f"and {len(ordered) - MOST_LISTED} more reasons; the manifest has them all")
    if not report.not_measured and not reasons:
        yield paragraph("Every gate that was taken gave all its measures.")


def _audit(report: CurateReport) -> Iterator[Markup]:
    audit = report.audit
    yield note(
        "First looks reject only what lies well past the limit of the measure of record. Of audited clips "
        "both are taken, which says how many good clips the first looks lose."
    )
    if not audit.clips:
        yield paragraph("No clip was audited; --audit 0.01 audits one in a hundred.")
        return
    wrong = sum(audit.false_rejects.values())
    rate = (
        "" if audit.false_reject_rate is None else f", {percent(audit.false_reject_rate, 1)} of the good ones"
    )
    yield paragraph(
        f"First looks reject {audit.rejected_by_screens} of {audit.clips} audited clips. "
        + (f"Wrongly{rate}:" if wrong else "Each of these breaks a rule of record too.")
    )
    if wrong:
        rows = [(rule, str(clips)) for rule, clips in audit.false_rejects.items()]
        yield table(("rule", "clips that it alone rejects"), rows, numbers=frozenset({1}))


def _errors(judged: Sequence[Judged]) -> Iterator[Markup]:
    failed = [clip for clip in judged if clip.status == "error"]
    if not failed:
        yield paragraph("None.")
    kinds = Counter(str(clip.row["error_kind"]) for clip in failed)
    for kind, count in sorted(kinds.items(), key=lambda item: (-item[1], item[0])):
        yield tag("h3", {}, f"{kind}: {count}")
        of_kind = (clip.row for clip in failed if str(clip.row["error_kind"]) == kind)
        yield bullets((f"{row[ROW_ID]}: {row['error']}" for row in of_kind), most=MOST_LISTED)


def _settings(report: CurateReport) -> Iterator[Markup]:
    settings = dict(report.settings)
    for group in ("rules", "measure"):
        yield tag("h3", {}, group)
        yield facts(settings_said(settings.pop(group)))
    yield tag("h3", {}, "audit")
    yield facts(settings_said(settings))
    yield note(
        "A dash is a rule that is off. summary.json beside this page holds the same numbers for programs, "
        "manifest.parquet each clip's."
    )
