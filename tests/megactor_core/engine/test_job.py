import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megactor_core.config.engine import EngineConfig
from megactor_core.engine import batch as batch_module
from megactor_core.engine.inflight import Inflight
from megactor_core.engine.job import JobReport, run_job
from megactor_core.engine.journal import Journal
from megactor_core.engine.parts import part_paths
from megactor_core.engine.stage import Outcome, Row
from megactor_core.errors import MegActorError, UsageError

INLINE = EngineConfig(workers=0)
MakeRows = Callable[..., list[Row]]
Comparable = Callable[[Journal], list[Row]]


def by_id(journal: Journal) -> dict[str, Row]:
    return {row["row_id"]: row for row in journal.results()}


def tries(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def test_every_row_ends_once(journal: Journal, stages: ModuleType, make_rows: MakeRows) -> None:
    rows = make_rows(20, {3: "raise", 7: "known", 11: "reject"})
    progress: list[tuple[str, int, int]] = []
    told: list[Outcome] = []
    report = run_job(
        [stages.Odd(), stages.Add(amount=5)],
        rows,
        journal=journal,
        config=INLINE,
        phase="adding",
        on_progress=lambda *state: progress.append(state),
        on_row=told.append,
    )
    assert (report.rows, report.ok, report.rejected, report.skipped) == (20, 17, 1, 0)
    assert report.reasons == {"too small": 1}
    assert report.errors == {"exception": 1, "MediaError": 1}
    assert progress == [("adding", n, 20) for n in range(1, 21)]
    assert sorted(outcome.row["row_id"] for outcome in told) == [row["row_id"] for row in rows]
    results = by_id(journal)
    assert len(results) == len(journal.results()) == 20
    assert results["r002"]["sum"] == 9
    assert (results["r011"]["width"], results["r011"]["stopped_at"]) == (11, "odd")
    assert "sum" not in results["r011"]
    assert (results["r003"]["attempts"], results["r007"]["attempts"]) == (2, 1)
    assert results["r007"]["error"] == "'r007' is no video."


def test_a_second_run_does_nothing(journal: Journal, stages: ModuleType, make_rows: MakeRows) -> None:
    rows = make_rows(8, {3: "raise", 5: "reject"})
    first = run_job([stages.Odd()], rows, journal=journal, config=INLINE)
    log = journal.folder / "tries"
    second = run_job([stages.Odd(log=log)], rows, journal=journal, config=INLINE)
    assert second.skipped == 8
    assert tries(log) == []
    assert (second.ok, second.rejected, second.errors) == (first.ok, first.rejected, first.errors)


def test_unknown_failures_are_tried_again_last_and_known_ones_are_not(
    journal: Journal, stages: ModuleType, make_rows: MakeRows, tmp_path: Path
) -> None:
    rows = make_rows(6, {1: "raise", 2: "known", 3: "once"})
    rows[3]["once"] = str(tmp_path / "once")
    log = tmp_path / "tries"
    report = run_job([stages.Odd(log=log)], rows, journal=journal, config=INLINE)
    assert report.errors == {"exception": 1, "MediaError": 1}
    assert tries(log) == ["r000", "r001", "r002", "r003", "r004", "r005", "r001", "r003"]
    assert by_id(journal)["r003"]["attempts"] == 2


def test_errors_are_tried_again_if_asked_for(
    journal: Journal, stages: ModuleType, make_rows: MakeRows, tmp_path: Path
) -> None:
    rows = make_rows(6, {1: "raise", 2: "known", 3: "reject"})
    run_job([stages.Odd()], rows, journal=journal, config=INLINE)
    log = tmp_path / "tries"
    retry = EngineConfig(workers=0, retry_errors=True)
    report = run_job([stages.Odd(log=log)], rows, journal=journal, config=retry)
    assert tries(log) == ["r001", "r002", "r001"]
    assert (report.skipped, report.errors) == (4, {"exception": 1, "MediaError": 1})
    more = EngineConfig(workers=0, max_attempts=4)
    run_job([stages.Odd(log=log)], rows, journal=journal, config=more)
    assert tries(log)[3:] == ["r001", "r001"]
    assert by_id(journal)["r001"]["attempts"] == 4


def test_changed_rows_and_stages_are_done_anew(
    journal: Journal, stages: ModuleType, make_rows: MakeRows, tmp_path: Path
) -> None:
    rows = make_rows(5)
    run_job([stages.Odd()], rows, journal=journal, config=INLINE)
    rows[2] |= {"row_version": "b", "n": 50}
    report = run_job([stages.Odd()], rows, journal=journal, config=INLINE)
    assert report.skipped == 4
    assert [row["twice"] for row in journal.results()] == [0, 2, 100, 6, 8]
    report = run_job([stages.Odd(version="2")], rows, journal=journal, config=INLINE)
    assert report.skipped == 0
    # What an old version left on the disk was overwritten meanwhile, so its old results are not valid again.
    log = tmp_path / "tries"
    report = run_job([stages.Odd(log=log)], rows, journal=journal, config=INLINE)
    assert (report.skipped, len(tries(log)), len(journal.results())) == (0, 5, 5)


def test_a_torn_part_file_is_done_again(
    journal: Journal, stages: ModuleType, make_rows: MakeRows, comparable: Comparable
) -> None:
    rows = make_rows(12)
    run_job([stages.Odd()], rows, journal=journal, config=INLINE)
    clean = comparable(journal)
    torn = part_paths(journal.parts)[0]
    torn.write_bytes(torn.read_bytes()[:-50])
    report = run_job([stages.Odd()], rows, journal=journal, config=INLINE)
    assert report.damaged_parts == 1
    assert 0 < report.skipped < 12
    assert comparable(journal) == clean


def test_rows_may_come_from_a_generator(journal: Journal, stages: ModuleType, make_rows: MakeRows) -> None:
    progress: list[tuple[str, int, int]] = []
    run_job(
        [stages.Odd()],
        iter(make_rows(4)),
        journal=journal,
        config=INLINE,
        on_progress=lambda *state: progress.append(state),
    )
    assert progress[-1] == ("rows", 4, 4)


def test_one_row_can_become_many(journal: Journal, stages: ModuleType, make_rows: MakeRows) -> None:
    rows = make_rows(4, {3: "known"})
    run_job([stages.Split()], rows, journal=journal, config=INLINE)
    assert [child["row_id"] for child in journal.children()] == ["r001-0", "r002-0", "r002-1"]
    assert by_id(journal)["r003"]["status"] == "error"
    assert journal.children(["r001"]) == [{"row_id": "r001-0", "part": 0}]
    assert run_job([stages.Split()], rows, journal=journal, config=INLINE).skipped == 4


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"row_id": None}, "row_id None"),
        ({"row_id": 3}, "row_id 3"),
        ({"row_id": "a\ud800"}, "printable"),
        ({"row_id": "r000"}, "Two rows have the row_id 'r000'"),
        ({"status": "ok"}, "column 'status'"),
        ({"path": Path("a")}, "'r001' cannot be kept: a row holds PosixPath"),
    ],
)
def test_rows_that_cannot_be_kept_are_refused(
    journal: Journal, stages: ModuleType, make_rows: MakeRows, change: Row, text: str
) -> None:
    rows = make_rows(2)
    rows[1] |= change
    with pytest.raises(UsageError, match=text.replace("\\", "\\\\")):
        run_job([stages.Odd()], rows, journal=journal, config=INLINE)


