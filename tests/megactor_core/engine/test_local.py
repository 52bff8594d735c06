import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from megactor_core.config.engine import EngineConfig
from megactor_core.engine.job import run_job
from megactor_core.engine.journal import Journal
from megactor_core.engine.local import worker_count
from megactor_core.engine.stage import Needs, Row
from megactor_core.errors import MegActorError, OutputError

pytestmark = pytest.mark.slow  # whole runs

TWO = EngineConfig(workers=2)
MakeRows = Callable[..., list[Row]]
Comparable = Callable[[Journal], list[Row]]

RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import row_stages
from megactor_core.config.engine import EngineConfig
from megactor_core.engine.job import run_job
from megactor_core.engine.journal import Journal
rows = [{"row_id": f"r{n:03}", "row_version": "a", "n": n} for n in range(40)]
rows[3]["do"], rows[5]["do"], rows[8]["do"] = "raise", "known", "reject"
folder = Path(sys.argv[2])
stages = [row_stages.Odd(log=folder / "tries", seconds=0.05), row_stages.Add()]
journal = Journal(folder / "journal")
run_job(stages, rows, journal=journal, config=EngineConfig(workers=int(sys.argv[3]), batch_seconds=0.2))
"""
"""The job of the tests that kill a whole run: forty rows of 0.05 s."""


def start_run(folder: Path, *, workers: int = 2) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    here = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", RUN, here, str(folder), str(workers)], stderr=subprocess.DEVNULL
    )


def tries(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_workers_give_what_this_process_gives(
    tmp_path: Path, stages: ModuleType, make_rows: MakeRows, comparable: Comparable
) -> None:
    rows = make_rows(60, {3: "raise", 7: "known", 11: "reject"})
    journals = []
    for workers in (0, 2):
        journal = Journal(tmp_path / str(workers))
        config = EngineConfig(workers=workers)
        run_job([stages.Odd(), stages.Add()], rows, journal=journal, config=config)
        journals.append(journal)
    inline, local = journals
    assert comparable(inline) == comparable(local)
    assert {row["add_pid"] for row in inline.results() if "sum" in row} == {os.getpid()}
    assert os.getpid() not in {row["add_pid"] for row in local.results() if "sum" in row}


def test_every_fault_stays_on_its_own_row(
    journal: Journal, stages: ModuleType, make_rows: MakeRows, tmp_path: Path
) -> None:
    odd = {5: "segfault", 10: "kill", 15: "hang", 20: "exit", 25: "raise", 30: "known"}
    log = tmp_path / "tries"
    report = run_job([stages.Odd(log=log)], make_rows(40, odd), journal=journal, config=TWO)
    assert (report.rows, report.ok, report.worker_deaths) == (40, 34, 8)
    results = {row["n"]: row for row in journal.results()}
    kinds = {n: row["error_kind"] for n, row in results.items() if row["status"] != "ok"}
    assert kinds == {
        5: "killed_worker",
        10: "killed_worker",
        15: "timeout",
        20: "killed_worker",
        25: "exception",
        30: "MediaError",
    }
    assert "SIGSEGV" in results[5]["error"]
    assert "SIGKILL" in results[10]["error"]
    assert "SystemExit(3)" in results[20]["error"]
    count = Counter(tries(log))
    assert {n: count[f"r{n:03}"] for n in odd} == {5: 2, 10: 2, 15: 2, 20: 2, 25: 2, 30: 1}
    assert list(journal.marks.iterdir()) == []


def test_a_row_that_kills_its_worker_does_so_twice(
    journal: Journal, stages: ModuleType, make_rows: MakeRows, tmp_path: Path
) -> None:
    log = tmp_path / "tries"
    config = EngineConfig(workers=1)
    report = run_job([stages.Odd(log=log)], make_rows(6, {4: "kill"}), journal=journal, config=config)
    assert (report.ok, report.errors, report.worker_deaths) == (5, {"killed_worker": 1}, 2)
    assert Counter(tries(log))["r004"] == 2
    assert run_job([stages.Odd()], make_rows(6, {4: "kill"}), journal=journal, config=config).skipped == 6


def test_threads_are_limited_before_libraries_are_loaded(
    journal: Journal, stages: ModuleType, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    run_job([stages.Threads(cpus=2)], make_rows(1), journal=journal, config=EngineConfig(workers=1))
    row = journal.results()[0]
    assert (row["variable"], row["threads"]) == ("2", 2)
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_each_device_has_a_worker_of_its_own(
    journal: Journal, stages: ModuleType, make_rows: MakeRows, comparable: Comparable, tmp_path: Path
) -> None:
    rows = make_rows(24, {3: "known", 4: "reject"})
    chain = [stages.Odd(seconds=0.01), stages.Add(gpus=1), stages.Add(name="last")]
    config = EngineConfig(workers=1, devices=("first", "second"))
    report = run_job(chain, rows, journal=journal, config=config)
    assert (report.ok, report.rejected, report.errors) == (22, 1, {"MediaError": 1})
    assert list(journal.marks.iterdir()) == []
    inline = Journal(tmp_path / "inline")
    run_job(chain, rows, journal=inline, config=EngineConfig(workers=0))
    assert comparable(journal) == comparable(inline)


def test_a_stage_learns_its_device(journal: Journal, stages: ModuleType, make_rows: MakeRows) -> None:
    chain = [stages.Odd(), stages.Add(gpus=1)]
    config = EngineConfig(workers=1, devices=("first", "second"))
    run_job(chain, make_rows(30), journal=journal, config=config)
    pids: dict[str, set[int]] = {}
    for row in journal.results():
        pids.setdefault(row["device"], set()).add(row["add_pid"])
    assert pids.keys() <= {"first", "second"}
    assert all(len(each) == 1 for each in pids.values())


def test_without_devices_everything_runs_on_the_cpu(
    journal: Journal, stages: ModuleType, make_rows: MakeRows
) -> None:
    config = EngineConfig(workers=1, devices=())
    run_job([stages.Odd(), stages.Add(gpus=1)], make_rows(2), journal=journal, config=config)
    assert {row["device"] for row in journal.results()} == {"cpu"}


def test_a_fault_on_a_device_stays_on_its_row(
    journal: Journal, stages: ModuleType, make_rows: MakeRows, tmp_path: Path
) -> None:
    chain = [stages.Add(name="first"), stages.Odd(name="odd", gpus=1, log=tmp_path / "tries")]
    rows = [row | {"twice": 0} for row in make_rows(12, {5: "kill"})]
    config = EngineConfig(workers=1, devices=("only",))
    report = run_job(chain, rows, journal=journal, config=config)
    assert (report.ok, report.errors) == (11, {"killed_worker": 1})
    assert Counter(tries(tmp_path / "tries"))["r005"] == 2


def test_workers_are_replaced(journal: Journal, stages: ModuleType, make_rows: MakeRows) -> None:
    config = EngineConfig(workers=1, recycle_after_tasks=1, batch_seconds=1e-6)
    report = run_job([stages.Odd(), stages.Add()], make_rows(3), journal=journal, config=config)
    assert (report.ok, report.worker_deaths) == (3, 0)
    assert len({row["add_pid"] for row in journal.results()}) == 3


@pytest.mark.parametrize(("how", "text"), [("known", "No weights. Fetch"), ("raise", "'no-setup' could")])
def test_a_stage_that_cannot_start_ends_the_job(
    journal: Journal, stages: ModuleType, make_rows: MakeRows, how: str, text: str
) -> None:
    with pytest.raises(MegActorError, match=text):
        run_job([stages.NoSetup(how)], make_rows(3), journal=journal, config=EngineConfig(workers=1))
    assert list(journal.marks.iterdir()) == []


def test_a_stage_that_dies_at_its_start_ends_the_job(
    journal: Journal, stages: ModuleType, make_rows: MakeRows
) -> None:
    with pytest.raises(MegActorError, match=r"before they can work on a row \(last: SIGKILL\)"):
        run_job([stages.NoSetup("die")], make_rows(3), journal=journal, config=EngineConfig(workers=1))


def test_an_idle_worker_that_is_killed_is_replaced(
    journal: Journal, stages: ModuleType, make_rows: MakeRows
) -> None:
    """Pebble gives its pool up where a worker dies that had no task."""
    from megactor_core.engine.batch import Plan
    from megactor_core.engine.local import LocalRunner
    from megactor_core.engine.stage import Outcome

    with journal.opened([stages.Odd()]) as run:
        plan = Plan((stages.Odd(), stages.Add()), journal.parts, journal.marks, run, None)
        runner = LocalRunner.open(plan, EngineConfig(workers=1), lock=journal.workers_lock)
        try:
            pids = []
            for name in ("a", "b"):
                row = Outcome(row={"row_id": name, "n": 1}, key=name, status="ok")
                (ended,) = runner.run(iter([row]))
                pids.append(ended.row["add_pid"])
                if name == "a":
                    os.kill(ended.row["add_pid"], signal.SIGKILL)
        finally:
            runner.close()
    assert pids[0] != pids[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, comparable: Comparable, workers: int) -> None:
    folder, clean = tmp_path / "killed", tmp_path / "clean"
    log = folder / "tries"
    run = start_run(folder, workers=workers)
    wait_until(lambda: len(tries(log)) > 15)
    run.kill()
    run.wait()
    done = {row["row_id"] for row in Journal(folder / "journal").results() if row["status"] != "error"}
    assert 0 < len(done) < 40
    before = len(tries(log))
    assert start_run(folder, workers=workers).wait() == 0
    again = tries(log)[before:]
    assert not done & set(again)
    assert len(set(again)) < 40
    assert start_run(clean, workers=workers).wait() == 0
    assert comparable(Journal(folder / "journal")) == comparable(Journal(clean / "journal"))


def test_workers_die_with_the_run(tmp_path: Path) -> None:
    run = start_run(tmp_path)
    wait_until(lambda: len(tries(tmp_path / "tries")) > 4)
    workers = _children(run.pid)
    assert len(workers) >= 2
    run.kill()
    run.wait()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def test_two_runs_never_share_a_journal(tmp_path: Path, stages: ModuleType) -> None:
    run = start_run(tmp_path)
    try:
        wait_until(lambda: len(tries(tmp_path / "tries")) > 0)
        with pytest.raises(OutputError, match=rf"process {run.pid} on "):
            run_job([stages.Odd()], [], journal=Journal(tmp_path / "journal"), config=TWO)
    finally:
        run.kill()
        run.wait()


def test_ctrl_c_ends_workers_and_keeps_finished_rows(
    journal: Journal, stages: ModuleType, make_rows: MakeRows
) -> None:
    workers: set[int] = set()

    def interrupt(outcome: Any) -> None:
        workers.update(_children(os.getpid()))
        if len(journal.results()) > 3:
            raise KeyboardInterrupt

    rows, threads = make_rows(40, {20: "hang"}), set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        run_job([stages.Odd(seconds=0.05)], rows, journal=journal, config=TWO, on_row=interrupt)
    assert list(journal.marks.iterdir()) == []
    assert set(threading.enumerate()) <= threads
    assert len(journal.results()) > 3
    report = run_job([stages.Odd(seconds=0.0)], make_rows(40), journal=journal, config=TWO)
    assert report.ok == 40
    assert report.skipped > 3


def test_the_number_of_workers_follows_cores_and_memory(stages: ModuleType) -> None:
    def stage(**needs: Any) -> Any:
        return SimpleNamespace(needs=Needs(**needs))

    cores = len(os.sched_getaffinity(0))
    assert worker_count([stage(memory_gb=0.0)], EngineConfig()) == cores
    assert worker_count([stage(memory_gb=0.0, cpus=2)], EngineConfig()) == max(1, cores // 2)
    assert worker_count([stage(memory_gb=1e6)], EngineConfig()) == 1
    assert worker_count([stage(memory_gb=1e6)], EngineConfig(workers=7)) == 7


def _children(pid: int) -> set[int]:
    """Spawned workers of a process; multiprocessing's resource tracker is none."""
    children = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            command = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == pid and b"spawn_main" in command:
            children.add(int(stat.parent.name))
    return children
