"""Face measures: angles, the release's tests, motion, and what counts as a second face."""

from dataclasses import replace

import numpy as np
import pytest

from megactor_core.curation.faces import (
    EARLY,
    Look,
    is_frontal,
    look_at,
    measure_faces,
    measure_motion,
    rotation_degrees,
)
from megactor_core.curation.light_faces import count_faces
from megactor_core.faces.headpose import HEAD_CM, RIGID_POINTS, head_pose
from megactor_core.faces.landmarks import Face
from megactor_core.synthetic.face import FaceRenderer
from megactor_core.synthetic.identity import draw_identity
from megactor_core.synthetic.state import FaceState


def face_at(x: float, y: float, *, width: float = 100.0, height: float | None = None) -> Face:
    height = width if height is None else height
    points = np.random.default_rng([5]).uniform(0, 1, (68, 2))
    points = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    points = points * (width, height) + (x - width / 2, y - height / 2)
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return Face(points=points.astype(np.float32), score=1.0, box=box)


def look(face: Face | None, *, seconds: float = 0.0, count: int = 1, size: int = 400) -> Look:
    return Look(seconds, size, size, count if face else 0, face, np.zeros((4, 4), np.uint8))


def posed(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The rotation of a head by these angles, as `head_pose` counts them."""
    from megactor_core.faces import headpose

    turn = headpose._yaw_pitch_matrix(*np.radians([yaw, pitch]))
    c, s = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    return turn @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    "angles", [(0, 0, 0), (30, 0, 0), (0, -20, 0), (0, 0, 15), (25, 10, -8), (-40, 5, 20)]
)
def test_the_whole_rotation_is_that_of_the_matrix(angles: tuple[float, float, float]) -> None:
    expected = np.degrees(np.arccos((np.trace(posed(*angles)) - 1) / 2))
    assert rotation_degrees(np.array(angles, dtype=float)) == pytest.approx(expected, abs=1e-6)


def test_the_rotation_of_a_projected_head_is_measured() -> None:
    rotation = posed(25, -10, 5)
    seen = (HEAD_CM @ rotation.T) + [0, 0, 60]
    points = np.zeros((68, 2), np.float32)
    points[list(RIGID_POINTS)] = seen[:, :2] / seen[:, 2:] * 500 + 249.5
    pose = head_pose(points, frame_width=500, frame_height=500)
    expected = np.degrees(np.arccos((np.trace(rotation) - 1) / 2))
    assert rotation_degrees(pose) == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize(("yaw", "frontal"), [(0.0, True), (10.0, True), (50.0, False), (-50.0, False)])
def test_the_test_of_a_frontal_face(yaw: float, frontal: bool) -> None:
    renderer = FaceRenderer(draw_identity(1), size_px=128)
    assert is_frontal(renderer.render(FaceState(yaw_degrees=yaw)).points) is frontal


def test_sizes_are_means_and_lows_and_squares_are_clipped() -> None:
    looks = [look(face_at(200, 200, width=w, height=80)) for w in (90, 100, 110)]
    found = measure_faces(looks, back_end="mediapipe", angle_face_px=24)
    assert found["face_width_mean"] == pytest.approx(100)
    assert found["face_width_p05"] == pytest.approx(91)
    assert found["face_height_p05"] == pytest.approx(80)
    assert found["square_p10"] == pytest.approx(2.5 * 90)
    assert found["face_share"] == found["single_share"] == 1
    # At the edge only what lies within the picture counts; without one face alone nothing does.
    edge = measure_faces([look(face_at(50, 200))], back_end="mediapipe", angle_face_px=24)
    assert edge["square_p10"] == pytest.approx(50 + 125)
    crowd = measure_faces([look(face_at(200, 200), count=2)], back_end="mediapipe", angle_face_px=24)
    assert (crowd["square_p10"], crowd["single_share"], crowd["faces_max"]) == (0, 0, 2)


def test_frames_without_a_face_count_and_measure_nothing() -> None:
    found = measure_faces([look(None), look(face_at(200, 200))], back_end="dwpose", angle_face_px=24)
    assert (found["face_share"], found["face_frames"], found["face_method"]) == (0.5, 2, "dwpose")
    assert "face_width_mean" not in measure_faces([look(None)], back_end="mediapipe", angle_face_px=24)
    assert measure_motion([look(None), look(face_at(1, 1))]) == {}


def test_angles_of_tiny_faces_are_not_measured() -> None:
    small = [look(face_at(200, 200, width=20))]
    assert "yaw_mean" not in measure_faces(small, back_end="mediapipe", angle_face_px=24)
    both = measure_faces([*small, look(face_at(200, 200))], back_end="mediapipe", angle_face_px=24)
    assert both["face_width_mean"] == pytest.approx(60)
    assert both["yaw_mean"] is not None


def test_a_face_that_is_overlooked_is_looked_for_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector that sees the bright spot in small pictures, and in the first large one."""
    seen: list[tuple[int, int]] = []

    def detect(image: np.ndarray, *, back_end: str) -> list[Face]:
        assert back_end == "mediapipe"
        seen.append((image.shape[1], image.shape[0]))
        y, x = np.argwhere(image[..., 0] == 255).mean(axis=0)
        return [face_at(x, y, width=10)] if len(seen) == 1 or max(image.shape) < 100 else []

    monkeypatch.setattr("megactor_core.curation.faces.detect_faces", detect)
    frames = [np.zeros((100, 120, 3), np.uint8) for _ in range(2)]
    frames[0][40, 60] = frames[1][44, 58] = 255
    options = {"back_end": "mediapipe", "second_face_ratio": 0.25, "crop_side_px": 64}
    first, second = look_at(enumerate(frames), **options)  # type: ignore[arg-type]
    assert seen == [(120, 100), (120, 100), (60, 60)]
    assert first.face is not None
    assert second.face is not None
    assert second.face.box == pytest.approx((53, 39, 63, 49))
    moved = second.face.points - first.face.points
    np.testing.assert_allclose(moved, np.broadcast_to([-2, 4], moved.shape), atol=1e-4)


def test_faces_overlooked_before_the_first_are_looked_for_near_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector that sees the bright spot in small pictures, and in large ones with a mark in the corner."""

    def detect(image: np.ndarray, *, back_end: str) -> list[Face]:
        spots = np.argwhere(image[..., 0] == 255)
        seen = len(spots) and (image[0, 0, 1] == 1 or max(image.shape) < 100)
        return [face_at(spots[0][1], spots[0][0], width=10)] if seen else []

    monkeypatch.setattr("megactor_core.curation.faces.detect_faces", detect)
    frames = [np.zeros((100, 120, 3), np.uint8) for _ in range(EARLY + 4)]
    for number, frame in enumerate(frames):
        frame[40, 30 + 3 * number, 0] = 255
    frames[5][...] = 0  # nobody there
    frames[-2][0, 0, 1] = 1
    looks = look_at(enumerate(frames), back_end="mediapipe", second_face_ratio=0.25, crop_side_px=64)
    assert [look.face is not None for look in looks] == [n not in (0, 1, 5) for n in range(EARLY + 4)]
    assert [look.seconds for look in looks] == list(range(EARLY + 4))
    middles = [(look.face.box[0] + look.face.box[2]) / 2 for look in looks if look.face is not None]
    np.testing.assert_allclose(middles, [30 + 3 * n for n in range(2, EARLY + 4) if n != 5], atol=0.5)


def test_travel_is_the_way_across_the_clip_in_face_sizes() -> None:
    looks = [look(face_at(100 + 30 * k, 200 - 5 * k, height=50), seconds=k / 2) for k in range(3)]
    found = measure_motion(looks)
    assert found["travel"] == pytest.approx(0.6)
    assert found["speed"] == pytest.approx(2 * np.hypot(0.3, 0.1) / 1.0)
    assert measure_motion([replace(looks[0], seconds=k / 2) for k in range(3)])["travel"] == 0


def test_tiny_faces_beside_a_large_one_are_nobody() -> None:
    faces = [face_at(100, 100, width=w) for w in (100, 40, 20)]
    assert count_faces(faces, second_face_ratio=0.25) == 2
    assert count_faces(faces, second_face_ratio=0.0) == 3
    assert count_faces([], second_face_ratio=0.25) == 0
