"""Openings of mouth and eyes: what is built into a head is measured, however the head is seen."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.faces.headpose import HEAD_CM, RIGID_POINTS
from megactor_core.faces.openings import Openings, openings

EYE_SPAN_CM = float(np.linalg.norm(HEAD_CM[RIGID_POINTS.index(45)] - HEAD_CM[RIGID_POINTS.index(36)]))
SLANT_CM = np.array([0, 0.3, 0])
"""Lips run down to one side, so that a point taken for its neighbour shows."""
FIELDS = ("mouth_open", "lips_height", "mouth_width", "eyes_open", "brows_height")


def head(
    *, gap: float = 1.0, lips: float = 1.0, mouth: float = 5.0, lids: float = 0.8, brows: float = 2.0
) -> np.ndarray:
    """A head in centimetres, (68, 3): the gap between the inner lips, each lip's thickness, and so on."""
    points = np.zeros((68, 3))
    points[list(RIGID_POINTS)] = HEAD_CM
    for corners, upper, lower, row in (
        ((36, 39), (37, 38), (41, 40), range(17, 22)),
        ((42, 45), (43, 44), (47, 46), range(22, 27)),
    ):
        left, right = points[list(corners)]
        for share, above, below in zip((1 / 3, 2 / 3), upper, lower, strict=True):
            points[above] = left + share * (right - left) + [0, -lids / 2, 0]
            points[below] = left + share * (right - left) + [0, lids / 2, 0]
        for share, brow in zip(np.linspace(0, 1, 5), row, strict=True):
            points[brow] = (left + right) / 2 + [(share - 0.5) * 4, -brows, 0]
    middle = np.array([0.0, 4.5, -5.5])
    across = np.array([mouth / 2, 0, 0])
    points[[48, 54]] = middle - across, middle + across
    points[[60, 64]] = middle - 0.9 * across, middle + 0.9 * across
    down = np.array([0, gap / 2, 0])
    for share, above, below in zip((-0.5, 0, 0.5), (61, 62, 63), (67, 66, 65), strict=True):
        along = share * (across + SLANT_CM)
        points[above], points[below] = middle + along - down, middle + along + down
    down = np.array([0, gap / 2 + lips, 0])
    for share, above, below in zip(np.linspace(-0.7, 0.7, 5), range(49, 54), range(59, 54, -1), strict=True):
        along = share * (across + SLANT_CM)
        points[above], points[below] = middle + along - down, middle + along + down
    return points


def seen(
    points: np.ndarray, *, yaw: float = 0.0, pitch: float = 0.0, distance_cm: float | None = None
) -> np.ndarray:
    """The head (68, 3) turned, as a camera sees it from so far, or from infinitely far: (68, 2)."""
    turned = points @ _turn((0, 1, 0), yaw).T @ _turn((1, 0, 0), pitch).T
    shrink = 1.0 if distance_cm is None else distance_cm / (distance_cm + turned[:, 2:])
    return np.asarray(turned[:, :2] * shrink * 12 + 200)


