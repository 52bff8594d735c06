"""Windows cover every frame once, at any offset."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.animation.windows import (
    blend_weights,
    noise_numbers,
    of_equal_length,
    overlapping_windows,
    step_windows,
    windows,
)
from megactor_core.config.animate import WindowConfig


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


@given(st.integers(1, 200), st.integers(1, 20), st.integers(0, 50))
def test_groups_hold_equal_windows_and_lose_none(frames: int, size: int, offset: int) -> None:
    spans = windows(frames, size=size, offset=offset)
    groups = of_equal_length(spans)
    assert sorted(span for group in groups for span in group) == spans
    lengths = [{stop - start for start, stop in group} for group in groups]
    assert all(len(group) == 1 for group in lengths)
    assert len(set.union(*lengths)) == len(groups)


@given(st.integers(1, 200), st.integers(2, 24), st.data())
def test_overlapping_windows_blend_to_one(frames: int, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(1, size - 1))
    spans = overlapping_windows(frames, size=size, overlap=overlap)
    total = np.zeros(frames)
    for (start, stop), weight in zip(spans, blend_weights(spans), strict=True):
        assert stop - start == min(size, frames)
        assert (weight > 0).all()
        total[start:stop] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)
    for (_, stop), (start, _) in pairwise(spans):
        assert stop - start >= overlap


@given(st.integers(1, 200), st.integers(1, 24), st.integers(0, 30))
def test_windows_side_by_side_weigh_one(frames: int, size: int, offset: int) -> None:
    for weight in blend_weights(windows(frames, size=size, offset=offset)):
        assert (weight == 1).all()


def test_the_scheme_decides_and_only_shifted_windows_move() -> None:
    shift, overlap = WindowConfig(), WindowConfig(scheme="overlap")
    assert step_windows(40, shift, step=1) != step_windows(40, shift, step=2)
    assert step_windows(40, overlap, step=1) == step_windows(40, overlap, step=2)
    assert step_windows(40, overlap, step=0) == [(0, 16), (12, 28), (24, 40)]


@given(st.integers(1, 300), st.integers(1, 20), st.integers(0, 5))
def test_freenoise_reuses_the_first_window(frames: int, stride: int, seed: int) -> None:
    size = 16
    stride = min(stride, size)
    numbers = noise_numbers(frames, size=size, stride=stride, seed=seed)
    assert len(numbers) == frames
    assert numbers[:size] == list(range(min(size, frames)))
    for start in range(0, frames - size, stride):
        assert sorted(numbers[start : start + size]) == list(range(size))
    assert numbers == noise_numbers(frames + 50, size=size, stride=stride, seed=seed)[:frames]
