"""Landmarks on real pictures: the right points, on the right person, for as long as the person is there.

These tests need the face models and fail without them (`megactor weights pull mediapipe-face`).
"""

import os
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from megactor_core.errors import FaceError, MediaError
from megactor_core.faces.headpose import head_pose
from megactor_core.faces.landmarks import Face, FaceTrack, detect_faces, detect_landmarks

REAL = os.environ.get("MEGACTOR_TEST_DATA")
SINGLE_SHOT = (
    "hdtf_sadtalker_WDA_KatieHill_000.mp4",
    "latentsync_demo1_video.mp4",
    "liveportrait_d0.mp4",
    "liveportrait_d10.mp4",
    "megactor_audio_CHTF_2.mp4",
    "megactor_audio_ENTF_1.mp4",
    "mochabench/1_man_guitar.mp4",
    "mochabench/4_man_reading.mp4",
    "mochabench/example_video.avi",
)
PORTRAITS = {
    "facerec_obama.jpg": 1,
    "facerec_two_people.jpg": 2,
    "hallo_3.jpg": 1,
    "liveportrait_s4.jpg": 1,
    "megactor_source_10.png": 1,
    "megactor_source_4.png": 1,
    "mocha_4_man_reading.png": 1,
    "skimage_astronaut.png": 1,
}


def on_canvas(frame: np.ndarray, *, width: int, height: int, x: int, y: int) -> np.ndarray:
    canvas = np.full((height, width, 3), 90, np.uint8)
    canvas[y : y + frame.shape[0], x : x + frame.shape[1]] = frame
    return canvas


def two_people(frame: np.ndarray) -> np.ndarray:
    """The man on the left and, mirrored and smaller, on the right."""
    small = cv2.resize(frame[:, ::-1], (132, 108), interpolation=cv2.INTER_AREA)
    canvas = on_canvas(frame, width=340, height=144, x=0, y=0)
    canvas[20:128, 200:332] = small
    return canvas


def blank_left(frame: np.ndarray) -> np.ndarray:
    hidden = frame.copy()
    hidden[:, :180] = 90
    return hidden


def assert_ibug_layout(points: np.ndarray, frame: tuple[int, int]) -> None:
    """Where the features of a roughly frontal face lie relative to each other, once its lean is undone."""
    roll = np.radians(head_pose(points, frame_width=frame[0], frame_height=frame[1])[2])
    points = points @ np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    right_eye, left_eye = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    mouth, chin, tip = points[48:68].mean(axis=0), points[8], points[30]
    assert right_eye[0] < tip[0] < left_eye[0]
    assert points[17:22].mean(axis=0)[1] < right_eye[1] < tip[1] < mouth[1] < chin[1]
    assert points[22:27].mean(axis=0)[1] < left_eye[1]
    assert points[36, 0] < points[39, 0] < points[42, 0] < points[45, 0]
    assert points[48, 0] < points[51, 0] < points[54, 0]
    assert points[51, 1] < points[57, 1]
    assert (np.diff(points[27:31, 1]) > 0).all(), "the nose bridge runs down"
    assert (np.diff(points[31:36, 0]) > 0).all(), "the nostrils run to the right"
    assert (np.diff(points[17:27, 0]) > 0).all(), "the brows run to the right"
    assert (np.diff(points[:9, 1]) > 0).all(), "the jaw runs down to the chin"
    assert (np.diff(points[8:17, 1]) < 0).all(), "and up again"


@pytest.fixture(scope="module")
def track(talking_man: list[np.ndarray]) -> FaceTrack:
    return detect_landmarks(talking_man)


def test_the_talking_man_is_found_in_every_frame(track: FaceTrack, talking_man: list[np.ndarray]) -> None:
    assert track.points.shape == (len(talking_man), 68, 2)
    assert track.points.dtype == np.float32
    assert track.found.mean() >= 0.95
    assert (track.faces_in_frame == 1).mean() >= 0.95
    assert (track.frame_width, track.frame_height) == (176, 144)
    assert (track.scores[track.found] >= 0.5).all()


def test_the_points_are_the_right_features_in_ibug_order(track: FaceTrack) -> None:
    for points in track.points[::10]:
        assert_ibug_layout(points, (track.frame_width, track.frame_height))


