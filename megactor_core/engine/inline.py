"""The runner without workers: every row in this process. No time limits, and a crash is a crash."""

import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace

from megactor_core.config.engine import EngineConfig
from megactor_core.engine.batch import Plan, Workbench, no_alarm
from megactor_core.engine.pace import Pace, Supply
from megactor_core.engine.stage import Outcome, WorkerContext


class InlineRunner:
    """Runs the rows in order, on the CPU."""

    worker_deaths = 0

    def __init__(self, plan: Plan, config: EngineConfig) -> None:
        self._plan = plan
        # Copies, as in a worker: what `setup` loads stays out of the caller's stages.
        self._bench = Workbench(replace(plan, stages=deepcopy(plan.stages)), WorkerContext(), no_alarm)
        self._pace = Pace(config.batch_seconds)

    def run(self, rows: Iterator[Outcome]) -> Iterator[Outcome]:
        """One ended row for each row given, committed before it is yielded."""
        supply = Supply(rows, alone=self._plan.inflight.suspects())
        whole = slice(0, len(self._plan.stages))
        while batch := supply.take(self._pace, workers=1):
            self._bench.prepare(whole)
            start = time.monotonic()
            outcomes = self._bench.run(batch, segment=whole)
            self._pace.measure(rows=len(batch), seconds=time.monotonic() - start)
            yield from outcomes

    def close(self) -> None:
        """Nothing is open."""
