"""Many animations as rows of the engine: spread over workers, gone on with after any stop.

A row is one job. Its id is the video's path, its version what the video depends on: a job is done where the
journal holds a report of that version and the files are still there. A job that failed is no finished work;
the next run tries it again.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

from megactor_core import errors
from megactor_core.animation.animate import Animator, doubled_outputs
from megactor_core.animation.plan import CADENCE, output_of
from megactor_core.animation.report import AnimateReport
from megactor_core.config.animate import AnimateConfig
from megactor_core.config.jobs import JobsConfig
from megactor_core.engine.job import run_job
from megactor_core.engine.journal import Journal
from megactor_core.engine.parts import outcome_of
from megactor_core.engine.stage import ROW_ID, ROW_VERSION, Needs, Outcome, Rejected, Row, WorkerContext
from megactor_core.errors import Interrupted, MegActorError, OutOfMemory
from megactor_core.faces.landmarks import prepare
from megactor_core.listener import Listener, OnNote, OnProgress
from megactor_core.models.checkpoint import EMBEDDED, MANIFEST, checkpoint_sha256

JOB_TIMEOUT_SECONDS: Final = 86_400.0
"""A day for one job, for long clips on slow machines; `timeout_seconds` sets another."""
LIBRARIES_GB: Final = 3.0
"""Memory of a worker before it has read a checkpoint, and for the frames in hand (ours)."""
_NO_RESULT: Final = frozenset(CADENCE - {"output"})
"""Settings that a result does not depend on. The report names the output as the job does."""

JobResult = AnimateReport | MegActorError


def run_jobs(
    configs: Sequence[AnimateConfig],
    *,
    journal: Path,
    config: JobsConfig,
    on_progress: OnProgress | None = None,
    on_note: OnNote | None = None,
    on_done: Callable[[int, JobResult], None] | None = None,
) -> list[JobResult]:
    """Animate every job on the engine; a report or an error for each, those of earlier runs included.

    What `animate_jobs` gives, in the same order, however many workers there are. `on_done(number, result)`
    is told of each job that ends in this run, counted from 1. A job that kills its worker twice is an error.
    Raises OutputError where the folder `journal` cannot be written or another run is at work there,
    UsageError where it is another job's, Interrupted on Ctrl-C (the same call goes on), MegActorError where
    the workers themselves cannot work.
    """
    listener = Listener.of(on_progress, on_note)
    results: dict[int, JobResult] = dict(doubled_outputs(configs))
    numbers = {row_id(config): n for n, config in enumerate(configs) if n not in results}
    tell = _Teller({name: n + 1 for name, n in numbers.items()}, listener, on_done)
    for n, refused in results.items():
        tell.result(n + 1, refused)
    _get_face_models(configs, listener)
    records = Journal(journal.absolute())
    _work(configs, _rows([configs[n] for n in numbers.values()], records), records, config, tell)
    for row in records.results(numbers):
        results[numbers[row[ROW_ID]]] = result_of(outcome_of(row))
    return [results[n] for n in range(len(configs))]


def _work(
    configs: Sequence[AnimateConfig],
    rows: Sequence[Row],
    journal: Journal,
    config: JobsConfig,
    tell: "_Teller",
) -> None:
    """Run the rows; an interruption says how far it came."""
    try:
        job = run_job(
            [AnimateJob.of(configs)],
            rows,
            journal=journal,
            config=config,
            phase="animating jobs",
            on_progress=tell.progress,
            on_row=tell.row,
        )
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted; {tell.ended} of {len(rows)} jobs are done, by the journal '{journal.folder}'.",
            fix="Run the same command again to go on.",
        ) from None
    if job.skipped:
        tell.listener.note(f"{job.skipped} of {job.rows} jobs were done already.")


@dataclass(slots=True)
class AnimateJob:
    """The stage: animates the job in the column `job`, and keeps the checkpoint for the next.

    Adds the columns report (that of `to_json`), files (sizes in bytes by path) and notes. A job that fails
    for a known reason is rejected with the class of its error, for an OutputError of its own must not end
    the others; its columns message and fix say the rest.
    """

    name: ClassVar[str] = "animate"
    version: ClassVar[str] = "1"

    folder: Path
    """Where the relative paths of the jobs begin, on whatever machine they are worked on."""
    manifests: tuple[Path, ...] = ()
    """Of the checkpoints that the jobs name."""
    _animator: Animator = field(default_factory=Animator, init=False, repr=False)

    @staticmethod
    def of(configs: Iterable[AnimateConfig]) -> "AnimateJob":
        """The stage for these jobs, whose relative paths begin in the current folder."""
        named = {config.checkpoint for config in configs if config.checkpoint is not None}
        return AnimateJob(Path.cwd(), tuple(sorted(folder.absolute() / MANIFEST for folder in named)))

    @property
    def needs(self) -> Needs:
        """Memory for the largest checkpoint, twice: as it lies in its files, and as it runs."""
        largest_gb = max(map(_weights_gb, (EMBEDDED / MANIFEST, *self.manifests)))
        return Needs(
            gpus=1,
            memory_gb=LIBRARIES_GB + 2 * largest_gb,
            batch_rows=1,
            timeout_seconds=JOB_TIMEOUT_SECONDS,
        )

    def setup(self, worker: WorkerContext) -> None:
        """Go to the jobs' folder; raises MegActorError where this machine does not have it."""
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise MegActorError(
                f"A worker cannot go to '{self.folder}' ({error.strerror}), where the jobs' paths begin.",
                fix="Start the command in a folder that every machine sees at the same path.",
            ) from None
        # A worker of the CPU takes what it finds, as without the engine.
        self._animator = Animator(auto_device="auto" if worker.device == "cpu" else worker.device)

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        """One row for each job."""
        for row in batch:
            notes: list[str] = []
            config = AnimateConfig.build(row["job"], source="job")
            try:
                report = self._animator.animate(config, Listener.of(None, notes.append))
            except Interrupted:
                raise KeyboardInterrupt from None  # it is for the whole run, not for this job
            except OutOfMemory as error:  # others may have held it: the engine tries such a row again
                raise MemoryError(str(error).rstrip(".")) from None
            except MegActorError as error:
                values = {"message": error.message, "fix": error.fix, "notes": notes}
                raise Rejected(type(error).__name__, values=values) from None
            yield {**row, "report": report.to_json(), "files": _sizes(report), "notes": notes}


