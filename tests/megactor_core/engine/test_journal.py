import errno
import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megactor_core.engine import journal as journal_module
from megactor_core.engine.inflight import MAX_DEATHS, MAX_KILLS, Inflight
from megactor_core.engine.journal import Journal
from megactor_core.engine.parts import committed, merge_parts, outcome_of, part_paths, read_part, write_part
from megactor_core.engine.stage import Outcome
from megactor_core.errors import OutputError, UsageError
from megactor_core.files import sole_owner


def outcome(name: str, *, key: str = "", attempts: int = 1, **columns: Any) -> Outcome:
    return Outcome(row={"row_id": name, **columns}, key=key or f"k-{name}", status="ok", attempts=attempts)


@pytest.fixture
def parts(journal: Journal) -> Path:
    journal.parts.mkdir(parents=True)
    return journal.parts


def test_rows_of_different_columns_come_back_as_they_were(journal: Journal, parts: Path) -> None:
    rows = [
        {"a": 1, "b": [1, "x", None], "c": {"d": {}}, "text": "ü\ud800"},
        {"a": 0.1, "big": 2**70, "nan": float("inf")},
        {},
    ]
    for name, row in zip("xyz", rows, strict=True):
        write_part(parts, [outcome(name, **row)], run=1, host="h")
    for row, result in zip(rows, journal.results(), strict=True):
        assert {name: result[name] for name in row} == row
    assert [type(result.get("a")) for result in journal.results()] == [int, float, type(None)]


def test_text_that_is_no_utf8_is_kept_readable(journal: Journal, parts: Path) -> None:
    bad = Outcome(row={"row_id": "a"}, key="k", status="error", error_kind="x", error="'a\udcff.mp4' is bad")
    write_part(parts, [bad], run=1, host="h")
    assert journal.results()[0]["error"] == "'a\\udcff.mp4' is bad"


def test_the_name_is_that_of_the_rows(parts: Path) -> None:
    first = write_part(parts, [outcome("a"), outcome("b")], run=1, host="h")
    assert write_part(parts, [outcome("b"), outcome("a")], run=2, host="h") == first
    assert write_part(parts, [outcome("a")], run=1, host="h") != first
    assert len(list(parts.iterdir())) == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [((1, 1), (2, 1)), ((1, 1), (1, 2)), ((1, 2), (2, 1)), ((9, 9), (10, 1))],
)
def test_the_latest_result_counts(
    journal: Journal, parts: Path, old: tuple[int, int], new: tuple[int, int]
) -> None:
    for (run, attempts), text in ((new, "new"), (old, "old")):
        write_part(parts, [outcome("a", key=text, attempts=attempts, text=text)], run=run, host="h")
    assert [row["text"] for row in journal.results()] == ["new"]
    assert journal.finished()[0]["a"].key == "new"


@pytest.mark.parametrize("size", [0, 3, 100, -10, -200])
def test_a_torn_part_file_is_set_aside(journal: Journal, parts: Path, size: int) -> None:
    write_part(parts, [outcome("a")], run=1, host="h")
    torn = write_part(parts, [outcome("b", text="x" * 1000)], run=1, host="h")
    data = torn.read_bytes()
    torn.write_bytes(data[:size])
    assert [row["row_id"] for row in journal.results()] == ["a"]
    finished, damaged = journal.finished()
    assert (list(finished), damaged) == (["a"], 1)
    assert journal.finished()[1] == 0
    assert torn.with_name(torn.name + ".damaged").exists()


def test_a_part_file_of_zeros_or_of_another_kind_is_set_aside(journal: Journal, parts: Path) -> None:
    path = write_part(parts, [outcome("a", text=os.urandom(5000).hex())], run=1, host="h")
    data = path.read_bytes()
    path.write_bytes(data[:100] + bytes(len(data) - 400) + data[-300:])
    pq.write_table(pa.table({"row_id": ["b"]}), parts / "part-other.parquet")
    assert journal.finished() == ({}, 2)


def test_results_of_some_rows(journal: Journal, parts: Path) -> None:
    write_part(parts, [outcome("a"), outcome("b"), outcome("c")], run=1, host="h")
    assert [row["row_id"] for row in journal.results(["c", "a", "z"])] == ["a", "c"]
    assert journal.table(["b"])["row_id"].to_pylist() == ["b"]