def _turn(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    return np.asarray(cv2.Rodrigues(np.radians(degrees) * np.array(axis))[0])


def assert_same(found: Openings, expected: Openings, *, rtol: float) -> None:
    for field in FIELDS:
        np.testing.assert_allclose(getattr(found, field), getattr(expected, field), rtol=rtol, err_msg=field)


centimetres = st.floats(0.1, 2.0)


@given(
    gap=st.floats(-0.2, 2), lips=centimetres, mouth=st.floats(3, 7), lids=centimetres, brows=st.floats(1, 3)
)
def test_measures_what_is_there(gap: float, lips: float, mouth: float, lids: float, brows: float) -> None:
    found = openings(seen(head(gap=gap, lips=lips, mouth=mouth, lids=lids, brows=brows)))
    assert found.mouth_open == pytest.approx(gap / EYE_SPAN_CM)
    assert found.lips_height == pytest.approx((gap + 2 * lips) / EYE_SPAN_CM)
    assert found.mouth_width == pytest.approx(mouth / EYE_SPAN_CM)
    np.testing.assert_allclose(found.eyes_open, lids / 2.59, rtol=0.02)  # the corners are 2.59 cm apart
    np.testing.assert_allclose(found.brows_height, brows / EYE_SPAN_CM)


@given(angle=st.floats(-180, 180), scale=st.floats(0.05, 50), x=st.floats(-1e4, 1e4), y=st.floats(-1e4, 1e4))
def test_place_size_and_lean_in_the_picture_change_nothing(
    angle: float, scale: float, x: float, y: float
) -> None:
    points = seen(head())
    moved = scale * points @ _turn((0, 0, 1), angle)[:2, :2].T + [x, y]
    assert_same(openings(moved), openings(points), rtol=1e-6)


@given(yaw=st.floats(-60, 60), pitch=st.floats(-40, 40))
def test_turning_and_nodding_change_nothing_far_from_the_camera(yaw: float, pitch: float) -> None:
    found, straight = openings(seen(head(), yaw=yaw, pitch=pitch)), openings(seen(head()))
    for field in ("mouth_open", "lips_height", "mouth_width", "brows_height"):
        np.testing.assert_allclose(getattr(found, field), getattr(straight, field), err_msg=field)


@given(yaw=st.floats(-30, 30))
def test_an_eye_looks_as_open_from_the_side(yaw: float) -> None:
    """Less exactly: its corners lie at two depths."""
    found = openings(seen(head(), yaw=yaw)).eyes_open
    np.testing.assert_allclose(found, openings(seen(head())).eyes_open, rtol=0.18)


@pytest.mark.parametrize(("yaw", "pitch"), [(-35, 0), (35, 0), (0, -20), (0, 20), (25, 15)])
def test_turning_and_nodding_change_little_near_it(yaw: float, pitch: float) -> None:
    found = openings(seen(head(), yaw=yaw, pitch=pitch, distance_cm=60))
    straight = openings(seen(head(), distance_cm=60))
    for field in ("mouth_open", "lips_height", "mouth_width"):
        np.testing.assert_allclose(getattr(found, field), getattr(straight, field), rtol=0.12, err_msg=field)


@given(yaw=st.floats(-30, 30))
def test_order_survives_turning(yaw: float) -> None:
    closed = openings(seen(head(gap=0.05, lids=0.2, brows=1.8), yaw=yaw, distance_cm=60))
    wide = openings(seen(head(gap=1.5, lids=0.9, brows=2.3), yaw=yaw, distance_cm=60))
    for field in ("mouth_open", "lips_height", "eyes_open", "brows_height"):
        assert (getattr(closed, field) < getattr(wide, field)).all(), field


def test_left_and_right_are_the_pictures() -> None:
    points = head()
    points[[37, 38]], points[[41, 40]] = points[36], points[36]  # the eye on the left is shut
    points[22:27, 1] -= 0.5  # the brow on the right is raised
    found = openings(seen(points))
    assert found.eyes_open[0] == pytest.approx(0, abs=1e-9)
    assert found.eyes_open[1] > 0.25
    assert found.brows_height[1] == pytest.approx(found.brows_height[0] + 0.5 / EYE_SPAN_CM)


def test_lost_faces_are_nan_and_disturb_no_other() -> None:
    points = np.stack([seen(head()), np.full((68, 2), np.nan), seen(head(gap=0.3))]).astype(np.float32)
    found = openings(points)
    for field in FIELDS:
        values = getattr(found, field)
        assert np.isnan(values[1]).all()
        np.testing.assert_array_equal(values[[0, 2]], getattr(openings(points[[0, 2]]), field))


def test_a_face_without_extent_is_nan() -> None:
    found = openings(np.full((3, 68, 2), 7.0))
    assert all(np.isnan(getattr(found, field)).all() for field in FIELDS)


@pytest.mark.parametrize("axes", [(), (0,), (5,), (2, 3)])
def test_any_leading_axes(axes: tuple[int, ...]) -> None:
    found = openings(np.broadcast_to(seen(head()), (*axes, 68, 2)))
    assert found.mouth_open.shape == found.lips_height.shape == found.mouth_width.shape == axes
    assert found.eyes_open.shape == found.brows_height.shape == (*axes, 2)
