"""Faces as clips have them: several, leaving and coming back, half hidden, small, cut off, mirrored.

Made from the talking man, so that where the points belong is known: where they are in the untouched clip,
moved as the picture was. They need the face models (`megactor weights pull mediapipe-face`), and fail
without them.
"""

import cv2
import numpy as np
import pytest

from megactor_core.faces.landmarks import detect_landmarks

GREY = 90
FACE_PX = 46
"""Width of his face in the clip."""


def placed(frame: np.ndarray, *, width: int, height: int, x: int, y: int = 0) -> np.ndarray:
    """The frame on a grey canvas with its corner at (x, y), which may lie outside."""
    shift = np.array([[1, 0, x], [0, 1, y]], dtype=np.float64)
    return cv2.warpAffine(frame, shift, (width, height), flags=cv2.INTER_NEAREST, borderValue=(GREY,) * 3)


def scaled(frame: np.ndarray, scale: float) -> np.ndarray:
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(frame, None, fx=scale, fy=scale, interpolation=method)


def worst_error(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest mean distance of a frame's points from where they belong, in face widths."""
    errors = np.linalg.norm(found - expected[: len(found)], axis=2).mean(axis=1)
    return float(np.nanmax(errors)) / FACE_PX


@pytest.fixture(scope="module")
def points(talking_man: list[np.ndarray]) -> np.ndarray:
    """Where his points are, (40, 68, 2)."""
    return detect_landmarks(talking_man[:40]).points


def test_two_faces_that_swap_sizes_keep_their_names(talking_man: list[np.ndarray]) -> None:
    """The larger face of the first frame shrinks while the other grows: the choice is not made anew."""
    frames = []
    for i, shrink in enumerate(np.linspace(0, 0.5, 20)):
        canvas = np.full((200, 480, 3), GREY, np.uint8)
        for x, part in (
            (0, scaled(talking_man[i], 1.3 - shrink)),
            (240, scaled(talking_man[i][:, ::-1], 0.8 + shrink)),
        ):
            canvas[: part.shape[0], x : x + part.shape[1]] = part
        frames.append(canvas)
    first, second = detect_landmarks(frames), detect_landmarks(frames, face=1)
    assert first.found.all()
    assert second.found.all()
    assert (first.points[..., 0] < 230).all()
    assert (second.points[..., 0] > 240).all()
    assert (first.faces_in_frame == 2).all()
    width = np.ptp(np.stack([first.points, second.points])[..., 0], axis=2)
    assert width[0, 0] > 1.3 * width[1, 0]
    assert width[1, -1] > 1.3 * width[0, -1]


@pytest.mark.parametrize("speed_px", [8, 20], ids=["slow", "0.4 face widths a frame"])
def test_a_face_that_leaves_the_picture_and_returns(
    talking_man: list[np.ndarray], points: np.ndarray, speed_px: int
) -> None:
    """Scrolled out to the left and in again: one gap, and the right place before and after it."""
    out = [-speed_px * k for k in range(1, 200 // speed_px + 1)]
    xs = [0, 0, 0, *out, *out[::-1], 0, 0, 0]
    frames = [placed(talking_man[i % 40], width=176, height=144, x=x) for i, x in enumerate(xs)]
    track = detect_landmarks(frames)
    edges = np.flatnonzero(np.diff(track.found.astype(int)))
    assert len(edges) == 2, "one gap"
    assert track.found[:3].all()
    assert track.found[-3:].all()
    gone = np.array(xs) < -66 - FACE_PX  # his face starts at x = 66
    assert not track.found[gone].any()
    assert (track.faces_in_frame <= 1).all(), "no ghost stays behind"
    whole = np.array(xs) >= -66
    assert track.found[whole].all()
    expected = np.stack([points[i % 40] + [x, 0] for i, x in enumerate(xs)])
    assert worst_error(track.points[whole], expected[whole]) < 0.05


def test_a_blanked_stretch_is_a_gap_and_the_face_is_the_same(
    talking_man: list[np.ndarray], points: np.ndarray
) -> None:
    shown = [frame if not 5 <= i < 12 else np.full_like(frame, GREY) for i, frame in enumerate(talking_man)]
    track = detect_landmarks(shown[:20])
    assert track.found.tolist() == [not 5 <= i < 12 for i in range(20)]
    assert worst_error(track.points, points) < 0.05


@pytest.mark.parametrize("squeeze", [0.7, 0.5])
def test_a_narrow_face_as_in_half_profile(
    talking_man: list[np.ndarray], points: np.ndarray, squeeze: float
) -> None:
    frames = [
        cv2.resize(frame, None, fx=squeeze, fy=1, interpolation=cv2.INTER_AREA) for frame in talking_man[:10]
    ]
    track = detect_landmarks(frames)
    assert track.found.all()
    assert worst_error(track.points, (points + 0.5) * [squeeze, 1] - 0.5) < 0.1


@pytest.mark.parametrize("hidden", ["mouth", "eyes", "left half", "right half"])
def test_a_partly_covered_face(talking_man: list[np.ndarray], points: np.ndarray, hidden: str) -> None:
    def cover(frame: np.ndarray, face: np.ndarray) -> np.ndarray:
        nose_x, mouth_y = int(face[27:31, 0].mean()), int(face[48:, 1].min())
        rows, columns = {
            "mouth": (slice(mouth_y - 3, None), slice(None)),
            "eyes": (slice(int(face[17:27, 1].min()) - 3, int(face[36:48, 1].max()) + 3), slice(None)),
            "left half": (slice(None), slice(None, nose_x)),
            "right half": (slice(None), slice(nose_x, None)),
        }[hidden]
        covered = frame.copy()
        covered[rows, columns] = GREY
        return covered

    track = detect_landmarks(
        [cover(frame, face) for frame, face in zip(talking_man[:10], points, strict=False)]
    )
    assert track.found.all()
    assert worst_error(track.points, points) < 0.2


def test_tiny_faces_in_a_large_frame(talking_man: list[np.ndarray], points: np.ndarray) -> None:
    """Two faces 18 and 23 pixels wide in 1280 x 720: 3 % of the short side; the larger is followed."""
    frames = []
    for frame in talking_man[:10]:
        canvas = placed(scaled(frame, 0.5), width=1280, height=720, x=900, y=300)
        canvas[100:158, 200:270] = scaled(frame, 0.4)
        frames.append(canvas)
    track = detect_landmarks(frames)
    assert track.found.all()
    assert worst_error(track.points, (points + 0.5) * 0.5 - 0.5 + [900, 300]) < 0.05


@pytest.mark.parametrize(("side", "cut"), [("left", 0.2), ("left", 0.4), ("bottom", 0.2), ("bottom", 0.6)])
def test_a_face_cut_off_by_the_border(
    talking_man: list[np.ndarray], points: np.ndarray, side: str, cut: float
) -> None:
    """Cut by a share of the face's width: found, and what is not to be seen lies beyond the border."""
    low, high = points[0].min(axis=0), points[0].max(axis=0)
    x = int(low[0] + cut * FACE_PX) if side == "left" else 0
    bottom = int(high[1] - cut * FACE_PX) if side == "bottom" else 144
    track = detect_landmarks([np.ascontiguousarray(frame[:bottom, x:]) for frame in talking_man[:10]])
    assert track.found.all()
    assert worst_error(track.points, points - [x, 0]) < 0.1
    beyond = track.points[0, :, 0].min() < -0.5 if side == "left" else track.points[0, :, 1].max() > bottom
    assert beyond


def test_a_mirrored_clip_has_mirrored_points(talking_man: list[np.ndarray], points: np.ndarray) -> None:
    """The mirrored subject's right eye is on the picture's left again: points keep their meaning."""
    track = detect_landmarks([np.ascontiguousarray(frame[:, ::-1]) for frame in talking_man[:10]])
    mirror = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, *range(35, 30, -1)]
    mirror += [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    mirror += [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
    expected = points[:, mirror]
    expected[..., 0] = 175 - expected[..., 0]
    assert track.found.all()
    assert worst_error(track.points, expected) < 0.06
