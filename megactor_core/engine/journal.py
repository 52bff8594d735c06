"""The journal of a job: a folder of finished rows that survives anything and says what is left to do.

    run.json            format, stages and versions, number of the run, when and where it began
    lock, workers.lock  held by the run and by its workers
    parts/part-*.parquet
    inflight/           marks on rows that are being worked on

A row is done where a part file holds its latest result under its present key: ok, rejected, or an error that
is not to be tried again.
"""

import fcntl
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from megactor_core.engine.inflight import SPARE
from megactor_core.engine.parts import DAMAGED, decode_rows, merge_parts, part_paths, read_part
from megactor_core.engine.stage import CHILDREN, ROW_ID, Row, Stage
from megactor_core.errors import OutputError, UsageError, first_line
from megactor_core.files import read_json, require_writable_folder, sole_owner, write_json
from megactor_core.version import megactor_version

FORMAT: Final = 1
ROWS_PER_FILE: Final = 20_000
MERGE_FROM_FILES: Final = 64
"""A job that ends with so many part files, or more, merges the small ones."""
ORPHANS_END_SECONDS: Final = 10.0
"""Workers of a run that was killed are killed by the system at once; a disk may hold one up."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a row of an earlier run ended."""

    key: str
    status: str
    reason: str | None
    error_kind: str | None
    attempts: int


class Journal:
    """The journal in `folder`, which is made when a job first runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts = folder / "parts"
        self.marks = folder / "inflight"
        self.workers_lock = folder / "workers.lock"

    @contextmanager
    def opened(self, stages: Sequence[Stage]) -> Iterator[int]:
        """Own the journal for one run of these stages; yields the number of the run.

        Raises UsageError where it is a journal of another job, OutputError where another run has it or it
        cannot be written.
        """
        require_writable_folder(self.folder)
        with sole_owner(self.folder / "lock"):
            self._wait_for_orphans()
            run = self._start(stages)
            yield run

    def results(self, row_ids: Iterable[str] | None = None) -> list[Row]:
        """The latest result of every row, or of those named, sorted by row_id.

        Each has the columns that its stages gave it (and its input), then row_id, row_key, status ("ok",
        "rejected", "error"), stopped_at, reason, error_kind, error, attempts, cpu_seconds, run and host.
        May be called while a job runs; damaged part files are passed over.
        """
        wanted = None if row_ids is None else set(row_ids)
        latest: dict[str, Row] = {}
        for path in part_paths(self.parts):
            table = read_part(path)
            for row in decode_rows(table) if table is not None else ():
                name = row[ROW_ID]
                if (wanted is None or name in wanted) and _is_later(row, latest.get(name)):
                    latest[name] = row
        return [latest[name] for name in sorted(latest)]

    def children(self, row_ids: Iterable[str] | None = None) -> list[Row]:
        """The rows that a fan-out stage made of the rows with status ok, in the order of these."""
        return [child for row in self.results(row_ids) for child in row.get(CHILDREN, ())]

    def table(self, row_ids: Iterable[str] | None = None) -> pa.Table:
        """The results as a table with the columns of all rows, sorted by name; absent values are null.

        Raises UsageError naming a column whose values have no common type.
        """
        rows = self.results(row_ids)
        names = sorted({name for row in rows for name in row})
        return pa.table({name: _column(name, [row.get(name) for row in rows]) for name in names})

    def finished(self) -> tuple[dict[str, Finished], int]:
        """How each row of earlier runs ended, by row_id, and the number of damaged files now set aside."""
        latest: dict[str, tuple[tuple[int, int], Finished]] = {}
        damaged = 0
        for path in part_paths(self.parts):
            table = read_part(path)  # whole, for damage may lie anywhere
            if table is None:
                path.replace(path.with_name(path.name + DAMAGED))
                damaged += 1
                continue
            for name, age, finished in _ends(table):
                if name not in latest or age >= latest[name][0]:
                    latest[name] = (age, finished)
        return {name: finished for name, (_, finished) in latest.items()}, damaged

    def last_run(self) -> int:
        """The number of the last run that was begun, 0 before the first; may be asked while it is at work.

        Raises UsageError where the record cannot be read.
        """
        return int(self._header().get("run", 0))

    def forget_marks(self) -> None:
        """Remove the marks that killed runs left, once nothing of theirs is to be done any more.

        Raises OutputError where a run is at work.
        """
        with sole_owner(self.folder / "lock"):
            for mark in self.marks.iterdir() if self.marks.is_dir() else ():
                mark.unlink(missing_ok=True)

    def merge(self) -> None:
        """Turn many small part files into few."""
        paths = part_paths(self.parts)
        if len(paths) >= MERGE_FROM_FILES:
            merge_parts(paths, rows_per_file=ROWS_PER_FILE)

    def _start(self, stages: Sequence[Stage]) -> int:
        header = self._header()
        _require_same_job(self.folder, header, [stage.name for stage in stages])
        run = int(header.get("run", 0)) + 1
        for folder in (self.parts, self.marks):
            require_writable_folder(folder)
            for leftover in (*folder.glob(".*.partial-*"), *folder.glob(f"{SPARE}*")):
                leftover.unlink(missing_ok=True)
        write_json(self.folder / "run.json", _new_header(stages, run))
        return run

    def _header(self) -> dict[str, Any]:
        path = self.folder / "run.json"
        try:
            header = read_json(path)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            header = None
        if not _is_header(header):
            raise UsageError(
                f"'{path}' is not the record of a journal of format {FORMAT}.",
                fix="Choose another --output, or remove the journal folder to begin anew.",
            )
        return header

    def _wait_for_orphans(self) -> None:
        end = time.monotonic() + ORPHANS_END_SECONDS
        with self.workers_lock.open("a", encoding="utf-8") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise OutputError(
                            f"Workers of an earlier run still write to '{self.folder}'.",
                            fix="Wait for them to end, or end them.",
                        ) from None
                    time.sleep(0.05)
                else:
                    return


def _is_header(value: Any) -> bool:
    """Whether `value` has what is read of a header: format, number of the run, names of the stages."""
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        return False
    stages = value.get("stages", [])
    return (
        type(value.get("run", 0)) is int
        and isinstance(stages, list)
        and all(isinstance(stage, dict) and isinstance(stage.get("name"), str) for stage in stages)
    )


def _ends(table: pa.Table) -> Iterator[tuple[str, tuple[int, int], Finished]]:
    """Row id, age (run and attempt) and end of each row of a part file."""
    names = (ROW_ID, "row_key", "status", "reason", "error_kind", "attempts", "run")
    for row_id, key, status, reason, kind, attempts, run in zip(
        *(table[name].to_pylist() for name in names), strict=True
    ):
        yield row_id, (run, attempts), Finished(key, status, reason, kind, attempts)


def _is_later(row: Row, other: Row | None) -> bool:
    return other is None or (row["run"], row["attempts"]) >= (other["run"], other["attempts"])


def _require_same_job(folder: Path, header: dict[str, Any], names: list[str]) -> None:
    before = [stage["name"] for stage in header.get("stages", [])]
    if before and not set(before) & set(names):
        raise UsageError(
            f"'{folder}' is the journal of another job (stages {', '.join(before)}; now {', '.join(names)}).",
            fix="Choose another --output.",
        )


def _new_header(stages: Sequence[Stage], run: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "megactor": megactor_version(),
        "stages": [{"name": stage.name, "version": stage.version} for stage in stages],
        "run": run,
        "host": socket.gethostname(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _column(name: str, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except pa.ArrowException as error:
        raise UsageError(
            f"The column '{name}' holds values of several kinds ({first_line(error)})."
        ) from None
