"""The guard round every stage: whatever a stage does to a row, the row comes back and says what happened."""

import errno
import resource
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from megactor_core.engine.parts import RESERVED, encode_values
from megactor_core.engine.stage import (
    CHILDREN,
    ROW_ID,
    ROW_VERSION,
    Outcome,
    Rejected,
    Row,
    Stage,
    fans_out,
)
from megactor_core.errors import MegActorError, OutputError

RETRIED_KINDS: Final = frozenset({"exception", "memory"})
"""Kinds of failure that may not come again."""
_FULL_OR_READ_ONLY: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_END: Final = object()


class Watch(Protocol):
    """Who watches over the row that is due."""

    def due(self, key: str, *, limit_seconds: float) -> None:
        """The stage begins with this row; the process is to end where it takes longer than the limit."""

    def over(self) -> None:
        """The stage has yielded the row or failed on it."""


def guarded_chain(
    stages: Sequence[Stage], rows: Sequence[Outcome], *, watch: Watch, timeout_seconds: float | None
) -> list[Outcome]:
    """Take rows (with status "ok") through stages one after the other; one that stops skips the rest.

    The result has the rows in their order. Raises OutputError where the machine, not a row, is at fault.
    """
    ended: dict[str, Outcome] = {outcome.key: outcome for outcome in rows}
    for stage in stages:
        live = [outcome for outcome in ended.values() if outcome.status == "ok"]
        for outcome in guard(stage, live, watch=watch, timeout_seconds=timeout_seconds):
            ended[outcome.key] = outcome
    return list(ended.values())


def guard(
    stage: Stage, rows: Sequence[Outcome], *, watch: Watch, timeout_seconds: float | None
) -> Iterator[Outcome]:
    """Each row after one stage, in order. Only an OutputError leaves it, which is no row's fault."""
    limit = stage.needs.timeout_seconds if timeout_seconds is None else timeout_seconds
    batch_rows = 1 if fans_out(stage) else max(1, stage.needs.batch_rows)
    waiting = list(rows)
    while waiting:
        batch = waiting[:batch_rows]
        seen = 0
        for outcome in _until_one_stops(stage, batch, watch=watch, limit_seconds=limit):
            yield outcome
            seen += 1
        del waiting[:seen]


def _until_one_stops(
    stage: Stage, batch: Sequence[Outcome], *, watch: Watch, limit_seconds: float
) -> Iterator[Outcome]:
    """One call of the stage: the rows up to the one that is rejected or fails, that one included."""
    produced: Iterator[Row] | None = None
    for number, before in enumerate(batch):
        watch.due(before.key, limit_seconds=limit_seconds)
        start = _cpu_seconds()
        try:
            if produced is None:
                produced = iter(stage.rows([dict(outcome.row) for outcome in batch]))
            is_last = number == len(batch) - 1
            row = _children(stage, before, produced) if fans_out(stage) else _next(produced, before, is_last)
            after = replace(before, row=_checked(row, before.row))
        except BaseException as error:
            if _ends_the_process(error):
                raise
            after = _stopped(stage, before, error)
        finally:
            watch.over()
        yield replace(after, cpu_seconds=before.cpu_seconds + _cpu_seconds() - start)
        if after.status != "ok":
            return


def _next(produced: Iterator[Row], before: Outcome, is_last: bool) -> Row:
    row = next(produced, None)
    if row is None:
        raise RuntimeError("the stage yields fewer rows than it is given")
    if row.get(ROW_ID, before.row[ROW_ID]) != before.row[ROW_ID]:
        raise RuntimeError(f"the stage yields row '{row[ROW_ID]}' where '{before.row[ROW_ID]}' is due")
    if is_last and next(produced, _END) is not _END:
        raise RuntimeError("the stage yields more rows than it is given")
    return row


def _children(stage: Stage, before: Outcome, produced: Iterator[Row]) -> Row:
    children = list(produced)
    ids = [child.get(ROW_ID) for child in children]
    if len(set(ids)) < len(ids) or not all(isinstance(name, str) for name in ids):
        raise RuntimeError(f"the stage '{stage.name}' yields rows without a row_id of their own")
    return {**before.row, CHILDREN: children}


def _checked(row: Row, before: Row) -> Row:
    """The row with its identity, whatever the stage made of it. Raises TypeError where it cannot be kept."""
    taken = RESERVED & row.keys()
    if taken:
        raise TypeError(f"a stage cannot set the column '{min(taken)}'")
    encode_values(row)
    return {**row, ROW_ID: before[ROW_ID], ROW_VERSION: before.get(ROW_VERSION)}


def _stopped(stage: Stage, before: Outcome, error: BaseException) -> Outcome:
    stopped = replace(before, stopped_at=stage.name)
    match error:
        case Rejected():
            try:
                row = _checked({**before.row, **error.values}, before.row)
            except Exception as unfit:
                return _stopped(stage, before, unfit)
            return replace(stopped, status="rejected", reason=error.reason, row=row)
        case OutputError():  # the machine's fault, not the row's
            raise error
        case OSError() if error.errno in _FULL_OR_READ_ONLY:
            name = f": '{error.filename}'" if error.filename else ""
            raise OutputError(
                f"The stage '{stage.name}' cannot write ({error.strerror}{name}).",
                fix="Make room or give another --output; finished rows are kept.",
            ) from None
        case MegActorError():
            kind, text = type(error).__name__, str(error)
        case MemoryError():
            kind, text = "memory", str(error) or "not enough memory"
        case _:
            kind, text = "exception", _described(error)
    return replace(stopped, status="error", error_kind=kind, error=text)


def _ends_the_process(error: BaseException) -> bool:
    """Ctrl-C and Python's other ways out. A panic in a library of another language is none of them."""
    is_out = not isinstance(error, Exception) and type(error).__module__ == "builtins"
    return is_out or isinstance(error, KeyboardInterrupt)


def _described(error: BaseException) -> str:
    """Type, text and place of an error that nobody foresaw."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


def _cpu_seconds() -> float:
    """CPU time of this process and of the child processes that it has waited for."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
