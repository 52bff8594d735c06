"""Tables of a report: the paper's Table 1 beside this run, what each rule leaves, what the gates cost."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from megactor_core.config.curate import GATES, RulesConfig
from megactor_core.curation.manifest import DUPLICATE, Judged
from megactor_core.curation.rules import RULES
from megactor_core.curation.summary import CurateReport
from megactor_core.pages.charts import share_bar
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

MOST_DATASETS: Final = 20
"""Of this run in Table 1; what is more is counted (ours)."""

TABLE_1: Final = (
    ("VoxCeleb", 140, "400 x 400", 6.218, 8.500, 19.4),
    ("Talking-Head", 80, "400 x 400", 4.956, 9.315, 23.7),
    ("MultiTalk", 34, "300 x 300", 6.002, 8.687, 20.6),
    ("CCv2", 44, "600 x 600", 4.345, 9.999, 8.2),
    ("HDTF", 15, "600 x 700", 7.957, 7.330, 5.2),
)
"""The paper's Table 1 [P]: data set, hours, face, Sync-C, Sync-D, rotation in degrees."""
_COLUMNS: Final = ("data set", "", "clips", "hours", "face, W x H px", "Sync-C ↑", "Sync-D ↓", "rotation, °")
_NOT_OF_PAPER: Final = ("av_confidence", "speech_share")
_AVERAGES: Final = ("sync_c", "sync_d", "rotation_magnitude_mean", *_NOT_OF_PAPER)
_TITLES_NOT_OF_PAPER: Final = ("A/V confidence", "speech")


# ---------------------------------------------------------------- Table 1


def table_1(report: CurateReport) -> Iterator[Markup]:
    """Each data set raw and kept, below the paper's rows."""
    yield note(
        "Rows of the paper are quoted. Its hours are those it kept; its averages fail its own limits for "
        "four of five data sets, so they can only be of the raw clips. Here each data set has both. Below "
        "each average stands the number of clips that it is of: a clip that a cheap gate stopped has no "
        "later measures, so that raw averages lean to the better clips. With --audit 1.0 they are of all."
    )
    quoted = [
        (
            tag("span", {"class": "mark quoted"}, "quoted: paper"),
            "",
            *(f"{hours} h kept", face, f"{sync_c:.3f}", f"{sync_d:.3f}", f"{degrees:.1f}"),
            *("-" for _ in _NOT_OF_PAPER),
        )
        for _, hours, face, sync_c, sync_d, degrees in TABLE_1
    ]
    rows: list[Sequence[str]] = [(row[0], *cells) for row, cells in zip(TABLE_1, quoted, strict=True)]
    for name, group in list(report.datasets.items())[:MOST_DATASETS]:
        rows += [_dataset_row(name, which, group[which]) for which in ("raw", "kept")]
    yield table((*_COLUMNS, *_TITLES_NOT_OF_PAPER), rows, numbers=frozenset(range(2, len(_COLUMNS) + 2)))
    if len(report.datasets) > MOST_DATASETS:
        yield note(f"and {len(report.datasets) - MOST_DATASETS} more data sets; summary.json has them all")


def _dataset_row(name: str, which: str, group: Mapping[str, Any]) -> Sequence[str]:
    clips, people = group["clips"], group["identities"]
    return (
        name,
        tag("span", {"class": "mark"}, which),
        joined((str(clips), small(f"{people} {'person' if people == 1 else 'people'}"))),
        duration(3600 * group["hours"]),
        _face(group),
        *(_average(group, measure) for measure in _AVERAGES),
    )


def _face(group: Mapping[str, Any]) -> Markup:
    width, height = (group["means"][f"face_{side}_mean"] for side in ("width", "height"))
    text = "-" if width is None or height is None else f"{width:.0f} x {height:.0f}"
    return joined((text, _of_clips(group, "face_width_mean")))


def _average(group: Mapping[str, Any], measure: str) -> Markup:
    mean = group["means"][measure]
    return joined(("-" if mean is None else number(round(mean, 3)), _of_clips(group, measure)))


def _of_clips(group: Mapping[str, Any], measure: str) -> Markup:
    return small(f"{group['measured'][measure]} of {group['clips']}")


# ---------------------------------------------------------------- the funnel


