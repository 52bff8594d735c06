"""The paper's Tables 2 and 3, and results laid out like them. Its rows are quoted, not measured here."""

from dataclasses import dataclass
from typing import Final, Literal

from megactor_core.evaluation.catalogue import BY_NAME, PAPER_MEASURES
from megactor_core.evaluation.result import EvaluateResult, SetResult

Benchmark = Literal["hdtf", "ccv2"]
Figures = tuple[float, float, float, float, float]
"""FID, FVD, LPIPS, Sync-C, Sync-D."""


@dataclass(frozen=True, slots=True)
class Quoted:
    """A row of Table 2."""

    method: str
    framework: str
    params: str
    private_data: bool
    modal: str
    hdtf: Figures
    ccv2: Figures


TABLE_2: Final = (
    Quoted(
        *("AniPortrait", "SD1.5", "2.5B", False, "A"),
        hdtf=(33.317, 576.48, 0.1651, 4.0886, 10.316),
        ccv2=(37.437, 990.78, 0.2476, 3.6917, 10.557),
    ),
    Quoted(
        *("Hallo", "SD1.5", "2.4B", True, "A"),
        hdtf=(35.649, 839.22, 0.1147, 6.7103, 8.1199),
        ccv2=(38.236, 988.29, 0.1558, 6.0820, 8.8416),
    ),
    Quoted(
        *("MagicDance", "SD1.5", "4.1B", False, "V"),
        hdtf=(38.399, 707.25, 0.1861, 1.4071, 12.833),
        ccv2=(37.893, 794.03, 0.2016, 1.1953, 12.728),
    ),
    Quoted(
        *("MegActor", "SD1.5", "2.1B", False, "V"),
        hdtf=(32.984, 320.42, 0.0889, 5.8452, 8.8823),
        ccv2=(36.979, 402.27, 0.1471, 5.5078, 9.2506),
    ),
    Quoted(
        *("Follow-Your-Emoji", "SD1.5", "2.2B", True, "V"),
        hdtf=(35.063, 365.84, 0.1090, 5.8462, 8.5805),
        ccv2=(36.726, 420.90, 0.1839, 4.8391, 9.5500),
    ),
    Quoted(
        *("X-Portrait", "SD1.5", "2.9B", True, "V"),
        hdtf=(32.570, 343.52, 0.0885, 5.4879, 9.1072),
        ccv2=(37.318, 491.82, 0.1588, 5.1656, 9.5267),
    ),
    Quoted(
        *("V-Express", "SD1.5", "2.2B", True, "A+V"),
        hdtf=(33.770, 376.38, 0.0960, 6.0445, 8.4650),
        ccv2=(36.746, 405.98, 0.1336, 5.6041, 9.2320),
    ),
    Quoted(
        *("EchoMimic", "SD1.5", "2.1B", True, "A+V"),
        hdtf=(31.822, 317.04, 0.0873, 6.2166, 8.3247),
        ccv2=(35.943, 388.11, 0.1280, 6.1575, 8.9246),
    ),
    Quoted(
        *("MegActor-Σ", "DiT", "1.4B", False, "A+V"),
        hdtf=(31.497, 302.87, 0.0812, 6.8226, 8.1026),
        ccv2=(35.118, 345.66, 0.1030, 6.5407, 8.6185),
    ),
)
"""Frameworks and modals stand once for each group of methods in the paper."""

TABLE_3: Final[dict[str, Figures]] = {
    "A": (34.233, 383.87, 0.1168, 6.0315, 8.9535),
    "V": (32.838, 313.33, 0.0881, 6.4513, 8.4818),
    "A+V": (31.497, 302.87, 0.0812, 6.8226, 8.1026),
}
"""MegActor-Σ on HDTF by modality."""

_DIGITS: Final = {"fid": 3, "fvd": 2, "lpips": 4, "sync_c": 4, "sync_d": 4}
"""Behind the point, as the paper prints them; one less from 10 on for Sync-D."""
_HEADINGS: Final = tuple(f"{BY_NAME[name].title}{BY_NAME[name].arrow}" for name in PAPER_MEASURES)
_THIS: Final = "this result"


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of text, ready to be drawn."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def paper_tables(result: EvaluateResult) -> list[TextTable]:
    """The result in the layouts of Tables 2 and 3, with the rows of the benchmark that is quoted.

    None where there is neither a benchmark to quote nor one of the paper's metrics.
    """
    measured = {name for one in result.sets.values() for name in one.metrics}
    if result.quoted is None and measured.isdisjoint(PAPER_MEASURES):
        return []
    tables = [_table_2(result)]
    if list(result.sets) != [""]:
        tables.append(_table_3(result))
    return tables


def _table_2(result: EvaluateResult) -> TextTable:
    quoted = [_quoted_row(row, result.quoted) for row in TABLE_2] if result.quoted else []
    ours = [("-", "-", "-", mode or "-", *_figures(one)) for mode, one in result.sets.items()]
    return TextTable(
        title=f"As Table 2{_where(result.quoted)}",
        columns=("Source", "Method", "Framework", "Params", "Private Data", "Modal", *_HEADINGS),
        rows=(*quoted, *(("measured", _THIS, *row) for row in ours)),
    )


def _table_3(result: EvaluateResult) -> TextTable:
    quotes = TABLE_3 if result.quoted == "hdtf" else {}
    return TextTable(
        title=f"As Table 3{_where(result.quoted if quotes else None)}",
        columns=("Source", "Modal", *_HEADINGS),
        rows=(
            *(("quoted: paper", modal, *_written(figures)) for modal, figures in quotes.items()),
            *(("measured", mode, *_figures(one)) for mode, one in result.sets.items()),
        ),
    )


def _where(quoted: str | None) -> str:
    if quoted is None:
        return ""
    name = {"hdtf": "HDTF", "ccv2": "CCv2"}[quoted]
    return f", {name} (quoted rows are the paper's, made with clips and settings that it does not state)"


def _quoted_row(row: Quoted, benchmark: str) -> tuple[str, ...]:
    figures = row.hdtf if benchmark == "hdtf" else row.ccv2
    private = "Yes" if row.private_data else "No"
    return (
        *("quoted: paper", row.method, row.framework, row.params, private, row.modal),
        *_written(figures),
    )


def _written(figures: Figures) -> tuple[str, ...]:
    return tuple(_figure(name, value) for name, value in zip(PAPER_MEASURES, figures, strict=True))


def _figures(one: SetResult) -> tuple[str, ...]:
    return tuple(
        _figure(name, one.metrics[name].value) if name in one.metrics else "-" for name in PAPER_MEASURES
    )


def _figure(name: str, value: float) -> str:
    digits = _DIGITS[name] - (name == "sync_d" and value >= 10)
    return f"{value:.{digits}f}"
