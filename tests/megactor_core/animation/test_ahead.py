"""The next thing is made while this one is used, and nothing else changes."""

import threading
from collections.abc import Iterator

import pytest

from megactor_core.animation.ahead import ahead


def test_everything_comes_in_order() -> None:
    assert list(ahead(iter(range(1, 6)))) == [1, 2, 3, 4, 5]
    assert list(ahead(iter(()))) == []


def test_the_next_is_made_before_this_one_is_done_with() -> None:
    made = [threading.Event() for _ in range(3)]

    def things() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    for number in ahead(things()):
        if number + 1 < len(made):
            assert made[number + 1].wait(timeout=60)
        if number + 2 < len(made):
            assert not made[number + 2].is_set(), "one ahead, not more: memory"


def test_its_error_is_raised_after_what_came_before() -> None:
    def things() -> Iterator[str]:
        yield "first"
        raise MemoryError("no room")

    given = ahead(things())
    assert next(given) == "first"
    with pytest.raises(MemoryError, match="no room"):
        next(given)


def test_no_thread_stays_where_nobody_wants_the_rest() -> None:
    given = ahead(iter(range(1, 1000)))
    assert next(given) == 1
    given.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
