"""A pool of worker processes that are replaced when they die; Pebble does the supervision."""

import signal
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Final

from pebble import ProcessExpired, ProcessPool

from megactor_core.engine.batch import TIMEOUT, Plan
from megactor_core.engine.stage import WorkerContext
from megactor_core.engine.worker import Done, Task, WorkerProcessContext, start_worker, work

TASKS_A_WORKER: Final = 2
"""One that runs and one that waits, so that no worker waits for the parent."""
SETUP_SECONDS: Final = 3600.0
"""A worker that hangs outside its rows (in a stage's `setup`, say) is killed after so long."""
GIVEN_UP: Final = "the workers could not go on"


class WorkerPool:
    """Workers of one kind, and the tasks that they have."""

    def __init__(
        self,
        plan: Plan,
        context: WorkerContext,
        *,
        workers: int,
        lock: Path,
        recycle_after_tasks: int,
    ) -> None:
        self.workers = workers
        self.tasks = 0
        self._plan = plan
        self._context = context
        self._lock = lock
        self._recycle_after_tasks = recycle_after_tasks
        self._pool: ProcessPool | None = None
        self._futures: set[Future] = set()

    @property
    def has_room(self) -> bool:
        return self.tasks < TASKS_A_WORKER * self.workers

    def submit(self, task: Task, on_end: Callable[[Future], None]) -> None:
        """Queue a task; `on_end` gets its future, from another thread."""
        self.check()
        if self._pool is None:
            self._pool = self._open()
        future = self._pool.schedule(work, args=(task,), timeout=self._outer_limit(task))
        self.tasks += 1
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        future.add_done_callback(on_end)

    def check(self) -> None:
        """Where Pebble has given the pool up, end what it had; the next task opens another."""
        if self._pool is not None and not self._pool.active:
            self.close()

    def close(self) -> None:
        """End the workers, whatever they do."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.stop()
            pool.join()
            for future in tuple(self._futures):
                future.cancel()

    def _open(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self.workers,
            max_tasks=self._recycle_after_tasks,
            initializer=start_worker,
            initargs=(self._plan, self._context, self._lock),
            context=WorkerProcessContext(self._context.threads),
        )

    def _outer_limit(self, task: Task) -> float:
        """More than the rows can take, for the worker itself sees to the time of each of them."""
        return SETUP_SECONDS + len(task.rows) * sum(
            self._plan.timeout_seconds or stage.needs.timeout_seconds
            for stage in self._plan.stages[task.segment]
        )


def result_or_death(future: Future) -> Done | str:
    """What a task gave, or how its worker died. Raises what the task raised to end the job."""
    if future.cancelled():
        return GIVEN_UP
    match future.exception():
        case None:
            return future.result()
        case ProcessExpired() as error:
            return _cause(error.exitcode)
        case FutureTimeoutError():
            return TIMEOUT
        case BrokenProcessPool() | CancelledError():
            return GIVEN_UP
        case Exception() as error:
            raise error
        case error:  # a library in the worker tried to end it
            return f"{type(error).__name__}({error})"


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        number = -exit_code
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        return TIMEOUT if number == signal.SIGALRM else name
    return f"exit code {exit_code}"
