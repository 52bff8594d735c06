"""A worker on a cluster: rows that Ray hands it go through a process of its own, as on one machine.

What a row does to its process (a crash, a hang) the actor sees as the local runner does, and deals with it by
the same rules. Ray itself only ever loses an actor with its whole machine, or for want of memory.
"""

import json
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from megactor_core import errors
from megactor_core.engine.batch import Plan
from megactor_core.engine.local import LocalRunner, Segment, threads_of
from megactor_core.engine.parts import SCHEMA, decode_rows, outcome_of, table_of
from megactor_core.engine.pool import WorkerPool
from megactor_core.engine.stage import Outcome, WorkerContext
from megactor_core.errors import MegActorError

DEATHS, STOP = "worker_deaths", "stop"
"""Columns of the tables between workers beside those of a part file."""


class RayWorker:
    """One segment of the stages, for tables of rows."""

    def __init__(
        self, plan: Plan, segment: Segment, *, lock: Path, batch_seconds: float, recycle_after_tasks: int
    ) -> None:
        self._run, self._inflight = plan.run, plan.inflight
        self._is_last = segment.stages.stop == len(plan.stages)
        # Ray shows an actor no GPU but its own.
        context = WorkerContext(device="cuda:0" if segment.on_gpu else "cpu", threads=threads_of(plan.stages))
        pool = WorkerPool(plan, context, workers=1, lock=lock, recycle_after_tasks=recycle_after_tasks)
        self._runner = LocalRunner(plan, [segment], {segment.on_gpu: [pool]}, batch_seconds=batch_seconds)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Every row of the table, ended and committed, or on its way to the next segment.

        What ends the job is told in the table: an exception comes to the other side as a text of Ray's.
        """
        if _stop_in(table) is not None:
            return table
        outcomes = list(decode(table))
        live = [outcome for outcome in outcomes if outcome.status == "ok"]
        ended = [outcome for outcome in outcomes if outcome.status != "ok"]
        before, stop = self._runner.worker_deaths, ""
        self._inflight.disown(outcome.key for outcome in live)
        try:
            ended += self._runner.run(iter(live))
        except Exception as error:
            ended, stop = outcomes, _told(error)
        if not self._is_last:
            self._inflight.leave(outcome.key for outcome in ended if outcome.status == "ok")
        return encode(ended, run=self._run, deaths=self._runner.worker_deaths - before, stop=stop)


def encode(outcomes: Iterable[Outcome], *, run: int, deaths: int = 0, stop: str = "") -> pa.Table:
    """Rows as a table in the form of a part file; deaths and a reason to stop stand with the first."""
    table = table_of(outcomes, run=run, host=socket.gethostname())
    rest = len(table) - 1
    counts, stops = pa.array([deaths, *[0] * rest], pa.int64()), pa.array([stop, *[""] * rest], pa.string())
    return table.append_column(DEATHS, counts).append_column(STOP, stops)


def decode(table: pa.Table) -> Iterator[Outcome]:
    """The rows of a table; raises the MegActorError that a worker ended the job with."""
    stop = _stop_in(table)
    if stop is not None:
        name, message, fix = json.loads(stop)
        raise getattr(errors, name, MegActorError)(message, fix=fix)
    return map(outcome_of, decode_rows(table.select(SCHEMA.names)))


def _told(error: Exception) -> str:
    if isinstance(error, MegActorError):
        return json.dumps([type(error).__name__, error.message, error.fix])
    return json.dumps(["MegActorError", f"A worker failed ({type(error).__name__}: {error}).", ""])


def _stop_in(table: pa.Table) -> str | None:
    return next(filter(None, table[STOP].to_pylist()), None)
