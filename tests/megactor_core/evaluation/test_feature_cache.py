"""Tapes: rows come in order, known ones are not computed, and what is new is kept."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.evaluation.feature_cache import Tape, tape_path

ROWS = np.arange(40.0).reshape(20, 2)


class Source:
    """Computes the rows from a position on, and counts them."""

    def __init__(self) -> None:
        self.computed = 0

    def of(self, start: int, count: int) -> Callable[[int], np.ndarray]:
        def compute(known: int) -> np.ndarray:
            self.computed += count - known
            return ROWS[start + known : start + count]

        return compute


def read(tape: Tape, counts: list[int], source: Source) -> np.ndarray:
    parts, start = [], 0
    for count in counts:
        parts.append(tape.take(count, source.of(start, count)))
        start += count
    return np.concatenate(parts)


@given(
    first=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    second=st.lists(st.integers(1, 5), min_size=1, max_size=4),
)
def test_a_tape_goes_on_where_the_earlier_one_ended(
    tmp_path_factory: pytest.TempPathFactory, first: list[int], second: list[int]
) -> None:
    path = tmp_path_factory.mktemp("tape") / "t.safetensors"
    once, again = Source(), Source()
    tape = Tape(path)
    read(tape, first, once)
    tape.save(whole=False)
    rows = read(Tape(path), second, again)
    np.testing.assert_array_equal(rows, ROWS[: sum(second)])
    assert once.computed == sum(first)
    assert again.computed == max(0, sum(second) - sum(first))


def test_a_whole_tape_says_so(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    tape = Tape(path)
    read(tape, [20], Source())
    tape.save(whole=True)
    assert Tape(path).is_whole
    np.testing.assert_array_equal(Tape(path).known, ROWS)


def test_a_shorter_reading_does_not_shorten_the_tape(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    for counts in ([10], [4]):
        tape = Tape(path)
        read(tape, counts, Source())
        tape.save(whole=False)
    known = Tape(path).known
    assert known is not None
    assert len(known) == 10


def test_a_damaged_tape_is_none(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    path.write_bytes(b"\xff" * 40)
    assert Tape(path).known is None


def test_without_a_path_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tape = Tape()
    read(tape, [5], Source())
    tape.save(whole=True)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    tape = Tape(tmp_path / "file" / "t.safetensors")
    read(tape, [5], Source())
    tape.save(whole=True)


def test_file_network_and_transform_have_their_own_tape() -> None:
    paths = {
        tape_path("aa", {"kind": "fid", "by": "1"}),
        tape_path("ab", {"kind": "fid", "by": "1"}),
        tape_path("aa", {"kind": "fid", "by": "2"}),
    }
    assert len(paths) == 3
    assert tape_path("aa", {"by": "1", "kind": "fid"}) in paths
