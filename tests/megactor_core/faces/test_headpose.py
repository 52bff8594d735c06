"""Head pose: known rotations are recovered, and the signs mean what they say."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megactor_core.faces.headpose import HEAD_CM, RIGID_POINTS, head_pose

WIDTH, HEIGHT = 640, 480
degrees = st.floats(-50, 50)


def turn(axis: tuple[float, float, float], angle_degrees: float) -> np.ndarray:
    return np.asarray(cv2.Rodrigues(np.radians(angle_degrees) * np.array(axis))[0])


def seen(
    rotation: np.ndarray, at: tuple[float, float, float] = (0, 0, 60), focal: float = WIDTH
) -> np.ndarray:
    """The generic head, rotated (camera axes: x right, y down, z away), as a camera at the origin sees it."""
    space = HEAD_CM @ rotation.T + np.array(at)
    points = np.full((68, 2), np.nan)
    points[list(RIGID_POINTS)] = focal * space[:, :2] / space[:, 2:] + np.array([WIDTH - 1, HEIGHT - 1]) / 2
    other = [i for i in range(68) if i not in RIGID_POINTS]
    points[other] = 0
    return points


def pose(points: np.ndarray) -> np.ndarray:
    return head_pose(points, frame_width=WIDTH, frame_height=HEIGHT)


@settings(deadline=None)
@given(
    yaw=degrees,
    pitch=degrees,
    roll=degrees,
    x=st.floats(-15, 15),
    y=st.floats(-10, 10),
    z=st.floats(35, 1000),
)
def test_known_angles_are_recovered(
    yaw: float, pitch: float, roll: float, x: float, y: float, z: float
) -> None:
    # With x right, y down, z away, right-handed turns: right is -y, up is -x, clockwise is +z.
    rotation = turn((0, 1, 0), -yaw) @ turn((1, 0, 0), -pitch) @ turn((0, 0, 1), roll)
    np.testing.assert_allclose(pose(seen(rotation, at=(x, y, z))), [yaw, pitch, roll], atol=0.5)


@pytest.mark.parametrize("z_cm", [40.0, 120.0])
def test_another_focal_length_than_assumed_costs_little_near_the_middle(z_cm: float) -> None:
    rotation = turn((0, 1, 0), -20) @ turn((1, 0, 0), -10)
    found = pose(seen(rotation, at=(0, 0, z_cm), focal=1.5 * WIDTH))
    np.testing.assert_allclose(found, [20, 10, 0], atol=4)


def test_the_signs_are_those_of_the_picture() -> None:
    straight = seen(np.eye(3))
    eyes = straight[[36, 39, 42, 45]].mean(axis=0)
    assert straight[30, 1] > eyes[1], "the nose lies below the eyes"
    assert straight[36, 0] < straight[45, 0], "point 36 is on the picture's left"
    for angles, moved in (
        ((30, 0, 0), (1, 0)),
        ((-30, 0, 0), (-1, 0)),
        ((0, 30, 0), (0, -1)),
        ((0, -30, 0), (0, 1)),
    ):
        yaw, pitch, _ = angles
        points = seen(turn((0, 1, 0), -yaw) @ turn((1, 0, 0), -pitch))
        shift = (points[30] - points[27]) - (straight[30] - straight[27])
        assert shift @ np.array(moved) > 5
        np.testing.assert_allclose(pose(points), angles, atol=0.1)
    leaning = seen(turn((0, 0, 1), 25))
    assert leaning[45, 1] > leaning[36, 1], "clockwise: the picture's right eye is lower"
    np.testing.assert_allclose(pose(leaning), [0, 0, 25], atol=0.1)


def test_points_that_are_not_rigid_play_no_part() -> None:
    points = seen(turn((0, 1, 0), 15))
    talking = points.copy()
    talking[48:68] = 77
    np.testing.assert_array_equal(pose(points), pose(talking))


def test_batches_keep_their_shape_and_lost_frames_stay_nan() -> None:
    clip = np.stack([seen(turn((0, 1, 0), -a)) for a in (0, 10, 20, 30)]).reshape(2, 2, 68, 2)
    clip[1, 0] = np.nan
    found = pose(clip)
    assert found.shape == (2, 2, 3)
    np.testing.assert_allclose(found[..., 0].ravel(), [0, 10, np.nan, 30], atol=0.1)
    assert np.isnan(found[1, 0]).all()


def test_points_all_in_one_place_have_no_pose() -> None:
    assert np.isnan(pose(np.full((2, 68, 2), 7.0))).all()


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_scatter_of_points_gives_angles_or_nan_and_no_crash(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 1, (1, 68, 2)) * 10.0 ** rng.integers(-6, 6)
    points[:, :, rng.integers(0, 2)] *= rng.integers(0, 2)
    assert pose(points).shape == (1, 3)
