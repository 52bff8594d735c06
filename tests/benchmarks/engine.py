"""What the engine itself costs: python tests/benchmarks/engine.py

Rows of 0.3 s CPU in one process and with two workers: the parent's share of the CPU time, how long workers
waited between their rows and after their last one, and the ratio of wall times. Then many rows that cost
nothing: CPU time a row. Shares are of CPU time, or of gaps between rows, so that a shared machine disturbs
them little; the ratio of wall times is true only on two idle cores.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from megactor_core.config.engine import EngineConfig
from megactor_core.engine.job import JobReport, run_job
from megactor_core.engine.journal import Journal
from megactor_core.engine.stage import Needs, Row, WorkerContext

ROW_CPU_SECONDS = 0.3
ROWS = 60
CHEAP_ROWS = 20_000
WORKERS = 2
MAX_PARENT_SHARE = 0.05
NEEDS = Needs(memory_gb=0.1)


@dataclass
class Burn:
    """Keeps a core busy for a while and notes when."""

    cpu_seconds: float
    name: str = "burn"
    version: str = "1"
    needs: Needs = NEEDS

    def setup(self, worker: WorkerContext) -> None:
        """Nothing to load."""

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        for row in batch:
            began = time.monotonic()
            end = time.process_time() + self.cpu_seconds
            while time.process_time() < end:
                sum(range(1000))
            yield {**row, "began": began, "ended": time.monotonic(), "pid": os.getpid()}


def run(rows: int, *, cpu_seconds: float, workers: int) -> tuple[JobReport, list[Row]]:
    """One job in a fresh journal."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal")
        given = [{"row_id": f"r{n:05}"} for n in range(rows)]
        config = EngineConfig(workers=workers)
        report = run_job([Burn(cpu_seconds)], given, journal=journal, config=config)
        return report, journal.results()


def idle_share(results: list[Row]) -> float:
    """Share of the workers' time, from the first row's beginning to the last one's end, without a row."""
    began, ended = min(row["began"] for row in results), max(row["ended"] for row in results)
    busy = sum(row["ended"] - row["began"] for row in results)
    return 1 - busy / (WORKERS * (ended - began))


def main() -> int:
    inline, _ = run(ROWS, cpu_seconds=ROW_CPU_SECONDS, workers=0)
    local, results = run(ROWS, cpu_seconds=ROW_CPU_SECONDS, workers=WORKERS)
    share = local.parent_cpu_seconds / (local.parent_cpu_seconds + local.worker_cpu_seconds)
    sys.stdout.write(
        f"{ROWS} rows of {ROW_CPU_SECONDS} s CPU, {WORKERS} workers\n"
        f"  parent's share of CPU time {share:.2%} ({local.parent_cpu_seconds:.2f} s)\n"
        f"  workers without a row      {idle_share(results):.2%} of their time\n"
        f"  wall, one process / {WORKERS} workers: {inline.wall_seconds:.1f} / {local.wall_seconds:.1f} s"
        f" = {inline.wall_seconds / local.wall_seconds:.2f}\n"
    )
    for workers in (0, WORKERS):
        report, _ = run(CHEAP_ROWS, cpu_seconds=0, workers=workers)
        parent = report.parent_cpu_seconds / CHEAP_ROWS
        wall = report.wall_seconds / CHEAP_ROWS
        sys.stdout.write(
            f"{CHEAP_ROWS} rows that cost nothing, {workers} workers: parent {1e6 * parent:.0f} us CPU,"
            f" wall {1e6 * wall:.0f} us a row\n"
        )
    return 0 if share <= MAX_PARENT_SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
