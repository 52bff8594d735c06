"""Windows cover every frame once, at any offset."""

from hypothesis import given
from hypothesis import strategies as st

from megactor_core.animation.windows import batches, windows


@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 1000))
def test_every_frame_once_in_order(frames: int, size: int, offset: int) -> None:
    spans = windows(frames, size=size, offset=offset)
    assert [k for start, stop in spans for k in range(start, stop)] == list(range(frames))
    assert all(0 < stop - start <= size for start, stop in spans)
    inner = [stop - start for start, stop in spans[1:-1]]
    assert inner == [size] * len(inner)


@given(st.integers(1, 16), st.integers(0, 99))
def test_a_clip_that_fits_is_one_window(frames: int, offset: int) -> None:
    assert windows(frames, size=16, offset=offset) == [(0, frames)]


def test_borders_move_with_the_offset() -> None:
    assert windows(40, size=16, offset=0) == [(0, 16), (16, 32), (32, 40)]
    assert windows(40, size=16, offset=1) == [(0, 1), (1, 17), (17, 33), (33, 40)]
    assert windows(40, size=16, offset=17) == windows(40, size=16, offset=1)


@given(st.integers(1, 200), st.integers(1, 20), st.integers(0, 50), st.integers(1, 6))
def test_batches_hold_equal_windows_and_lose_none(frames: int, size: int, offset: int, count: int) -> None:
    spans = windows(frames, size=size, offset=offset)
    groups = list(batches(spans, count=count))
    assert sorted(span for group in groups for span in group) == spans
    for group in groups:
        assert 1 <= len(group) <= count
        assert len({stop - start for start, stop in group}) == 1
