"""A worker process: how it is started, what it does with a task, and that it never outlives its parent."""

import ctypes
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any, Final

from megactor_core.engine.batch import Plan, Workbench
from megactor_core.engine.stage import Outcome, WorkerContext
from megactor_core.errors import MegActorError
from megactor_core.processes import end_after, let_alarms_end_this_process, limit_memory, signals_held

THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
PR_SET_PDEATHSIG: Final = 1
"""prctl(2): the signal that this process gets when the one that started it dies."""


@dataclass(frozen=True, slots=True)
class Task:
    """Rows for a segment of the stages; last_death says how the worker died that had them before."""

    rows: tuple[Outcome, ...]
    segment: slice
    last_death: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The rows of a task as they came out, and the seconds that they took."""

    outcomes: list[Outcome]
    seconds: float


class WorkerProcess(SpawnProcess):
    """A process whose libraries find their number of threads in the environment before they are loaded.

    The spawned interpreter imports the caller's main module first, so that nothing the worker itself runs
    would be early enough.
    """

    threads = 1

    def start(self) -> None:
        with (
            _environment({name: str(self.threads) for name in THREAD_VARIABLES}),
            signals_held({signal.SIGINT}),
        ):
            super().start()


class WorkerProcessContext(SpawnContext):
    """The multiprocessing context of workers with so many threads each."""

    def __init__(self, threads: int) -> None:
        super().__init__()
        self._threads = threads

    def Process(  # type: ignore[override]  # noqa: N802 - a factory in the place of a class
        self,
        *,
        target: Callable[..., object],
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any],
    ) -> WorkerProcess:
        process = WorkerProcess(target=target, name=name, args=tuple(args), kwargs=kwargs)
        process.threads = self._threads
        return process


_bench: Workbench | None = None
_held_lock: Any = None


def start_worker(plan: Plan, context: WorkerContext, lock: Path) -> None:
    """Ready this process for tasks; `lock` is held until it ends, so that no later run races with it."""
    global _bench, _held_lock
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    let_alarms_end_this_process()
    _die_with_parent()
    if context.device == "cpu":  # drivers of GPUs take address space as they like
        limit_memory()
    _held_lock = lock.open("a", encoding="utf-8")
    fcntl.flock(_held_lock, fcntl.LOCK_SH)
    _bench = Workbench(plan, context, end_after)


def work(task: Task) -> Done:
    """Do a task in this worker. Raises only what ends the job."""
    if _bench is None:
        raise MegActorError("A worker was given rows before it was started.")
    _bench.prepare(task.segment)
    start = time.monotonic()
    try:
        outcomes = _bench.run(task.rows, segment=task.segment, last_death=task.last_death)
    except MemoryError:
        # Outside of a row: its successor begins with free memory, and does again what is not committed.
        os.kill(os.getpid(), signal.SIGKILL)
        raise
    return Done(outcomes, time.monotonic() - start)


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent.pid:  # it was too late
            os.kill(os.getpid(), signal.SIGKILL)
    else:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
