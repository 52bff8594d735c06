"""The 68 points on the chart: order, symmetry, and what each track moves."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.synthetic.contours import face_points, jaw_shift
from megactor_core.synthetic.identity import draw_identity
from megactor_core.synthetic.state import FaceState

IDENTITY = draw_identity(3)
# The iBUG-68 point on the other side of the face.
MIRROR = [
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46),
    *(39, 38, 37, 36, 41, 40),
    *range(54, 47, -1),
    *range(59, 54, -1),
    *range(64, 59, -1),
    *range(67, 64, -1),
]


@given(
    st.integers(0, 10_000),
    st.floats(0, 1.2),
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.floats(0, 1.1),
    st.floats(-1, 1),
)
def test_points_are_symmetric(
    seed: int, mouth: float, wide: float, smile: float, eye: float, brow: float
) -> None:
    state = FaceState(mouth_open=mouth, mouth_wide=wide, smile=smile, eye_open=eye, brow=brow)
    points = face_points(draw_identity(seed), state)
    np.testing.assert_allclose(points[MIRROR] * (-1, 1), points, atol=1e-9)


def test_counted_from_the_pictures_left() -> None:
    phi = face_points(IDENTITY, FaceState())[:, 0]
    for group in (range(17), range(17, 27), range(31, 36), (36, 37, 38, 39, 42, 43, 44, 45), range(48, 55)):
        assert (np.diff(phi[list(group)]) > 0).all()


@pytest.mark.parametrize(
    ("track", "upper", "lower"), [("mouth_open", 62, 66), ("eye_open", 37, 41), ("brow", 19, 27)]
)
def test_tracks_open_what_they_name(track: str, upper: int, lower: int) -> None:
    gaps = []
    for value in np.linspace(0, 1, 9):
        points = face_points(IDENTITY, replace(FaceState(), **{track: float(value)}))
        gaps.append(points[lower, 1] - points[upper, 1])
    assert (np.diff(gaps) > 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_closed_means_closed(seed: int) -> None:
    points = face_points(draw_identity(seed), FaceState(eye_open=0, mouth_open=0))
    np.testing.assert_allclose(points[[37, 38, 43, 44], 1], points[[41, 40, 47, 46], 1], atol=0.01)
    np.testing.assert_allclose(points[[61, 62, 63], 1], points[[67, 66, 65], 1], atol=1e-9)


def test_a_smile_lifts_and_spreads_the_corners_and_rounding_narrows() -> None:
    rest, smile, rounded = (
        face_points(IDENTITY, state) for state in (FaceState(), FaceState(smile=1), FaceState(mouth_wide=-1))
    )
    assert smile[48, 1] < rest[48, 1] - 0.03
    assert smile[54, 0] > rest[54, 0]
    assert rounded[54, 0] < 0.8 * rest[54, 0]


def test_the_jaw_never_folds() -> None:
    y = np.linspace(-1.4, 1.6, 500)
    posed = y + jaw_shift(IDENTITY, FaceState(mouth_open=1.25), y)
    assert (np.diff(posed) > 0).all()


def test_pose_and_gaze_leave_the_chart_alone() -> None:
    moved = {
        "yaw_degrees",
        "pitch_degrees",
        "roll_degrees",
        "shift_x",
        "shift_y",
        "scale",
        "gaze_x",
        "gaze_y",
    }
    assert moved <= {field.name for field in fields(FaceState)}
    state = replace(FaceState(), **dict.fromkeys(moved, 0.5))
    np.testing.assert_array_equal(face_points(IDENTITY, state), face_points(IDENTITY, FaceState()))
