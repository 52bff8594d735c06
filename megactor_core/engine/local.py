"""The runner on this machine: worker processes for the CPU, and one for each GPU."""

import math
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, Self

from megactor_core.config.engine import EngineConfig
from megactor_core.engine.batch import Plan
from megactor_core.engine.pace import Pace, Supply
from megactor_core.engine.parts import committed, outcome_of
from megactor_core.engine.pool import TASKS_A_WORKER, WorkerPool, result_or_death
from megactor_core.engine.stage import Outcome, Stage, WorkerContext
from megactor_core.engine.worker import Done, Task
from megactor_core.errors import MegActorError

MAX_STARTS: Final = 3
"""Times that all workers may die while no row can be blamed."""
CHECK_SECONDS: Final = 5.0
"""Silence after which the pools are looked at: Pebble may give one up without a word."""
AHEAD: Final = 4
"""Batches a worker that may wait for a later segment before no new rows are begun."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Stages that a row passes in one worker, by number in the job."""

    stages: slice
    on_gpu: bool


class LocalRunner:
    """Rows through worker processes; a worker's death costs only the rows that it died of."""

    def __init__(
        self,
        plan: Plan,
        segments: Sequence[Segment],
        pools: Mapping[bool, Sequence[WorkerPool]],
        *,
        batch_seconds: float,
    ) -> None:
        """`pools` by whether they own a GPU; segments that the plan has beyond `segments` are for others."""
        self.worker_deaths = 0
        self._plan = plan
        self._segments = segments
        self._pools = pools
        self._paces = [Pace(batch_seconds) for _ in segments]
        self._urgent: deque[tuple[int, Task]] = deque()
        self._ended: SimpleQueue[tuple[int, Task, WorkerPool, Future]] = SimpleQueue()
        self._blameless_deaths = 0

    @classmethod
    def open(cls, plan: Plan, config: EngineConfig, *, lock: Path) -> Self:
        """With as many workers as the configuration and this machine allow."""
        devices = _devices(plan.stages, config)
        segments = segments_of(plan.stages, has_devices=bool(devices))
        pools = _pools(plan, config, devices=devices, segments=segments, lock=lock)
        return cls(plan, segments, pools, batch_seconds=config.batch_seconds)

    def run(self, rows: Iterator[Outcome]) -> Iterator[Outcome]:
        """One row for each row given, in any order: ended and committed, or through all segments here."""
        suspects = self._plan.inflight.suspects()
        supplies = [Supply(rows if k == 0 else iter(()), alone=suspects) for k in range(len(self._segments))]
        self._hand_out(supplies)
        while any(pool.tasks for pool in self._all_pools()):
            try:
                number, task, pool, future = self._ended.get(timeout=CHECK_SECONDS)
            except Empty:
                for pool in self._all_pools():
                    pool.check()
                continue
            pool.tasks -= 1
            for outcome in self._outcomes(number, task, result_or_death(future)):
                if outcome.status == "ok" and number < len(self._segments) - 1:
                    self._plan.inflight.leave([outcome.key])
                    supplies[number + 1].add(outcome)
                else:
                    yield outcome
            self._hand_out(supplies)

    def close(self) -> None:
        """End all workers."""
        for pool in self._all_pools():
            pool.close()

    def _hand_out(self, supplies: Sequence[Supply]) -> None:
        """Give every worker enough to do, rows that are furthest on first."""
        while self._urgent and (pool := self._free_pool(self._urgent[0][0])):
            self._submit(pool, *self._urgent.popleft())
        for number in reversed(range(len(self._segments))):
            while (pool := self._free_pool(number)) and not self._is_behind(number, supplies):
                rows = supplies[number].take(self._paces[number], workers=self._workers_of(number))
                if not rows:
                    break
                self._submit(pool, number, Task(tuple(rows), self._segments[number].stages))

    def _submit(self, pool: WorkerPool, number: int, task: Task) -> None:
        pool.submit(task, lambda future: self._ended.put((number, task, pool, future)))

    def _outcomes(self, number: int, task: Task, result: Done | str) -> list[Outcome]:
        """The rows of a task that ended; where its worker died, they are queued again."""
        if isinstance(result, str):
            return self._revive(number, task, result)
        self._blameless_deaths = 0
        self._paces[number].measure(rows=len(task.rows), seconds=result.seconds)
        return result.outcomes

    def _revive(self, number: int, task: Task, death: str) -> list[Outcome]:
        """Queue the rows of a dead worker one by one; returns the row that it had finished all the same."""
        self.worker_deaths += 1
        if self._plan.inflight.blame(row.key for row in task.rows):
            self._blameless_deaths = 0
            self._urgent.extend((number, Task((row,), task.segment, death)) for row in task.rows)
            return []
        if len(task.rows) == 1:
            record = committed(self._plan.parts, task.rows[0].key, run=self._plan.run)
            if record is not None:
                return [outcome_of(record)]
        self._blameless_deaths += 1
        if self._blameless_deaths >= MAX_STARTS * TASKS_A_WORKER * self._workers_of(number):
            raise MegActorError(
                f"Workers die before they can work on a row (last: {death}).",
                fix="Look above for what they say; --workers 0 runs the same in one process.",
            )
        self._urgent.append((number, task))
        return []

    def _free_pool(self, number: int) -> WorkerPool | None:
        pool = min(self._pools_of(number), key=lambda pool: pool.tasks / pool.workers)
        return pool if pool.has_room else None

    def _pools_of(self, number: int) -> Sequence[WorkerPool]:
        return self._pools[self._segments[number].on_gpu]

    def _workers_of(self, number: int) -> int:
        return sum(pool.workers for pool in self._pools_of(number))

    def _all_pools(self) -> list[WorkerPool]:
        return [pool for pools in self._pools.values() for pool in pools]

    def _is_behind(self, number: int, supplies: Sequence[Supply]) -> bool:
        """Whether the segments after this one have more than enough to do."""
        return any(
            len(supplies[later]) > AHEAD * self._paces[later].rows * self._workers_of(later)
            for later in range(number + 1, len(supplies))
        )


