import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megactor_core.engine.guard import guard, guarded_chain
from megactor_core.engine.stage import Needs, Outcome, Rejected, Row, WorkerContext, row_key
from megactor_core.errors import FaceError, OutputError

NEEDS = Needs(batch_rows=4, timeout_seconds=7)


class PanicException(BaseException):
    """What a panic in a library written in Rust looks like."""


@dataclass
class Calls:
    """A stage made of a function; keeps the batches that it was given."""

    function: Callable[[list[Row]], Iterator[Row]]
    name: str = "calls"
    version: str = "1"
    needs: Needs = NEEDS
    batches: list[list[int]] = field(default_factory=list)

    def setup(self, worker: WorkerContext) -> None: ...

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        self.batches.append([row["n"] for row in batch])
        return self.function(batch)


class Watcher:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def due(self, key: str, *, limit_seconds: float) -> None:
        self.seen.append((key, limit_seconds))

    def over(self) -> None:
        self.seen.append("over")


def waiting(count: int) -> list[Outcome]:
    return [Outcome(row={"row_id": f"r{n}", "n": n}, key=f"k{n}", status="ok") for n in range(count)]


def guarded(stage: Calls, count: int, *, timeout_seconds: float | None = None) -> list[Outcome]:
    return list(guard(stage, waiting(count), watch=Watcher(), timeout_seconds=timeout_seconds))


def each(function: Callable[[Row], Any]) -> Calls:
    """A stage whose every row is `function` of it."""
    return Calls(lambda batch: (function(row) for row in batch))


def failing_at(n: int, error: BaseException) -> Calls:
    def function(row: Row) -> Row:
        if row["n"] == n:
            raise error
        return {**row, "seen": True}

    return each(function)


def test_rows_come_back_in_order_with_their_columns() -> None:
    outcomes = guarded(each(lambda row: {"square": row["n"] ** 2}), 6)
    assert [outcome.row["square"] for outcome in outcomes] == [0, 1, 4, 9, 16, 25]
    assert [outcome.row["row_id"] for outcome in outcomes] == [f"r{n}" for n in range(6)]
    assert all(outcome.cpu_seconds >= 0 for outcome in outcomes)


@pytest.mark.parametrize(
    ("error", "status", "kind", "text"),
    [
        (ValueError("surprise"), "error", "exception", "ValueError: surprise (test_guard.py, line"),
        (FaceError("No face.", fix="Look."), "error", "FaceError", "No face. Look."),
        (MemoryError(), "error", "memory", "not enough memory"),
        (
            PanicException("panic"),
            "error",
            "exception",
            "PanicException: panic",
        ),
        (OSError(errno.EIO, "Input/output error", "a.mp4"), "error", "exception", "a.mp4"),
    ],
)
def test_a_failure_stays_on_its_row(error: BaseException, status: str, kind: str, text: str) -> None:
    stage = failing_at(1, error)
    outcomes = guarded(stage, 4)
    bad = outcomes[1]
    assert (bad.status, bad.error_kind, bad.stopped_at) == (status, kind, "calls")
    assert bad.error is not None
    assert text in bad.error
    assert [outcome.status for outcome in outcomes] == ["ok", status, "ok", "ok"]
    assert stage.batches == [[0, 1, 2, 3], [2, 3]]  # nothing is done twice


def test_a_rejected_row_keeps_what_was_measured() -> None:
    outcome = guarded(failing_at(1, Rejected("too small", values={"width": 3})), 2)[1]
    assert (outcome.status, outcome.reason, outcome.row["width"]) == ("rejected", "too small", 3)
    assert outcome.error_kind is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), OutputError("No.")])
def test_what_is_no_rows_fault_passes(error: BaseException) -> None:
    with pytest.raises(type(error)):
        guarded(failing_at(0, error), 2)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_stops_the_job(number: int) -> None:
    with pytest.raises(OutputError, match=r"'calls' cannot write .*out\.mp4"):
        guarded(failing_at(0, OSError(number, "no room", "out.mp4")), 2)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (lambda batch: iter(batch[:-1]), "fewer rows"),
        (lambda batch: iter([*batch, batch[0]]), "more rows"),
        (lambda batch: iter(reversed(batch)), "where 'r0' is due"),
        (lambda batch: None, "not iterable"),
        (lambda batch: iter([3] * len(batch)), "AttributeError"),
    ],
)
def test_a_stage_that_breaks_the_contract_fails_its_rows(rows: Any, text: str) -> None:
    outcomes = guarded(Calls(rows), 2)
    assert len(outcomes) == 2
    assert any(outcome.error is not None and text in outcome.error for outcome in outcomes)


@pytest.mark.parametrize("value", [Path("a"), np.zeros(3), {1, 2}, b"x"])
def test_values_that_json_cannot_hold_fail_the_row(value: object) -> None:
    outcome = guarded(each(lambda row: {**row, "value": value}), 1)[0]
    assert outcome.error is not None
    assert type(value).__name__.removeprefix("Posix") in outcome.error
    assert "value" not in outcome.row


@pytest.mark.parametrize("value", [np.float32(0.5), np.int64(3), np.bool_(True), None, [1, {"a": "ü"}]])
def test_values_that_json_can_hold_pass(value: object) -> None:
    assert guarded(each(lambda row: {**row, "value": value}), 1)[0].status == "ok"


def test_the_engines_columns_are_its_own() -> None:
    outcome = guarded(each(lambda row: {**row, "status": "fine"}), 1)[0]
    assert "cannot set the column 'status'" in str(outcome.error)


def test_a_stage_cannot_change_the_row_that_it_is_given() -> None:
    def spoil(row: Row) -> Row:
        row["n"] = 99
        raise ValueError

    assert guarded(each(spoil), 1)[0].row["n"] == 0


def test_the_time_limit_is_set_for_every_row_and_taken_back() -> None:
    watch = Watcher()
    stage = failing_at(1, ValueError())
    list(guard(stage, waiting(3), watch=watch, timeout_seconds=None))
    assert watch.seen == [("k0", 7), "over", ("k1", 7), "over", ("k2", 7), "over"]
    list(guard(stage, waiting(1), watch=watch, timeout_seconds=2.5))
    assert watch.seen[-2:] == [("k0", 2.5), "over"]


def test_rows_that_stop_skip_the_later_stages() -> None:
    first, second = failing_at(1, Rejected("no")), each(lambda row: {**row, "late": 1})
    outcomes = guarded_chain([first, second], waiting(4), watch=Watcher(), timeout_seconds=None)
    assert [outcome.row.get("late") for outcome in outcomes] == [1, None, 1, 1]
    assert second.batches == [[0, 2, 3]]


def test_a_row_key_depends_on_row_and_stages() -> None:
    def key(row_id: str, row_version: object, stages: Sequence[Calls]) -> str:
        return row_key({"row_id": row_id, "row_version": row_version, "n": 1}, stages)

    one, other = each(dict), each(dict)
    other.version = "2"
    keys = {key("a", 1, [one]), key("b", 1, [one]), key("a", [2, "x"], [one]), key("a", 1, [other])}
    assert len(keys) == 4
    assert key("a", 1, [one]) == row_key({"row_id": "a", "row_version": 1}, [each(dict)])
