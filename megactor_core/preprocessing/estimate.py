"""megactor preprocess --dry-run: a few clips are done in a folder that vanishes, and the rest is reckoned."""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.engine.job import run_job
from megactor_core.engine.journal import Journal
from megactor_core.engine.stage import Outcome
from megactor_core.listener import OnNote, OnProgress
from megactor_core.preprocessing.output import JOURNAL, require_own_output, require_same_source
from megactor_core.preprocessing.preprocess import open_source
from megactor_core.preprocessing.sources import Clip

MOST_MEASURED: Final = 8
"""Clips that are done to reckon with: one of each eighth of the clips, by size of file (ours)."""
SECONDS_AN_HOUR: Final = 3600.0
_WORKER_LOADS: Final = "import megactor_core.engine.worker, megactor_core.preprocessing.stages"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What all clips would take, from a few that were done; nothing of it was kept."""

    source: str
    output: str
    clips: int
    measured: int
    measured_ok: int
    not_kept: int
    cpu_seconds_per_clip: float
    bytes_per_clip: float
    expected_samples: int
    total_cpu_hours: float
    total_bytes: int
    hours_by_workers: dict[str, float]
    """Wall time on an idle machine with so many workers, each with a core of its own, start included."""
    start_seconds: float
    """Processor time until a worker is ready for its first clip."""
    free_bytes: int
    """In the folder of the output."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Stratum:
    """Clips of like size, and what one of them took."""

    clips: int
    cpu_seconds: float
    bytes: int
    is_sample: bool


def estimate(
    config: PreprocessConfig, on_progress: OnProgress | None = None, on_note: OnNote | None = None
) -> Estimate:
    """Measure a spread of clips and reckon time and space of the whole run; writes nothing at the output.

    Time is processor time, so that other programs on the machine do not count; latents on a GPU do not
    count either. Raises as `preprocess` does before work starts.
    """
    progress, note = on_progress or (lambda *_: None), on_note or (lambda _: None)
    source = open_source(config, progress=progress, note=note)
    require_own_output(config)
    require_same_source(config, source, Journal(config.output / JOURNAL))
    strata = strata_of([clip.path for clip in source.clips])
    measured = _measure([source.clips[group[len(group) // 2]] for group in strata], config, progress)
    parts = [
        _Stratum(
            clips=len(group),
            cpu_seconds=outcome.cpu_seconds,
            bytes=int(outcome.row.get("bytes") or 0),
            is_sample=outcome.status == "ok",
        )
        for group, outcome in zip(strata, measured, strict=True)
    ]
    clips = len(source.clips)
    cpu_seconds = sum(part.clips * part.cpu_seconds for part in parts)
    total_bytes = sum(part.clips * part.bytes for part in parts)
    hours, start_seconds = cpu_seconds / SECONDS_AN_HOUR, _start_seconds()
    start_hours = start_seconds / SECONDS_AN_HOUR
    if len(parts) == clips:
        note(f"These are all {clips} clips: to run them for good takes no longer than this took.")
    return Estimate(
        source=source.described,
        output=str(config.output),
        clips=clips,
        measured=len(parts),
        measured_ok=sum(part.is_sample for part in parts),
        not_kept=source.not_kept,
        cpu_seconds_per_clip=cpu_seconds / clips,
        bytes_per_clip=total_bytes / clips,
        expected_samples=sum(part.clips for part in parts if part.is_sample),
        total_cpu_hours=hours,
        total_bytes=total_bytes,
        hours_by_workers={str(count): start_hours + hours / count for count in _worker_counts(config)},
        start_seconds=start_seconds,
        free_bytes=_free_bytes(config.output),
    )


def strata_of(paths: Sequence[Path], *, most: int = MOST_MEASURED) -> list[list[int]]:
    """The paths' numbers in up to `most` groups of about equal count, by size of file."""
    order = sorted(range(len(paths)), key=lambda number: (_size_bytes(paths[number]), number))
    count = min(most, len(order))
    bounds = [len(order) * part // count for part in range(count + 1)]
    return [order[begin:end] for begin, end in pairwise(bounds)]


def _measure(clips: Sequence[Clip], config: PreprocessConfig, progress: OnProgress) -> list[Outcome]:
    """The clips, done one after the other in this process, in a folder that is gone afterwards."""
    from megactor_core.preprocessing.stages import make_stages  # brings PyTorch along

    ended: dict[str, Outcome] = {}

    def on_row(outcome: Outcome) -> None:
        ended[outcome.row["row_id"]] = outcome

    with tempfile.TemporaryDirectory(prefix="megactor-dry-run-") as folder:
        run_job(
            make_stages(config, Path(folder)),
            [clip.to_row() for clip in clips],
            journal=Journal(Path(folder) / "journal"),
            config=config.updated(engine="local", ray_address=None, workers=0, max_attempts=1),
            phase="measuring",
            on_progress=progress,
            on_row=on_row,
        )
    return [ended[clip.sample_id] for clip in clips]


def _start_seconds() -> float:
    """Processor time of a fresh process that loads what a worker loads, measured."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", _WORKER_LOADS], check=False, stdin=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _worker_counts(config: PreprocessConfig) -> list[int]:
    """One worker, the number asked for, and as many as there are cores."""
    return sorted({1, config.workers or 1, os.cpu_count() or 1})


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _free_bytes(folder: Path) -> int:
    """Free space where the folder is, or will be made."""
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
    status = os.statvfs(there)
    return status.f_bavail * status.f_frsize
