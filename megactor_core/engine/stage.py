"""What a stage is: a step of work on rows, written once, run in this process, in workers or on a cluster."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Row = dict[str, Any]
"""Paths (as text), numbers, text, None, and lists and dicts of them: what JSON can hold. Never frames."""
Status = Literal["ok", "rejected", "error"]

ROW_ID = "row_id"
ROW_VERSION = "row_version"
CHILDREN = "children"
"""Column in which the rows lie that a fan-out stage made of one row."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a stage wants of a worker.

    cpus: cores (and threads) it keeps busy. gpus: above 0, it prefers a worker that owns a GPU, and must do
    on a CPU where there is none. memory_gb: of one worker. batch_rows: rows given to it at once, at most.
    timeout_seconds: the longest wait for the next row that it yields; the worker is killed beyond it.
    """

    cpus: int = 1
    gpus: int = 0
    memory_gb: float = 2.0
    batch_rows: int = 8
    timeout_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """Where a stage runs: device ("cpu", "cuda:1") and the cores it may keep busy there."""

    device: str = "cpu"
    threads: int = 1


class Stage(Protocol):
    """A dataclass of settings that pickles; what `setup` loads goes into fields with init=False.

    `version` must change whenever the results of the same row would: by code, model or setting. It enters
    the row key, so that what was computed before is computed anew.

    `rows` yields one row for each of the batch, in its order, usually {**row, "column": value}. An exception
    belongs to the row that is due: raise Rejected for a row that is sound but not wanted, a MegActorError for
    one that cannot be used. The stage is then called again with the rows after it. Only what was yielded
    counts; a row's files must be complete, and written atomically, before the row is yielded.

    A stage with a further attribute `fan_out = True` gets one row at a time and yields any number of rows
    with a `row_id` of their own; it must be the last of its job.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def needs(self) -> Needs: ...

    def setup(self, worker: WorkerContext) -> None:
        """Load what the rows share, once in a worker. An exception here stops the job."""

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        """One row for each row of the batch."""


class Rejected(Exception):
    """Raise it for a row that is not wanted: status "rejected" with a short `reason`, the same for all alike.

    `values` are columns measured so far, kept in the row's result.
    """

    def __init__(self, reason: str, *, values: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.values = dict(values or {})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a row ended.

    row: its columns as the last stage that it passed left them. stopped_at: the stage that rejected it or
    failed. reason: of a rejection. error_kind: the class of a MegActorError, or exception, memory, timeout,
    killed_worker. attempts: tries so far, this one included.
    """

    row: Row = field(repr=False)
    key: str
    status: Status
    stopped_at: str | None = None
    reason: str | None = None
    error_kind: str | None = None
    error: str | None = None
    attempts: int = 1
    cpu_seconds: float = 0.0


def row_key(row: Row, stages: Sequence[Stage]) -> str:
    """What a result depends on (id and version of the row, names and versions of the stages), hashed."""
    parts = [row[ROW_ID], row.get(ROW_VERSION), [[stage.name, stage.version] for stage in stages]]
    text = json.dumps(parts, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def fans_out(stage: Stage) -> bool:
    """Whether the stage makes any number of rows of one."""
    return bool(getattr(stage, "fan_out", False))
