"""Two nodes, one of which goes; and a driver that is killed. The same final result, nothing lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from megactor_core.config.engine import EngineConfig
from megactor_core.engine.job import run_job
from megactor_core.engine.journal import Journal
from megactor_core.errors import ConfigError

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.ray

MakeRows = Callable[..., list[dict[str, Any]]]
Comparable = Callable[[Journal], list[dict[str, Any]]]
STORE_BYTES = 100 * 2**20


@pytest.fixture
def cluster(stages: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without CPUs and two nodes of one."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # row_stages is on it
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE_BYTES}
    )
    cluster.nodes = [cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(2)]
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def on(cluster: Any, **changes: Any) -> EngineConfig:
    return EngineConfig(engine="ray", ray_address=cluster.address, ray_batch_rows=4, **changes)


def test_a_node_that_is_removed_loses_nothing_and_two_share_the_work(
    cluster: Any,
    tmp_path: Path,
    stages: ModuleType,
    make_rows: MakeRows,
    comparable: Comparable,
) -> None:
    rows = make_rows(120)
    clean = Journal(tmp_path / "clean")
    run_job([stages.Odd()], rows, journal=clean, config=EngineConfig(workers=0))

    whole, seen = Journal(tmp_path / "whole"), tmp_path / "seen"
    seen.mkdir()
    report = run_job([stages.Together(seen)], rows, journal=whole, config=on(cluster, timeout_seconds=110))
    assert report.ok == 120
    shares = Counter(row["pid"] for row in whole.results())
    assert len(shares) == 2
    assert min(shares.values()) >= 12, "the rest is the machine's to share out"

    log, cut = tmp_path / "log", Journal(tmp_path / "cut")

    def remove() -> None:
        while not log.exists() or len(log.read_text().split()) < 30:
            time.sleep(0.05)
        cluster.remove_node(cluster.nodes[1], allow_graceful=False)

    remover = threading.Thread(target=remove)
    remover.start()
    report = run_job([stages.Odd(log=log, seconds=0.1)], rows, journal=cut, config=on(cluster))
    remover.join()
    assert (report.rows, report.ok) == (120, 120)
    assert comparable(cut) == comparable(clean)


def test_an_unfit_node_gets_no_row(
    cluster: Any,
    journal: Journal,
    stages: ModuleType,
    make_rows: MakeRows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("megactor_core.engine.preflight.megactor_version", lambda: "9.9")
    with pytest.raises(ConfigError, match=r"has megactor .*, this machine 9\.9"):
        run_job([stages.Odd()], make_rows(3), journal=journal, config=on(cluster))
    assert not list(journal.parts.iterdir())
    assert not list(journal.folder.glob(".seen-*"))


DRIVER = """
import importlib, sys
from pathlib import Path
from megactor_core.config.engine import EngineConfig
from megactor_core.engine.job import run_job
from megactor_core.engine.journal import Journal

if __name__ == "__main__":
    folder, stages = Path(sys.argv[1]), importlib.import_module("row_stages")
    rows = [{"row_id": f"r{n:03}", "row_version": "a", "n": n} for n in range(60)]
    config = EngineConfig(engine="ray", workers=2, ray_batch_rows=4, batch_seconds=0.2)
    report = run_job(
        [stages.Odd(log=folder / "log", seconds=float(sys.argv[2]))],
        rows,
        journal=Journal(folder / "journal"),
        config=config,
    )
    print(report.rows, report.skipped, report.ok)
"""


def test_a_killed_driver_goes_on_where_it_was(
    tmp_path: Path, stages: ModuleType, make_rows: MakeRows, comparable: Comparable
) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(script), str(tmp_path)]
    parts = Journal(tmp_path / "journal").parts
    first = subprocess.Popen([*command, "0.2"], env=environment, stdout=subprocess.DEVNULL)
    while first.poll() is None and len(list(parts.glob("part-*.parquet"))) < 3:
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = len(Journal(tmp_path / "journal").results())
    assert 0 < before < 60
    second = subprocess.run([*command, "0"], env=environment, capture_output=True, text=True, check=True)
    rows, skipped, ok = map(int, second.stdout.split())
    assert (rows, ok) == (60, 60)
    assert skipped >= before
    clean = Journal(tmp_path / "clean")
    run_job([stages.Odd()], make_rows(60), journal=clean, config=EngineConfig(workers=0))
    assert comparable(Journal(tmp_path / "journal")) == comparable(clean)
