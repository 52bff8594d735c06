"""Boxes of faces: overlap, nearness, and what can be the same face."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.faces.boxes import box_of, distance, extent, growth, iou, plausible_move

boxes = st.tuples(*[st.floats(-50, 50)] * 2, *[st.floats(1, 80)] * 2).map(
    lambda b: np.array([b[0], b[1], b[0] + b[2], b[1] + b[3]])
)


def square(x: float, side: float) -> np.ndarray:
    return np.array([x, 0, x + side, side])


def test_overlap_of_known_boxes() -> None:
    assert iou(square(0, 10), square(0, 10)) == 1
    assert iou(square(0, 10), square(5, 10)) == pytest.approx(1 / 3)
    assert iou(square(0, 10), square(10, 10)) == 0


@given(a=boxes, b=boxes, shift=st.floats(-99, 99))
def test_overlap_is_mutual_and_moves_with_the_picture(a: np.ndarray, b: np.ndarray, shift: float) -> None:
    assert 0 <= iou(a, b) <= 1
    assert iou(a, b) == pytest.approx(iou(b, a))
    assert iou(a + shift, b + shift) == pytest.approx(iou(a, b), abs=1e-6)


def test_distance_extent_and_growth() -> None:
    a, b = np.array([0, 0, 4, 10]), np.array([30, 40, 34, 50])
    assert distance(a, b) == 50
    assert extent(a) == 10
    assert growth(square(0, 10), square(0, 25)) == growth(square(0, 25), square(0, 10)) == 2.5
    np.testing.assert_array_equal(box_of(np.array([[1, 9], [5, 2], [3, 3]])), [1, 2, 5, 9])


def test_a_jump_or_a_sudden_growth_is_not_the_same_face() -> None:
    assert plausible_move(square(0, 10), square(4, 10))
    assert not plausible_move(square(0, 10), square(6, 10))
    assert not plausible_move(square(0, 10), square(-3, 17))
