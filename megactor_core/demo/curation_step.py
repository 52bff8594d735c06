"""Which clips can be trusted: those that are wrong on purpose are found before anything learns from them."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

import pyarrow.parquet as pq

from megactor_core.config.curate import CurateConfig
from megactor_core.curation.curate import curate
from megactor_core.curation.summary import CurateReport
from megactor_core.demo.bricks import strips
from megactor_core.demo.command import Command
from megactor_core.demo.montage import moments
from megactor_core.demo.step import Shown, Step
from megactor_core.demo.workplace import IN_PROCESS, Workplace
from megactor_core.listener import Listener
from megactor_core.pages.page import Markup, note, paragraph, table

SHOWN_CLIPS: Final = 4
STRIP_FRAMES: Final = 6
CORPUS_FPS: Final = Fraction(25)


def curate_corpus(workplace: Workplace) -> Step:
    """The corpus measured with the limits that are made for it."""
    command = Command(
        "curate",
        source=workplace.corpus,
        recipe="tiny",
        options={"output": workplace.curated, **IN_PROCESS},
    )

    def work(listener: Listener) -> Shown:
        report = curate(command.config(CurateConfig), listener.progress, listener.note)
        return Shown(tuple(_of_curation(report, workplace)))

    return Step("curation", "Which clips can be trusted", (command,), work)


def _of_curation(report: CurateReport, workplace: Workplace) -> Iterator[Markup]:
    yield paragraph(
        "Real videos are full of clips that would teach a model nonsense. Each clip is measured, cheapest "
        "measures first: sound, faces, shots, the head's rotation, sharpness, and whether lips and sound go "
        f"together. {report.kept} of {report.clips} clips are kept; only these go on."
    )
    rejected = [row for row in _manifest_rows(workplace) if row["reasons"]]
    if not rejected:
        yield paragraph("Every clip passed every rule.")
        return
    yield table(
        ["rejected clip", "rule that it breaks", "value and limit"],
        [(row["clip_id"], *row["reasons"][0].split(": ", 1)) for row in rejected],
    )
    shown = rejected[:SHOWN_CLIPS]
    yield strips([(f"{row['clip_id']}: {row['first_reason']}", _frames(row, workplace)) for row in shown])
    yield note(
        "SyncNet, which the paper measures lips and sound with, has weights of its own to download; without "
        f"them a check of this project's stands in. All measures are in {report.manifest}."
    )


def _manifest_rows(workplace: Workplace) -> list[dict[str, Any]]:
    columns = ["clip_id", "source_uri", "reasons", "first_reason", "seconds"]
    rows: list[dict[str, Any]] = pq.read_table(
        workplace.curated / "manifest.parquet", columns=columns
    ).to_pylist()
    return rows


def _frames(row: dict[str, Any], workplace: Workplace) -> list[Any]:
    frames = max(1, round(row["seconds"] * CORPUS_FPS))
    path = workplace.curated / row["source_uri"]
    return moments(path, video_fps=CORPUS_FPS, count=STRIP_FRAMES, last=frames)