def test_stages_that_do_not_fit_are_refused(journal: Journal, stages: ModuleType) -> None:
    for wrong in ([], [stages.Odd(), stages.Odd()], [stages.Split(), stages.Odd()]):
        with pytest.raises(UsageError):
            run_job(wrong, [], journal=journal, config=INLINE)
    assert not journal.folder.exists()


@pytest.mark.parametrize(("how", "text"), [("known", "No weights. Fetch"), ("raise", "'no-setup' could")])
def test_a_stage_that_cannot_start_ends_the_job(
    journal: Journal, stages: ModuleType, make_rows: MakeRows, how: str, text: str
) -> None:
    with pytest.raises(MegActorError, match=text):
        run_job([stages.NoSetup(how)], make_rows(3), journal=journal, config=INLINE)
    assert journal.results() == []


def test_a_stage_of_the_caller_stays_as_it_was(
    journal: Journal, stages: ModuleType, make_rows: MakeRows
) -> None:
    stage = stages.Odd()
    run_job([stage], make_rows(1), journal=journal, config=INLINE)
    assert stage.worker is None


def test_a_full_disk_stops_the_job_and_a_later_run_goes_on(
    journal: Journal, stages: ModuleType, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_rows(30)
    write, left = pq.write_table, [1]

    def fill(*args: Any, **kwargs: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        write(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", fill)
        with pytest.raises(MegActorError, match="No space left") as full:
            run_job([stages.Odd()], rows, journal=journal, config=INLINE)
    assert full.value.exit_code == 1  # the work failed; nothing was wrong with what was asked for
    kept = len(journal.results())
    assert 0 < kept < 30
    assert list(journal.marks.iterdir()) == []
    report = run_job([stages.Odd()], rows, journal=journal, config=INLINE)
    assert (report.ok, report.skipped) == (30, kept)


class Killed(KeyboardInterrupt):
    """Stands for SIGKILL: nothing that it meets may do anything about it."""


def _kill_at(patch: pytest.MonkeyPatch, steps: int) -> None:
    """Die at the `steps`-th time that the run touches the disk, before or after it does."""
    left = [steps]

    def step() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            step()
            result = function(*args, **kwargs)
            step()
            return result

        return wrapped

    patch.setattr(Path, "unlink", mortal(Path.unlink))
    patch.setattr(os, "replace", mortal(os.replace))
    patch.setattr(Inflight, "touch", mortal(Inflight.touch))
    patch.setattr(batch_module, "guarded_chain", mortal(batch_module.guarded_chain))
    patch.setattr(batch_module, "write_part", mortal(batch_module.write_part))
    patch.setattr(Inflight, "forget_this_run", lambda self: None)


@settings(max_examples=20)
@given(kills=st.lists(st.integers(1, 80), max_size=2), batch_seconds=st.sampled_from([1e-6, 0.002, 1.0]))
def test_killed_anywhere_the_results_are_those_of_a_clean_run(
    tmp_path_factory: pytest.TempPathFactory,
    stages: ModuleType,
    make_rows: MakeRows,
    comparable: Comparable,
    kills: list[int],
    batch_seconds: float,
) -> None:
    folder = tmp_path_factory.mktemp("killed")
    rows = make_rows(8, {1: "raise", 2: "known", 4: "reject"})
    config = EngineConfig(workers=0, batch_seconds=batch_seconds)
    chain = [stages.Odd(), stages.Add()]
    clean, killed = Journal(folder / "clean"), Journal(folder / "killed")
    run_job(chain, rows, journal=clean, config=INLINE)
    for steps in kills:
        with pytest.MonkeyPatch.context() as patch:
            _kill_at(patch, steps)
            with suppress(Killed):
                run_job(chain, rows, journal=killed, config=config)
    run_job(chain, rows, journal=killed, config=config)
    assert comparable(killed) == comparable(clean)
    assert list(killed.marks.iterdir()) == []


def test_rows_are_not_all_read_at_once(journal: Journal, stages: ModuleType) -> None:
    read = 0

    def endless() -> Iterator[Row]:
        nonlocal read
        while True:
            read += 1
            yield {"row_id": f"r{read}", "n": read}

    def stop(outcome: Outcome) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job([stages.Odd()], endless(), journal=journal, config=INLINE, on_row=stop)
    assert read < 10
    assert len(journal.results()) == 1


def test_the_report_adds_up(journal: Journal, stages: ModuleType, make_rows: MakeRows) -> None:
    report: JobReport = run_job(
        [stages.Odd()], make_rows(9, {2: "reject", 3: "raise"}), journal=journal, config=INLINE
    )
    assert report.rows == report.ok + report.rejected + sum(report.errors.values())
    assert report.worker_deaths == report.damaged_parts == 0
    assert report.wall_seconds > 0
