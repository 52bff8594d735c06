"""The runner on a cluster of this machine alone: the same results, and every fault on its own row.

One test of each kind of death; those that remove a node or end the driver are in test_ray_cluster.py.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from megactor_core.config.engine import EngineConfig
from megactor_core.engine.inflight import MAX_DEATHS
from megactor_core.engine.job import run_job
from megactor_core.engine.journal import Journal
from megactor_core.errors import ConfigError, MegActorError

pytestmark = pytest.mark.ray

MakeRows = Callable[..., list[dict[str, Any]]]
Comparable = Callable[[Journal], list[dict[str, Any]]]
RAY = EngineConfig(engine="ray", workers=2, ray_batch_rows=8, timeout_seconds=2)


@pytest.fixture(scope="module")
def cluster(stages: ModuleType, start_ray: Callable[[int], None]) -> None:
    """Two logical CPUs, whose workers find `stages` where this process does."""
    start_ray(2)


def test_the_cluster_gives_what_one_machine_gives(
    cluster: None,
    tmp_path: Path,
    stages: ModuleType,
    make_rows: MakeRows,
    comparable: Comparable,
) -> None:
    """Rows that are rejected, fail, kill their process or hang among those that do not."""
    odd = {3: "reject", 11: "known", 12: "raise", 20: "kill", 30: "segfault", 41: "hang"}
    rows, results = make_rows(60, odd), {}
    for engine in ("local", "ray"):
        journal, log = Journal(tmp_path / engine), tmp_path / f"{engine}.log"
        config = RAY.updated(engine=engine)
        report = run_job([stages.Odd(log=log), stages.Add()], rows, journal=journal, config=config)
        assert (report.rows, report.ok, report.rejected) == (60, 54, 1)
        assert report.errors == {"killed_worker": 2, "MediaError": 1, "exception": 1, "timeout": 1}
        assert report.worker_deaths == 6
        tries = Counter(log.read_text().split())
        assert (tries["r020"], tries["r030"], tries["r041"]) == (2, 2, 2)
        assert not [mark for mark in journal.marks.iterdir() if not mark.name.startswith(".")]
        results[engine] = comparable(journal)
    assert results["ray"] == results["local"]


def test_a_second_run_does_nothing_and_a_changed_row_again(
    cluster: None, journal: Journal, stages: ModuleType, make_rows: MakeRows
) -> None:
    rows = make_rows(10)
    run_job([stages.Odd()], rows[:9], journal=journal, config=RAY.updated(ray_wave_rows=5))  # two waves
    changed = [*rows[:8], {**rows[8], "row_version": "b"}, rows[9]]
    report = run_job([stages.Odd()], changed, journal=journal, config=RAY)
    assert (report.rows, report.skipped, report.ok) == (10, 8, 10)


def test_a_worker_that_dies_with_its_parent_loses_nothing(
    cluster: None, tmp_path: Path, journal: Journal, stages: ModuleType, make_rows: MakeRows
) -> None:
    """As when memory runs out: Ray starts another, and the row that was due is innocent."""
    rows = make_rows(20)
    rows[9] |= {"do": "orphan-once", "once": str(tmp_path / "once")}
    report = run_job([stages.Odd()], rows, journal=journal, config=RAY)
    assert (report.rows, report.ok) == (20, 20)
    assert {row["row_id"] for row in journal.results()} == {row["row_id"] for row in rows}


def test_a_row_that_always_takes_the_parent_along_is_given_up(
    cluster: None, tmp_path: Path, journal: Journal, stages: ModuleType, make_rows: MakeRows
) -> None:
    log = tmp_path / "log"
    rows = make_rows(12, {5: "orphan"})
    report = run_job([stages.Odd(log=log)], rows, journal=journal, config=RAY)
    assert (report.ok, report.errors) == (11, {"killed_worker": 1})
    assert Counter(log.read_text().split())["r005"] == MAX_DEATHS


@pytest.mark.parametrize(("how", "text"), [("known", "No weights"), ("raise", "could not start .*surprise")])
def test_a_stage_that_cannot_start_ends_the_job(
    cluster: None, journal: Journal, stages: ModuleType, make_rows: MakeRows, how: str, text: str
) -> None:
    with pytest.raises(MegActorError, match=text):
        run_job([stages.NoSetup(how=how)], make_rows(4), journal=journal, config=RAY)
    assert not list(journal.marks.iterdir())


def test_a_cluster_without_room_for_a_worker_is_refused(
    cluster: None, journal: Journal, stages: ModuleType, make_rows: MakeRows
) -> None:
    """Ray would wait for such a node for ever."""
    with pytest.raises(ConfigError, match=r"A worker wants 3 CPUs and .* offer 2 and"):
        run_job([stages.Threads(cpus=3)], make_rows(2), journal=journal, config=RAY)
