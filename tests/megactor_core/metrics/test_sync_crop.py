"""SyncNet's crop: the right square, steady, whole at the frame's edges."""

from pathlib import Path

import numpy as np
import pytest

from megactor_core.errors import MetricError
from megactor_core.faces.landmarks import detect_landmarks
from megactor_core.media.video import read_video
from megactor_core.metrics.sync_crop import BORDER_LEVEL, crop_face, crop_squares


def face(x: float, y: float, *, width: float = 60, height: float = 80) -> np.ndarray:
    """68 points whose box has that centre and size."""
    points = np.full((68, 2), (x, y), np.float32)
    points[0], points[1] = (x - width / 2, y - height / 2), (x + width / 2, y + height / 2)
    return points


def test_a_square_has_the_longer_side_of_the_points() -> None:
    squares = crop_squares(np.stack([face(100, 120), face(100, 120)]))
    np.testing.assert_allclose(squares, [[100, 120, 40]] * 2)


def test_squares_follow_motion_and_ignore_a_jump() -> None:
    moving = np.stack([face(100 + n, 120) for n in range(40)])
    moving[20] += 50
    squares = crop_squares(moving)
    np.testing.assert_allclose(squares[10:30, 0], 100 + np.arange(10, 30), atol=1.01)
    assert np.abs(np.diff(squares[:, 0])).max() <= 2


def test_lost_faces_are_interpolated() -> None:
    points = np.stack([face(100 + 2 * n, 120) for n in range(40)])
    points[5:9] = np.nan
    squares = crop_squares(points)
    np.testing.assert_allclose(squares[7:30, 0], 100 + 2 * np.arange(7, 30), atol=1e-5)
    with pytest.raises(MetricError, match="no face"):
        crop_squares(points[5:9])


def test_a_crop_shows_what_the_pipeline_s_does() -> None:
    rows, columns = np.mgrid[:300, :400]
    frame = np.stack([rows % 256, columns % 256, 0 * rows], axis=-1).astype(np.uint8)
    crop = crop_face(frame, np.array([200.0, 120.0, 50.0]))
    # 50 above, 90 below, 70 to each side of the centre: 140 pixels square.
    assert crop.shape == (224, 224, 3)
    np.testing.assert_allclose(crop[[0, -1], 112, 0], [70, 209], atol=1)
    np.testing.assert_allclose(crop[112, [0, -1], 1], [130, 13], atol=1)


def test_what_lies_outside_the_frame_is_grey() -> None:
    frame = np.zeros((100, 100, 3), np.uint8)
    crop = crop_face(frame, np.array([10.0, 90.0, 40.0]))
    assert (crop[:, :30] == BORDER_LEVEL).all()
    assert (crop[-60:] == BORDER_LEVEL).all()
    assert crop[20, 100:].max() == 0
    with pytest.raises(MetricError, match="outside the frame of 100x100"):
        crop_face(frame, np.array([900.0, 90.0, 40.0]))
    with pytest.raises(MetricError, match="outside the frame"):
        crop_face(frame, np.array([50.0, 50.0, 0.0]))


@pytest.mark.real
def test_crops_of_a_real_clip_hold_the_lips(real_data: Path) -> None:
    clip = real_data / "driving" / "hdtf_sadtalker_WDA_KatieHill_000.mp4"
    frames = [frame for frame, _ in zip(read_video(clip), range(20), strict=False)]
    points = detect_landmarks(frames).points
    squares = crop_squares(points)
    for square, shown in zip(squares, points, strict=True):
        x, y, half = square
        mouth = shown[48:68].mean(axis=0)
        assert abs(mouth[0] - x) < 0.5 * half
        assert 0 < mouth[1] - y < half
    assert crop_face(frames[0], squares[0]).std() > 20