def worker_count(stages: Sequence[Stage], config: EngineConfig) -> int:
    """Workers for stages on the CPU: as asked for, or what cores and memory carry."""
    if config.workers is not None:
        return config.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    wanted_gb = max(sum(stage.needs.memory_gb for stage in stages), 0.1)
    return max(1, min(cores // threads_of(stages), math.floor(memory_gb / wanted_gb)))


def threads_of(stages: Sequence[Stage]) -> int:
    """Cores that a worker for these stages keeps busy."""
    return max(1, *(stage.needs.cpus for stage in stages), 1)


def _devices(stages: Sequence[Stage], config: EngineConfig) -> tuple[str, ...]:
    if not any(stage.needs.gpus for stage in stages):
        return ()
    if config.devices is not None:
        return config.devices
    import torch

    return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))


def segments_of(stages: Sequence[Stage], *, has_devices: bool) -> list[Segment]:
    """Neighbouring stages that want the same kind of worker."""
    segments: list[Segment] = []
    start = 0
    for on_gpu, group in groupby(stages, key=lambda stage: has_devices and stage.needs.gpus > 0):
        stop = start + len(list(group))
        segments.append(Segment(slice(start, stop), on_gpu))
        start = stop
    return segments


def _pools(
    plan: Plan,
    config: EngineConfig,
    *,
    devices: Sequence[str],
    segments: Sequence[Segment],
    lock: Path,
) -> dict[bool, list[WorkerPool]]:
    """Pools by whether they own a GPU: one for the CPU, and one of one worker for each device."""
    threads = threads_of(plan.stages)

    def pool(device: str, workers: int) -> WorkerPool:
        return WorkerPool(
            plan,
            WorkerContext(device=device, threads=threads),
            workers=workers,
            lock=lock,
            recycle_after_tasks=config.recycle_after_tasks,
        )

    kinds = {segment.on_gpu for segment in segments}
    pools: dict[bool, list[WorkerPool]] = {}
    if False in kinds:
        pools[False] = [pool("cpu", worker_count(plan.stages, config))]
    if True in kinds:
        pools[True] = [pool(device, 1) for device in devices]
    return pools
