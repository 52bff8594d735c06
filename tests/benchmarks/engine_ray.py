"""What the engine `ray` costs beside `local`: python tests/benchmarks/engine_ray.py

A thousand rows that cost nothing through two workers on each engine, ROUNDS times in turn, each after a job
of one row that brings the workers up: start-up, wall and CPU time a row, memory of all processes. CPU time
and memory are those of this process and all that come from it, Ray's own included. Then rows of 0.1 s on two
nodes of one CPU: how they share them.
"""

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

import ray

from megactor_core.config.engine import EngineConfig
from megactor_core.engine.job import run_job
from megactor_core.engine.journal import Journal
from megactor_core.engine.stage import Needs, Row, WorkerContext

ROWS, WORKERS, ROUNDS = 1000, 2, 3
SHARED_ROWS, SHARED_SECONDS = 300, 0.1
STORE_BYTES = 100 * 2**20
NEEDS = Needs(memory_gb=0.1)


@dataclass
class Light:
    """Says which process had the row, after a while."""

    seconds: float = 0.0
    name: str = "light"
    version: str = "1"
    needs: Needs = NEEDS

    def setup(self, worker: WorkerContext) -> None:
        """Nothing to load."""

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        for row in batch:
            time.sleep(self.seconds)
            yield {**row, "pid": os.getpid()}


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a job, in this process and its descendants."""

    wall_seconds: float
    cpu_seconds: float
    memory_bytes: int


def family() -> list[Path]:
    """/proc folders of this process and its descendants."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return [Path("/proc") / str(pid) for pid in found]


def cpu_seconds() -> float:
    """Of the family, those included that its members have waited for."""
    ticks = 0
    for folder in family():
        try:
            ticks += sum(map(int, (folder / "stat").read_text().rpartition(")")[2].split()[11:15]))
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_bytes() -> int:
    """Of the family; pages that several share count once."""
    total = 0
    for folder in family():
        try:
            lines = (folder / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def run(config: EngineConfig, rows: int, *, seconds: float = 0.0) -> tuple[Cost, list[Row]]:
    """One job in a fresh journal."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal")
        most = 0

        def look(_phase: str, done: int, total: int) -> None:
            nonlocal most
            if done == total:
                most = memory_bytes()

        began, cpu = time.monotonic(), cpu_seconds()
        given = [{"row_id": f"r{n:05}"} for n in range(rows)]
        run_job([Light(seconds)], given, journal=journal, config=config, on_progress=look)
        return Cost(time.monotonic() - began, cpu_seconds() - cpu, most), journal.results()


def measure(engine: Literal["local", "ray"]) -> None:
    """Rows on one engine, less a job of one row each time."""
    config, costs = EngineConfig(engine=engine, workers=WORKERS), []
    run(config, 1)  # what is loaded once in this process
    for _ in range(ROUNDS):
        costs.append((run(config, 1)[0], run(config, ROWS)[0]))
    start = median(one.wall_seconds for one, _ in costs)
    wall = median(many.wall_seconds - one.wall_seconds for one, many in costs) / ROWS
    cpu = median(many.cpu_seconds - one.cpu_seconds for one, many in costs) / ROWS
    memory = median(many.memory_bytes for _, many in costs) / 2**20
    sys.stdout.write(
        f"{engine:5}  one row {start:.1f} s; {ROWS} rows more: {1e3 * wall:.2f} ms wall, "
        f"{1e3 * cpu:.2f} ms CPU a row; {memory:.0f} MiB at the end\n"
    )


def start_ray() -> None:
    """A cluster of this machine alone."""
    began = time.monotonic()
    ray.init(
        address="local",
        num_cpus=WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=STORE_BYTES,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}},
    )
    sys.stdout.write(f"a cluster of this machine starts in {time.monotonic() - began:.1f} s\n")


def share() -> None:
    """Rows by the process that had them, on two nodes of one CPU."""
    from ray.cluster_utils import Cluster

    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    cluster.wait_for_nodes()
    config = EngineConfig(engine="ray", ray_address=cluster.address)
    _, rows = run(config, SHARED_ROWS, seconds=SHARED_SECONDS)
    counts = sorted(Counter(row["pid"] for row in rows).values())
    sys.stdout.write(f"two nodes of one CPU, {SHARED_ROWS} rows: {' and '.join(map(str, counts))}\n")
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    import engine_ray  # under a name by which workers can import the stage

    engine_ray.measure("local")
    engine_ray.start_ray()
    engine_ray.measure("ray")
    ray.shutdown()
    engine_ray.share()