def test_a_table_has_the_columns_of_all_rows(journal: Journal, parts: Path) -> None:
    write_part(parts, [outcome("a", n=1, box=[1, 2]), outcome("b", n=0.5, text="x")], run=1, host="h")
    table = journal.table()
    assert table["n"].to_pylist() == [1.0, 0.5]
    assert table["text"].to_pylist() == [None, "x"]
    assert table["box"].to_pylist() == [[1, 2], None]
    write_part(parts, [outcome("c", n="many")], run=1, host="h")
    with pytest.raises(UsageError, match="column 'n' holds values of several kinds"):
        journal.table()


def test_an_empty_journal_has_no_results(journal: Journal) -> None:
    assert journal.results() == []
    assert journal.table().num_rows == 0


def test_merging_changes_no_result(journal: Journal, parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(50):
        write_part(parts, [outcome(f"r{n}", n=n)], run=1, host="h")
    before = journal.results()
    merge_parts(part_paths(parts), rows_per_file=20)
    assert journal.results() == before
    assert len(part_paths(parts)) == 3
    merge_parts(part_paths(parts), rows_per_file=20)
    assert len(part_paths(parts)) == 3
    monkeypatch.setattr(journal_module, "MERGE_FROM_FILES", 3)
    monkeypatch.setattr(journal_module, "ROWS_PER_FILE", 1000)
    journal.merge()
    assert len(part_paths(parts)) == 1
    assert journal.results() == before


def test_a_kill_while_merging_loses_and_doubles_nothing(
    journal: Journal, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(10):
        write_part(parts, [outcome(f"r{n}")], run=1, host="h")
    before = journal.results()

    def killed(path: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            merge_parts(part_paths(parts), rows_per_file=100)
    assert journal.results() == before
    merge_parts(part_paths(parts), rows_per_file=100)
    assert journal.results() == before
    assert len(part_paths(parts)) == 1


def test_marks_are_forgotten_but_not_under_a_run(journal: Journal) -> None:
    journal.forget_marks()  # before a first run there are none
    Inflight(journal.marks, 1).folder.mkdir(parents=True)
    Inflight(journal.marks, 1).enter("row")
    with sole_owner(journal.folder / "lock"), pytest.raises(OutputError, match="in use"):
        journal.forget_marks()
    assert Inflight(journal.marks, 2).suspects() == {"row"}
    journal.forget_marks()
    assert Inflight(journal.marks, 2).suspects() == set()


def test_a_damaged_file_is_not_merged_away(journal: Journal, parts: Path) -> None:
    good = [write_part(parts, [outcome(f"r{n}")], run=1, host="h") for n in range(3)]
    good[0].write_bytes(b"PAR1")
    merge_parts(part_paths(parts), rows_per_file=100)
    assert good[0].exists()
    assert [row["row_id"] for row in journal.results()] == ["r1", "r2"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_journal_that_cannot_be_written_is_one_clear_error(
    parts: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(pq, "write_table", refuse)
    with pytest.raises(OutputError, match=rf"journal '.*parquet' \({os.strerror(number)}\)"):
        write_part(parts, [outcome("a")], run=1, host="h")
    assert list(parts.iterdir()) == []


def test_a_row_committed_alone_is_found(parts: Path) -> None:
    given = outcome("a", key="k", n=3)
    write_part(parts, [given], run=4, host="h")
    record = committed(parts, "k", run=4)
    assert record is not None
    assert outcome_of(record) == given
    assert committed(parts, "k", run=5) is None
    assert committed(parts, "other", run=4) is None


def test_marks_count_deaths(tmp_path: Path) -> None:
    first = Inflight(tmp_path, 1)
    assert not first.is_poison("a")
    for _ in range(MAX_KILLS):
        first.enter("a")
    assert first.is_poison("a")
    later = Inflight(tmp_path, 2)
    assert not later.is_poison("a")  # both may have been the run's own deaths
    for _ in range(MAX_DEATHS - MAX_KILLS):
        later.enter("a")
    assert later.is_poison("a")
    assert later.suspects() == {"a"}
    later.leave(["a", "b"])
    assert later.suspects() == set()


def test_only_the_row_that_was_due_is_blamed(tmp_path: Path) -> None:
    Inflight(tmp_path, 1).enter("a")
    inflight = Inflight(tmp_path, 2)
    numbers = {key: inflight.enter(key) for key in "abc"}
    inflight.touch("b", numbers["b"])  # the second stage was at the second row
    assert inflight.blame("abcd")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.1", "b.1"]
    assert not inflight.blame("acd")


def test_marks_of_a_lost_machine_count_as_a_run_s_own_death(tmp_path: Path) -> None:
    """Machines may go twice while one row is on its way; it is tried once more, and then given up."""
    inflight = Inflight(tmp_path, 2)
    for deaths in range(1, MAX_DEATHS + 1):
        for key in "ab":
            inflight.enter(key)
        Inflight(tmp_path, 2).disown(["a", "b", "c"])
        assert inflight.suspects() == {"b"}
        assert inflight.is_poison("b") == (deaths == MAX_DEATHS)
    inflight.disown("b")  # nothing is left of this run
    inflight.retire("b")
    assert inflight.suspects() == set()


def test_a_worker_uses_the_files_of_its_marks_again(tmp_path: Path) -> None:
    inflight = Inflight(tmp_path, 3)
    inflight.enter("a")
    inode = (tmp_path / "a.1").stat().st_ino
    inflight.retire(["a"])
    assert inflight.suspects() == set()
    assert not inflight.is_poison("a")
    inflight.enter("b")
    inflight.enter("c")
    assert (tmp_path / "b.1").stat().st_ino == inode
    inflight.enter("c")
    inflight.retire(["b", "c"])
    assert inflight.suspects() == set()
    inflight.forget_this_run()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_stopped_forgets_its_own_marks_only(tmp_path: Path) -> None:
    Inflight(tmp_path, 1).enter("a")
    second = Inflight(tmp_path, 2)
    second.enter("a")
    second.enter("b")
    second.forget_this_run()
    assert [path.name for path in tmp_path.iterdir()] == ["a.1"]
    (tmp_path / "c.1").touch()  # torn
    assert not second.is_poison("c")


def test_the_header_names_stages_and_run(journal: Journal, stages: ModuleType) -> None:
    for run in (1, 2):
        with journal.opened([stages.Odd(), stages.Add(version="7")]) as number:
            assert number == run
    header = json.loads((journal.folder / "run.json").read_text())
    assert header["run"] == 2
    assert header["stages"] == [{"name": "odd", "version": "1"}, {"name": "add", "version": "7"}]
    assert {"megactor", "host", "started"} <= header.keys()


def test_a_journal_of_another_job_is_refused(journal: Journal, stages: ModuleType) -> None:
    with journal.opened([stages.Odd()]):
        pass
    with journal.opened([stages.Odd(version="2"), stages.Add()]):
        pass
    with (
        pytest.raises(UsageError, match=r"another job \(stages odd, add; now split\)"),
        journal.opened([stages.Split()]),
    ):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}'])
def test_a_header_that_is_none_is_refused(journal: Journal, stages: ModuleType, text: str) -> None:
    journal.folder.mkdir()
    (journal.folder / "run.json").write_text(text)
    with pytest.raises(UsageError, match="not the record of a journal"), journal.opened([stages.Odd()]):
        pass


def test_a_second_run_is_refused_by_name(journal: Journal, stages: ModuleType) -> None:
    with (
        journal.opened([stages.Odd()]),
        pytest.raises(OutputError, match=rf"in use by another run \(process {os.getpid()} on "),
        journal.opened([stages.Odd()]),
    ):
        pass


def test_a_run_waits_until_the_workers_of_a_killed_one_are_gone(
    journal: Journal, stages: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "ORPHANS_END_SECONDS", 0.0)
    journal.folder.mkdir()
    with journal.workers_lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        with pytest.raises(OutputError, match="Workers of an earlier run"), journal.opened([stages.Odd()]):
            pass
    with journal.opened([stages.Odd()]):
        pass


def test_leftovers_of_a_killed_writer_are_removed(journal: Journal, stages: ModuleType, parts: Path) -> None:
    leftover = parts / ".part-00.partial-123.parquet"
    leftover.write_bytes(b"PAR1")
    with journal.opened([stages.Odd()]):
        assert not leftover.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(
    journal: Journal, stages: ModuleType, tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Cannot write"), journal.opened([stages.Odd()]):
        pass


def test_reading_needs_no_lock(journal: Journal, stages: ModuleType, make_rows: Callable[..., Any]) -> None:
    with journal.opened([stages.Odd()]) as run:
        path = write_part(journal.parts, [outcome("a")], run=run, host="h")
        assert journal.results()[0]["row_id"] == "a"
        assert read_part(path) is not None