def test_the_mouth_points_open_with_the_mouth(track: FaceTrack) -> None:
    """The man speaks: his inner lips part and close, more than his eye-to-eye distance ever changes."""
    gap = np.linalg.norm(track.points[:, 66] - track.points[:, 62], axis=1)
    eyes = np.linalg.norm(track.points[:, 45] - track.points[:, 36], axis=1)
    assert np.ptp(gap / eyes) > 0.1


def test_the_result_does_not_depend_on_threads_or_on_earlier_clips(
    track: FaceTrack, talking_man: list[np.ndarray]
) -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(3)
        again = detect_landmarks(talking_man[:20])
    finally:
        cv2.setNumThreads(before)
    np.testing.assert_array_equal(again.points, track.points[:20])


def test_a_shifted_picture_has_shifted_points(talking_man: list[np.ndarray]) -> None:
    frame = talking_man[0]
    a = detect_faces(on_canvas(frame, width=260, height=240, x=10, y=30))[0].points
    b = detect_faces(on_canvas(frame, width=260, height=240, x=61, y=71))[0].points
    assert np.abs(b - a - np.array([51, 41])).max() < 1.5


def test_an_enlarged_picture_has_enlarged_points(talking_man: list[np.ndarray]) -> None:
    frame = talking_man[0]
    small = detect_faces(frame)[0].points
    large = detect_faces(cv2.resize(frame, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC))[0].points
    assert np.linalg.norm((large + 0.5) / 6 - 0.5 - small, axis=1).mean() < 1


def test_a_small_face_in_a_large_frame_is_found(talking_man: list[np.ndarray]) -> None:
    frame = cv2.resize(talking_man[0], (88, 72), interpolation=cv2.INTER_AREA)
    faces = detect_faces(on_canvas(frame, width=1280, height=720, x=900, y=300))
    assert len(faces) == 1
    expected = detect_faces(talking_man[0])[0].points / 2 + np.array([900, 300])
    assert np.linalg.norm(faces[0].points - expected, axis=1).mean() < 2


def test_faces_come_largest_first_with_the_box_of_their_points(talking_man: list[np.ndarray]) -> None:
    faces = detect_faces(two_people(talking_man[0]))
    assert len(faces) == 2
    assert faces[0].box[0] < 176 < faces[1].box[0]
    for face in faces:
        np.testing.assert_allclose(face.box, [*face.points.min(axis=0), *face.points.max(axis=0)])
        assert isinstance(face.score, float)


def test_the_chosen_face_is_followed_and_never_exchanged(talking_man: list[np.ndarray]) -> None:
    """The large face disappears for ten frames: lost, not replaced by the small one, and found again."""
    pair = [two_people(frame) for frame in talking_man[:30]]
    shown = [blank_left(frame) if 10 <= i < 20 else frame for i, frame in enumerate(pair)]
    large = detect_landmarks(shown)
    assert large.found.tolist() == [not 10 <= i < 20 for i in range(30)]
    assert (large.points[large.found][..., 0] < 180).all()
    assert large.faces_in_frame.tolist() == [1 if 10 <= i < 20 else 2 for i in range(30)]
    small = detect_landmarks(shown, face=1)
    assert small.found.all()
    assert (small.points[..., 0] > 180).all()


def test_a_newcomer_elsewhere_is_not_the_lost_face(talking_man: list[np.ndarray]) -> None:
    """The first man leaves before the second comes: the track stays lost rather than jump to him."""
    first = [on_canvas(frame, width=600, height=150, x=0, y=0) for frame in talking_man[:5]]
    second = [on_canvas(frame, width=600, height=150, x=420, y=0) for frame in talking_man[:10]]
    track = detect_landmarks([*first, *second])
    assert track.found.tolist() == [True] * 5 + [False] * 10
    assert track.faces_in_frame.tolist() == [1] * 15


def test_frames_before_the_face_are_lost_frames(talking_man: list[np.ndarray]) -> None:
    empty = np.full_like(talking_man[0], 90)
    track = detect_landmarks([empty, empty, *talking_man[:3]])
    assert track.found.tolist() == [False, False, True, True, True]
    assert np.isnan(track.points[:2]).all()
    assert (track.scores[:2] == 0).all()


