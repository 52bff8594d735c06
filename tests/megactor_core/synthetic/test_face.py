"""Rendered faces: reproducible bytes, landmarks where the features are, and expressions that show."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from megactor_core.faces.headpose import head_pose
from megactor_core.synthetic.face import FaceRenderer, RenderedFace, rotation_matrix
from megactor_core.synthetic.identity import draw_identity
from megactor_core.synthetic.state import FaceState

SPEAKING = FaceState(
    yaw_degrees=22, pitch_degrees=-8, roll_degrees=6, mouth_open=0.7, smile=0.3, eye_open=0.6
)
STATES = (
    FaceState(),
    SPEAKING,
    FaceState(yaw_degrees=-30, pitch_degrees=12, roll_degrees=-15, mouth_open=1, shift_x=0.04, scale=1.1),
    FaceState(pitch_degrees=18, mouth_wide=-1, mouth_open=0.3, brow=1),
)
# Seen in each of the states: eye corners, nose tip, mouth.
SEEN_POINTS = (36, 39, 42, 45, 30, 33, 48, 51, 54, 57, 62, 66)
_HASH = """
import hashlib
from megactor_core.synthetic.face import FaceRenderer
from megactor_core.synthetic.identity import draw_identity
from megactor_core.synthetic.state import FaceState
face = FaceRenderer(draw_identity(11), size_px=96).render(FaceState(yaw_degrees=10, mouth_open=0.5))
print(hashlib.sha256(face.image.tobytes() + face.points.tobytes()).hexdigest())
"""


def _digest(face: RenderedFace) -> str:
    return hashlib.sha256(face.image.tobytes() + face.points.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def renderer() -> FaceRenderer:
    return FaceRenderer(draw_identity(3), size_px=256)


def test_shape_and_type(renderer: FaceRenderer) -> None:
    face = renderer.render(SPEAKING)
    assert face.image.shape == (256, 256, 3)
    assert face.image.dtype == np.uint8
    assert face.points.shape == (68, 2)
    assert face.points.dtype == np.float32


def test_another_process_renders_the_same_bytes() -> None:
    here = FaceRenderer(draw_identity(11), size_px=96).render(FaceState(yaw_degrees=10, mouth_open=0.5))
    there = subprocess.run([sys.executable, "-c", _HASH], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == _digest(here)


def test_frames_do_not_depend_on_earlier_frames(renderer: FaceRenderer) -> None:
    forwards = [_digest(renderer.render(state)) for state in STATES]
    backwards = [_digest(renderer.render(state)) for state in STATES[::-1]]
    assert forwards == backwards[::-1]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("seed", [3, 8])
def test_a_mark_on_the_skin_is_seen_where_its_point_says(
    seed: int, state: FaceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer = FaceRenderer(draw_identity(seed), size_px=256)
    plain = renderer.render(state)
    paint = renderer._features.paint
    for index in SEEN_POINTS:
        if index == 30 and abs(state.yaw_degrees) > 15:
            continue  # the tip is on the edge of what is seen of the nose

        def with_mark(colours: np.ndarray, points: np.ndarray, now: FaceState, index: int = index) -> None:
            paint(colours, points, now)
            x, y = (round(float(value) * 16) for value in points[index])
            cv2.circle(colours, (x, y), 24, (0, 255, 0, 255), -1, cv2.LINE_AA, 4)

        monkeypatch.setattr(renderer._features, "paint", with_mark)
        marked = renderer.render(state)
        difference = np.abs(marked.image.astype(float) - plain.image).sum(axis=-1)
        rows, columns = np.indices(difference.shape)
        centre = np.array([(columns * difference).sum(), (rows * difference).sum()]) / difference.sum()
        assert np.hypot(*(centre - plain.points[index])) < 1, index


def test_the_head_covers_its_points(renderer: FaceRenderer) -> None:
    """Against a second backdrop only what the head does not cover changes."""
    other = replace(renderer.identity.backdrop, colours=((255.0, 0.0, 255.0),) * 3)
    second = FaceRenderer(replace(renderer.identity, backdrop=other), size_px=256)
    for state in STATES:
        one, two = renderer.render(state), second.render(state)
        background = (one.image != two.image).any(axis=-1)
        assert background.mean() > 0.2
        inner = one.points[17:].round().astype(int)
        assert not background[inner[:, 1], inner[:, 0]].any()


def test_turning_the_other_way_mirrors_the_points(renderer: FaceRenderer) -> None:
    right = renderer.render(FaceState(yaw_degrees=20)).points
    left = renderer.render(FaceState(yaw_degrees=-20)).points
    mirrored = 255 - left[[45, 42, 39, 36, 30, 54, 48], 0]
    np.testing.assert_allclose(right[[36, 39, 42, 45, 30, 48, 54], 0], mirrored, atol=0.6)


@pytest.mark.parametrize(("track", "axis"), [("yaw_degrees", 0), ("pitch_degrees", 1), ("roll_degrees", 2)])
def test_pose_has_the_signs_of_head_pose(renderer: FaceRenderer, track: str, axis: int) -> None:
    angles = []
    for value in (-15.0, 0.0, 15.0):
        points = renderer.render(replace(FaceState(), **{track: value})).points
        angles.append(head_pose(points, frame_width=256, frame_height=256)[axis])
    assert angles[1] - angles[0] > 5
    assert angles[2] - angles[1] > 5


def test_rotations_are_rotations() -> None:
    matrix = rotation_matrix(SPEAKING)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)


def test_the_mouth_shows_its_inside_as_it_opens(renderer: FaceRenderer) -> None:
    """Counted in pixels that differ from the closed mouth, inside the outline of the inner lips."""
    closed = renderer.render(FaceState()).image.astype(int)
    areas = []
    for opening in (0.2, 0.4, 0.6, 0.8, 1.0):
        face = renderer.render(FaceState(mouth_open=opening))
        mask = cv2.fillPoly(np.zeros((256, 256), np.uint8), [face.points[60:68].round().astype(np.int32)], 1)
        changed = np.abs(face.image - closed).sum(axis=-1) > 60
        areas.append(int((changed & (mask > 0)).sum()))
    assert areas[0] > 5
    assert (np.diff(areas) > 5).all()


def test_the_chin_goes_down_with_the_jaw(renderer: FaceRenderer) -> None:
    closed, wide = (renderer.render(FaceState(mouth_open=value)).points for value in (0.0, 1.0))
    assert wide[8, 1] - closed[8, 1] > 10
    np.testing.assert_allclose(wide[17:48], closed[17:48], atol=1e-3)


def test_closed_eyes_show_no_gaze(renderer: FaceRenderer) -> None:
    def change(eye_open: float) -> int:
        left, right = (
            renderer.render(FaceState(eye_open=eye_open, gaze_x=gaze)).image.astype(int)
            for gaze in (-1.0, 1.0)
        )
        return int((np.abs(left - right).sum(axis=-1) > 60).sum())

    assert change(1.0) > 60
    assert change(0.0) <= 4


def test_gaze_moves_the_iris(renderer: FaceRenderer) -> None:
    left, right = (renderer.render(FaceState(gaze_x=value)) for value in (-1.0, 1.0))
    x0, x1 = (int(value) for value in left.points[[36, 39], 0])
    y = int(left.points[[37, 41], 1].mean())

    def dark(face: RenderedFace) -> float:
        row = 255.0 - face.image[y - 1 : y + 2, x0 + 2 : x1 - 1].mean(axis=(0, 2))
        weight = np.clip(row - row.min(), 0, None) ** 2
        return float((weight * np.arange(len(weight))).sum() / weight.sum())

    assert dark(right) > dark(left) + 2


def test_two_hundred_people_are_whole() -> None:
    for seed in range(200):
        renderer = FaceRenderer(draw_identity(seed), size_px=64)
        for part in (renderer._radius, renderer._surface):
            assert np.isfinite(part).all(), seed
        face = renderer.render(SPEAKING)
        assert np.isfinite(face.points).all(), seed
        assert face.image.std() > 8, seed


@pytest.mark.parametrize("size_px", [32, 65, 128, 193])
def test_any_size_and_a_head_half_out_of_the_picture(size_px: int) -> None:
    renderer = FaceRenderer(draw_identity(2), size_px=size_px)
    for shift_x, shift_y in ((0.0, 0.0), (0.6, 0.0), (-0.6, 0.5), (0.0, -0.9), (0.0, 2.0)):
        image = renderer.render(FaceState(shift_x=shift_x, shift_y=shift_y, scale=1.3)).image
        assert image.shape == (size_px, size_px, 3)


def test_only_half_of_the_picture_at_half_zoom() -> None:
    near, far = (
        FaceRenderer(draw_identity(2), size_px=128, zoom=zoom).render(FaceState()).points
        for zoom in (0.36, 0.18)
    )
    assert np.ptp(near[:, 1]) == pytest.approx(2 * np.ptp(far[:, 1]), rel=0.02)
