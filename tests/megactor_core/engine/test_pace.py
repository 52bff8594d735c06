from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.engine.pace import MAX_ROWS, Pace, Supply
from megactor_core.engine.stage import Outcome


def waiting(count: int) -> Iterator[Outcome]:
    return (Outcome(row={"row_id": str(n)}, key=str(n), status="ok") for n in range(count))


def paced(rows: int) -> Pace:
    pace = Pace(1.0)
    pace.measure(rows=rows, seconds=1.0)
    return pace


def test_batches_begin_with_one_row_and_follow_what_rows_cost() -> None:
    pace = Pace(2.0)
    assert pace.rows == 1
    pace.measure(rows=1, seconds=0.5)
    assert pace.rows == 4
    for _ in range(20):
        pace.measure(rows=4, seconds=40.0)
    assert pace.rows == 1
    for _ in range(60):
        pace.measure(rows=1, seconds=0.0)
    assert pace.rows == MAX_ROWS


@given(st.integers(0, 300), st.integers(1, 50), st.integers(1, 5))
def test_every_row_is_handed_out_once_in_order(count: int, rows: int, workers: int) -> None:
    supply, pace = Supply(waiting(count), alone=()), paced(rows)
    taken: list[str] = []
    while batch := supply.take(pace, workers=workers):
        assert len(batch) <= pace.rows
        taken += [row.key for row in batch]
    assert taken == [str(n) for n in range(count)]


def test_the_last_rows_are_shared_out() -> None:
    supply, pace = Supply(waiting(40), alone=()), paced(20)
    sizes = []
    while batch := supply.take(pace, workers=2):
        sizes.append(len(batch))
    assert sizes[0] == 10
    assert sizes[-4:] == [1, 1, 1, 1]


def test_one_worker_alone_gets_all_that_it_can_do_in_time() -> None:
    supply, pace = Supply(waiting(50), alone=()), paced(20)
    assert [len(supply.take(pace, workers=1)) for _ in range(4)] == [20, 20, 10, 0]


@pytest.mark.parametrize("rows", [1, 8])
def test_rows_are_read_only_as_far_as_needed(rows: int) -> None:
    source = waiting(10_000)
    Supply(source, alone=()).take(paced(rows), workers=2)
    assert int(next(source).key) <= 4 * rows + 1


def test_suspects_and_second_tries_are_batches_of_their_own() -> None:
    rows = list(waiting(6))
    rows[4] = Outcome(row={}, key="4", status="ok", attempts=2)
    supply, pace = Supply(iter(rows), alone={"1"}), paced(100)
    sizes = []
    while batch := supply.take(pace, workers=1):
        sizes.append([row.key for row in batch])
    assert ["1"] in sizes
    assert ["4"] in sizes
    assert [key for batch in sizes for key in batch] == list("012345")


def test_rows_may_be_added_later() -> None:
    supply, pace = Supply(iter(()), alone=()), paced(5)
    assert supply.take(pace, workers=1) == []
    for row in waiting(2):
        supply.add(row)
    assert len(supply) == 2
    assert [row.key for row in supply.take(pace, workers=1)] == ["0", "1"]