def test_noise_and_emptiness_show_no_face() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    assert detect_faces(noise) == []
    assert detect_faces(np.zeros((1, 1, 3), np.uint8)) == []
    assert not detect_landmarks([np.zeros((64, 64, 3), np.uint8)] * 2).found.any()


def test_frames_are_consumed_one_by_one(talking_man: list[np.ndarray]) -> None:
    """Streaming: a frame is asked for only after the one before was worked on, and none is kept."""
    done: list[int] = []

    def frames() -> Iterator[np.ndarray]:
        for index, frame in enumerate(talking_man[:5]):
            assert len(done) == index
            yield frame

    detect_landmarks(frames(), on_frame=done.append)
    assert done == [1, 2, 3, 4, 5]


def test_a_single_face_needs_no_choice(talking_man: list[np.ndarray]) -> None:
    chosen = detect_landmarks(talking_man[:3], face=1)
    assert np.array_equal(chosen.points, detect_landmarks(talking_man[:3]).points)


def test_wrong_input_is_one_error(talking_man: list[np.ndarray]) -> None:
    frame = talking_man[0]
    with pytest.raises(MediaError, match="no frames"):
        detect_landmarks([])
    with pytest.raises(MediaError, match="Frame 1 is 100x144, but the frames before it are 176x144"):
        detect_landmarks([frame, frame[:, :100]])
    with pytest.raises(MediaError, match="uint8"):
        detect_faces(frame.astype(np.float32))
    with pytest.raises(FaceError, match=r"Face 3 was asked for .* shows 2"):
        detect_landmarks([np.concatenate([frame, frame], axis=1)], face=3)
    with pytest.raises(FaceError, match="counted from 0"):
        detect_landmarks([frame], face=-1)


def test_the_head_pose_of_a_real_face_mirrors_with_the_picture(talking_man: list[np.ndarray]) -> None:
    def pose(image: np.ndarray) -> np.ndarray:
        face: Face = detect_faces(image)[0]
        return head_pose(face.points, frame_width=176, frame_height=144)

    yaw, pitch, roll = pose(talking_man[60])
    mirrored_yaw, mirrored_pitch, mirrored_roll = pose(np.ascontiguousarray(talking_man[60][:, ::-1]))
    assert abs(roll) > 5, "the man leans his head, so the sign is visible"
    np.testing.assert_allclose([mirrored_yaw, mirrored_pitch, mirrored_roll], [-yaw, pitch, -roll], atol=5)


def decoded(path: Path) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(REAL is None, reason="MEGACTOR_TEST_DATA is not set")
@pytest.mark.parametrize("name", SINGLE_SHOT)
def test_a_real_single_shot_clip_has_landmarks_in_95_percent_of_its_frames(name: str) -> None:
    track = detect_landmarks(decoded(Path(REAL or "") / "driving" / name))
    assert track.found.mean() >= 0.95
    assert (track.faces_in_frame == 1).mean() >= 0.95


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(REAL is None, reason="MEGACTOR_TEST_DATA is not set")
def test_the_mean_head_angle_agrees_with_an_independent_network() -> None:
    """FSA-Net's mean of max(|yaw|, |pitch|, |roll|) over every 10th frame of this clip is 9.66 degrees."""
    frames = list(decoded(Path(REAL or "") / "driving" / "hdtf_sadtalker_WDA_KatieHill_000.mp4"))[::10]
    points = np.stack([detect_faces(frame)[0].points for frame in frames])
    angles = np.abs(head_pose(points, frame_width=512, frame_height=512)).max(axis=1)
    assert angles.mean() == pytest.approx(9.66, abs=2.5)


@pytest.mark.real
@pytest.mark.skipif(REAL is None, reason="MEGACTOR_TEST_DATA is not set")
@pytest.mark.parametrize("name", sorted(PORTRAITS))
def test_every_real_portrait_shows_its_faces(name: str) -> None:
    image = np.asarray(Image.open(Path(REAL or "") / "portraits" / name).convert("RGB"))
    faces = detect_faces(image)
    assert len(faces) == PORTRAITS[name]
    for face in faces:
        assert_ibug_layout(face.points, (image.shape[1], image.shape[0]))