def row_id(config: AnimateConfig) -> str:
    """The path of a job's video, in printable characters and like no other's."""
    path = str(output_of(config).absolute())
    return "".join(c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode() for c in path)


def result_of(outcome: Outcome) -> JobResult:
    """The report of a job that ended well, else its error."""
    match outcome.status:
        case "ok":
            return AnimateReport.from_json(outcome.row["report"])
        case "rejected":
            kind = getattr(errors, str(outcome.reason), MegActorError)
            error: MegActorError = kind(outcome.row["message"], fix=outcome.row["fix"])
            return error
        case "error":
            return MegActorError(
                f"{outcome.error_kind}: {outcome.error}.", fix="The next run tries it again."
            )


class _Teller:
    """Tells the caller how the run goes, in the words of a run without the engine."""

    def __init__(
        self,
        numbers: Mapping[str, int],
        listener: Listener,
        on_done: Callable[[int, JobResult], None] | None,
    ) -> None:
        self.ended = 0
        self.listener = listener
        self._numbers = numbers
        self._on_done = on_done
        self._said: set[str] = set()

    def progress(self, phase: str, done: int, total: int) -> None:
        self.ended = done
        self.listener.progress(phase, done, total)

    def row(self, outcome: Outcome) -> None:
        """A job ended. What several workers say of the checkpoint is said once."""
        for note in outcome.row.get("notes", ()):
            if note not in self._said:
                self._said.add(note)
                self.listener.note(note)
        self.result(self._numbers[outcome.row[ROW_ID]], result_of(outcome))

    def result(self, number: int, result: JobResult) -> None:
        if self._on_done is not None:
            self._on_done(number, result)


def _rows(configs: Sequence[AnimateConfig], journal: Journal) -> list[Row]:
    before = {row[ROW_ID]: row for row in journal.results(map(row_id, configs))}
    folders = {config.checkpoint or EMBEDDED for config in configs}
    weights = {folder: checkpoint_sha256(folder) for folder in folders}
    rows: list[Row] = []
    for config in configs:
        name = row_id(config)
        version = _version(config, weights[config.checkpoint or EMBEDDED])
        rows.append(
            {
                ROW_ID: name,
                ROW_VERSION: _still_good_or_next(version, before.get(name)),
                "job": config.model_dump(mode="json"),
            }
        )
    return rows


def _version(config: AnimateConfig, weights: str | None) -> str:
    """What the video depends on, hashed: settings, input files by size and time of change, weights."""
    inputs = (config.reference, config.driving, config.audio)
    parts = [config.model_dump(mode="json", exclude=set(_NO_RESULT)), list(map(_identity, inputs)), weights]
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _still_good_or_next(version: str, before: Row | None) -> str:
    """The version under which a job is done; a result that is no longer good counts as one of another."""
    if before is None or not before[ROW_VERSION].startswith(version):
        return version
    if before["status"] == "ok" and all(_size(Path(p)) == size for p, size in before["files"].items()):
        return str(before[ROW_VERSION])
    _, _, count = before[ROW_VERSION].partition(" again ")
    return f"{version} again {int(count or 0) + 1}"


def _identity(path: Path | None) -> tuple[int, int] | None:
    try:
        found = None if path is None else path.stat()
    except OSError:
        return None
    return None if found is None else (found.st_size, found.st_mtime_ns)


def _weights_gb(manifest: Path) -> float:
    return sum(path.stat().st_size for path in manifest.parent.glob("*.safetensors")) / 2**30


def _sizes(report: AnimateReport) -> dict[str, int | None]:
    """The files of a job with their sizes in bytes."""
    made = (report.output, report.compare, report.contact_sheet)
    return {str(path): _size(path) for path in made if path is not None}


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _get_face_models(configs: Iterable[AnimateConfig], listener: Listener) -> None:
    """Get on first use, once for all workers; a job whose models cannot be had says so itself."""
    for back_end in sorted({config.landmarks for config in configs}):
        with suppress(MegActorError):
            prepare(back_end, on_progress=listener.phase("getting the face models"))