def funnel(report: CurateReport, judged: Sequence[Judged], rules: RulesConfig) -> Iterator[Markup]:
    """What is left after each rule, in the order of the gates."""
    yield note(
        "A clip leaves at the first rule that it breaks, and is counted at each other one that it breaks, "
        "too, as far as that could be checked."
    )
    stations = list(_stations(report, rules))
    left = _Left(len(judged), sum(clip.seconds for clip in judged))
    rows = [("all clips", "", "", "", "", *left.cells(report))]
    for rule, gate in stations:
        gone = [clip for clip in judged if clip.failures and clip.failures[0].rule == rule]
        left = _Left(left.clips - len(gone), left.seconds - sum(clip.seconds for clip in gone))
        rows.append((rule, gate, *_fared(report, rule), str(len(gone)), *left.cells(report)))
    for status, title in (("error", "errors"), ("pending", "still to be measured")):
        gone = [clip for clip in judged if clip.status == status]
        if gone:
            left = _Left(left.clips - len(gone), left.seconds - sum(clip.seconds for clip in gone))
            rows.append((title, "", "", "", str(len(gone)), *left.cells(report)))
    rows.append((tag("b", {}, "kept"), "", "", "", "", *left.cells(report)))
    columns = ("rule", "gate", "checked", "breaks it", "as the first", "clips left", "length left", "")
    yield table(columns, rows, numbers=frozenset({2, 3, 4, 5, 6}))
    if report.idle_rules:
        yield paragraph(f"Rules left out, since their gate is not taken: {', '.join(report.idle_rules)}.")


class _Left:
    """Clips that no rule so far has rejected."""

    def __init__(self, clips: int, seconds: float) -> None:
        self.clips = clips
        self.seconds = seconds

    def cells(self, report: CurateReport) -> tuple[str, str, Markup]:
        share = self.clips / report.clips if report.clips else 0.0
        return str(self.clips), duration(max(0.0, self.seconds)), share_bar(share)


def _stations(report: CurateReport, rules: RulesConfig) -> Iterator[tuple[str, str]]:
    """Rules that are on, with their gates; those whose gate is not taken only where they reject for it."""
    for rule in RULES:
        if rule.is_on(rules) and (rule.name not in report.idle_rules or rule.name in report.reasons):
            yield rule.name, rule.gate
    if rules.duplicates == "reject":
        yield DUPLICATE, ""


def _fared(report: CurateReport, rule: str) -> tuple[str, str]:
    count = report.rules.get(rule)
    return "" if count is None else str(count.checked), str(report.reasons.get(rule, 0))


# ---------------------------------------------------------------- cost


def cost(report: CurateReport, judged: Sequence[Judged]) -> Iterator[Markup]:
    """Processor time by gate over all runs, and the time that this run took."""
    spent = report.cpu_seconds_by_gate
    total = sum(spent.values())
    if not total:
        yield paragraph("No gate was taken.")
        return
    rows = []
    for gate in GATES:
        took = [clip for clip in judged if gate in clip.row["gate_seconds"]]
        video_seconds = sum(clip.seconds for clip in took)
        if took:
            rows.append((gate, str(len(took)), *_costs(spent[gate], total, len(took), video_seconds)))
    every = sum(clip.seconds for clip in judged)
    rows.append((tag("b", {}, "all"), str(len(judged)), *_costs(total, total, len(judged), every)))
    columns = ("gate", "clips", "processor time", "share", "", "a clip", "an hour of video")
    yield table(columns, rows, numbers=frozenset({1, 2, 3, 5, 6}))
    yield note(
        "Of one core, over all runs; decoding is on the account of the first gate that asks for frames."
    )
    yield paragraph(f"Clips were decoded whole {report.decodes} times. {_this_run(report, judged)}")


def _costs(seconds: float, total: float, clips: int, video_seconds: float) -> tuple[str, ...]:
    hourly = duration(seconds / video_seconds * 3600) if video_seconds else "-"
    share = seconds / total
    return f"{seconds:.2f} s", percent(share, 1), share_bar(share), f"{1000 * seconds / clips:.1f} ms", hourly


def _this_run(report: CurateReport, judged: Sequence[Judged]) -> str:
    if not report.computed:
        return "This time nothing was measured."
    runs = [int(clip.row.get("run", 0)) for clip in judged]
    seconds = sum(clip.seconds for clip, run in zip(judged, runs, strict=True) if run == max(runs))
    wall = report.wall_seconds
    speed = f", {number(seconds / wall)} times real time" if wall else ""
    deaths = f" {report.worker_deaths} workers died." if report.worker_deaths else ""
    return f"The last run worked on {report.computed} clips for {duration(wall)}{speed}.{deaths}"
