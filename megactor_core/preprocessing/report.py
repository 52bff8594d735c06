"""What became of the clips, counted."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from megactor_core.config.splits import SPLITS
from megactor_core.data.sample import INDEX, IndexRow
from megactor_core.engine.job import JobReport
from megactor_core.preprocessing.sources import Source

MOST_EXAMPLES: Final = 3
"""Clips named for each reason."""


@dataclass(frozen=True, slots=True)
class Unused:
    """Clips that are no samples for one reason, in the error's own words without the name of the file."""

    reason: str
    clips: int
    examples: list[str]
    """source_uri of up to three of them."""


@dataclass(frozen=True, slots=True)
class PreprocessReport:
    """clips = ok + rejected + errors; computed: those of this run, the rest was done before."""

    output: str
    index: str
    source: str
    clips: int
    ok: int
    rejected: int
    errors: int
    computed: int
    not_kept: int
    """Rows that the manifest says not to keep."""
    reasons: dict[str, int]
    """Rejected clips by reason."""
    error_kinds: dict[str, int]
    """Failed clips by kind of error."""
    unused: list[Unused]
    """All clips that are no samples, by reason in words, most frequent first."""
    seconds: float
    """Length of all samples together."""
    frames: int
    bytes: int
    samples_by_split: dict[str, int]
    identities_by_split: dict[str, int]
    with_audio: int
    with_driver: int
    with_latents: int
    wall_seconds: float
    """Of this run, as the rest."""
    worker_cpu_seconds: float
    parent_cpu_seconds: float
    worker_deaths: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def summarise(index: Sequence[IndexRow], job: JobReport, *, source: Source, output: Path) -> PreprocessReport:
    """Count the rows of the index and what the job says of its run."""
    samples = [row for row in index if row.status == "ok"]
    rejected = [row for row in index if row.status == "rejected"]
    failed = [row for row in index if row.status == "error"]
    return PreprocessReport(
        output=str(output),
        index=str(output / INDEX),
        source=source.described,
        clips=len(index),
        ok=len(samples),
        rejected=len(rejected),
        errors=len(failed),
        computed=job.rows - job.skipped,
        not_kept=source.not_kept,
        reasons=_counted(str(row.reason).partition(":")[0] for row in rejected),
        error_kinds=_counted(str(row.error_kind) for row in failed),
        unused=_unused([*rejected, *failed]),
        seconds=sum(row.seconds or 0.0 for row in samples),
        frames=sum(row.frames or 0 for row in samples),
        bytes=sum(row.bytes or 0 for row in samples),
        samples_by_split={split: sum(row.split == split for row in samples) for split in SPLITS},
        identities_by_split={
            split: len({row.identity for row in samples if row.split == split}) for split in SPLITS
        },
        with_audio=sum(bool(row.has_audio) for row in samples),
        with_driver=sum(bool(row.has_driver) for row in samples),
        with_latents=sum(bool(row.has_latents) for row in samples),
        wall_seconds=job.wall_seconds,
        worker_cpu_seconds=job.worker_cpu_seconds,
        parent_cpu_seconds=job.parent_cpu_seconds,
        worker_deaths=job.worker_deaths,
    )


def _unused(rows: Sequence[IndexRow]) -> list[Unused]:
    """Most frequent first."""
    by_reason: dict[str, list[str]] = {}
    for row in rows:
        by_reason.setdefault(_without_name(row), []).append(row.source_uri)
    unused = [Unused(reason, len(uris), uris[:MOST_EXAMPLES]) for reason, uris in by_reason.items()]
    return sorted(unused, key=lambda group: -group.clips)


def _without_name(row: IndexRow) -> str:
    """The reason as others may share it: `Cannot open 'in/a.mp4' (...)` becomes `Cannot open it (...)`."""
    text = re.sub(rf"'[^']*{re.escape(row.source_uri)}':? ?", "it ", str(row.reason))
    text = re.sub(r"\bit ([.,:)])", r"it\1", text)
    return text[:1].upper() + text[1:] if text.startswith("it ") else text


def _counted(names: Any) -> dict[str, int]:
    """Most frequent first."""
    return dict(Counter(names).most_common())
