"""Gates `faces` and `motion`: size and rotation of record, on some frames of the clip.

Both detectors give the 68 points of iBUG; the face's box is theirs. Angles come from the rigid points by a
generic head (`faces.headpose`): the paper measures them on landmarks too, and does not say how. The release
knows no degrees: its test of a frontal face, its square and its travel are measured as it does.

Shape legend:
    F frames looked at   G those with a face   68 points
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from megactor_core.config.animate import LandmarkBackEnd
from megactor_core.curation.light_faces import box_size, count_faces
from megactor_core.faces.headpose import head_pose
from megactor_core.faces.landmarks import Face, detect_faces

RIGHT_EYE, LEFT_EYE, NOSE = slice(36, 42), slice(42, 48), slice(30, 36)
FRONTAL_DEGREES: Final = (35, 64)
"""Whole degrees that both angles at the eyes may have [R]."""
NEAR: Final = (6.0, 5.0, 4.0)
"""Sides of the squares, in multiples of the last face's, in which one is looked for again until it is found:
a detector that misses a face of a few pixels often sees it in another enlargement (ours)."""
EARLY: Final = 8
"""Frames before the first face that are kept to be looked at again (ours)."""
SQUARE_LEFT, SQUARE_RIGHT, SQUARE_TOP, SQUARE_BOTTOM = 1.25, 1.25, 1.5, 1.0
"""Margins of the release's square from the face's middle, in multiples of its larger side [R]."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen on one frame."""

    seconds: float
    width: int
    height: int
    count: int
    """Faces, without the tiny ones."""
    face: Face | None
    """The largest."""
    crop: np.ndarray
    """Its box in grey, (h, w) uint8, shrunk to the side that sharpness is measured at; without a face the
    whole picture."""


def look_at(
    frames: Iterable[tuple[float, np.ndarray]],
    *,
    back_end: LandmarkBackEnd,
    second_face_ratio: float,
    crop_side_px: int,
) -> list[Look]:
    """Find the faces on each frame, given with its time in seconds.

    Frames are looked at one by one; where none is found, once more near the closest face before, or near the
    first one after, enlarged by the detector: small faces are overlooked now and then.
    """

    def look(seconds: float, frame: np.ndarray, faces: Sequence[Face]) -> Look:
        return Look(
            seconds=seconds,
            width=frame.shape[1],
            height=frame.shape[0],
            count=count_faces(faces, second_face_ratio=second_face_ratio),
            face=faces[0] if faces else None,
            crop=_grey_crop(frame, faces[0] if faces else None, side_px=crop_side_px),
        )

    looks: list[Look] = []
    last: Face | None = None
    early: deque[tuple[float, np.ndarray]] = deque(maxlen=EARLY)  # the frames before the first face
    for seconds, frame in frames:
        faces = detect_faces(frame, back_end=back_end)
        if not faces and last is not None:
            faces = _near(frame, last, back_end=back_end)
        looks.append(look(seconds, frame, faces))
        if faces and last is None:
            near = faces[0]
            for number, (then, old) in enumerate(reversed(early), start=2):
                again = _near(old, near, back_end=back_end)
                looks[-number] = look(then, old, again)
                near = again[0] if again else near
        if faces:
            last = faces[0]
            early.clear()
        elif last is None:
            early.append((seconds, frame))
    return looks


def measure_faces(looks: Sequence[Look], *, back_end: LandmarkBackEnd, angle_face_px: int) -> dict[str, Any]:
    """Numbers of the clip; sizes and angles are absent where no frame shows a face, or one large enough."""
    counts = np.array([look.count for look in looks])
    seen = [look for look in looks if look.face is not None]
    shares = {
        "face_method": back_end,
        "face_frames": len(looks),
        "face_share": float((counts > 0).mean()),
        "single_share": float((counts == 1).mean()),
        "faces_max": int(counts.max()),
        "square_p10": float(np.percentile([_square_px(look) for look in looks], 10, method="lower")),
    }
    large = [look for look in seen if look.face is not None and box_size(look.face)[0] >= angle_face_px]
    return shares | (_sizes(seen) if seen else {}) | (_angles(large) if large else {})


def measure_motion(looks: Sequence[Look]) -> dict[str, Any]:
    """How far the face goes across the clip; absent where fewer than two frames show it."""
    seen = [(look.seconds, look.face) for look in looks if look.face is not None]
    if len(seen) < 2:
        return {}
    boxes = np.array([face.box for _, face in seen])  # (G, 4)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    size = (boxes[:, 2:] - boxes[:, :2]).mean(axis=0)
    ways = np.linalg.norm(np.diff(middles, axis=0) / size, axis=1)
    return {
        "travel": float((np.ptp(middles, axis=0) / size).max()),
        "speed": float(ways.sum() / (seen[-1][0] - seen[0][0])),
    }


def rotation_degrees(pose: np.ndarray) -> np.ndarray:
    """The angle of the whole rotation: yaw, pitch and roll (..., 3) in degrees -> (...,)."""
    # `head_pose` counts yaw to the picture's right and pitch upwards, the mathematicians the other way.
    signed = pose.reshape(-1, 3) * np.array([-1.0, -1.0, 1.0])
    angles = np.degrees(Rotation.from_euler("YXZ", signed, degrees=True).magnitude())
    return np.asarray(angles).reshape(pose.shape[:-1])


def is_frontal(points: np.ndarray) -> bool:
    """The release's test of a face (68, 2): the angles at the eyes in the triangle of both eyes and nose."""
    right, left, nose = (points[part].mean(axis=0) for part in (RIGHT_EYE, LEFT_EYE, NOSE))
    low, high = FRONTAL_DEGREES
    return all(low <= int(angle) <= high for angle in (_angle(right, left, nose), _angle(left, right, nose)))


def _angle(at: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """The angle at a corner, in degrees."""
    a, b = one - at, other - at
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.degrees(np.arccos(np.clip(a @ b / scale, -1, 1)))) if scale > 0 else 0.0


def _sizes(seen: Sequence[Look]) -> dict[str, float]:
    sizes = np.array([box_size(look.face) for look in seen if look.face is not None])  # (G, 2)
    means, low = sizes.mean(axis=0), np.percentile(sizes, 5, axis=0)
    return {
        "face_width_mean": float(means[0]),
        "face_height_mean": float(means[1]),
        "face_width_p05": float(low[0]),
        "face_height_p05": float(low[1]),
    }


def _angles(seen: Sequence[Look]) -> dict[str, Any]:
    points = np.stack([look.face.points for look in seen if look.face is not None])  # (G, 68, 2)
    pose = head_pose(points, frame_width=seen[0].width, frame_height=seen[0].height)
    pose = pose[np.isfinite(pose).all(axis=1)]
    frontal = {"frontal_share": float(np.mean([is_frontal(face) for face in points]))}
    if not len(pose):
        return frontal
    absolute, whole = np.abs(pose), rotation_degrees(pose)
    yaw, pitch, roll = (float(mean) for mean in absolute.mean(axis=0))
    return frontal | {
        "yaw_mean": yaw,
        "pitch_mean": pitch,
        "roll_mean": roll,
        "rotation_largest_mean": float(absolute.max(axis=1).mean()),
        "rotation_magnitude_mean": float(whole.mean()),
        "rotation_magnitude_p95": float(np.percentile(whole, 95)),
    }


def _square_px(look: Look) -> float:
    """The largest square about the face in the release's margins and the picture; 0 unless it is alone."""
    if look.face is None or look.count != 1:
        return 0.0
    x0, y0, x1, y1 = look.face.box
    x, y, side = (x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0)
    width = min(look.width, x + SQUARE_RIGHT * side) - max(0.0, x - SQUARE_LEFT * side)
    height = min(look.height, y + SQUARE_BOTTOM * side) - max(0.0, y - SQUARE_TOP * side)
    return max(0.0, min(width, height))


def _near(frame: np.ndarray, last: Face, *, back_end: LandmarkBackEnd) -> list[Face]:
    """Faces in a square about the last one; in the frame's own pixels."""
    height, width = frame.shape[:2]
    x0, y0, x1, y1 = last.box
    for near in NEAR:
        half = near * max(box_size(last)) / 2
        left, top = max(0, round((x0 + x1) / 2 - half)), max(0, round((y0 + y1) / 2 - half))
        right, bottom = min(width, round((x0 + x1) / 2 + half)), min(height, round((y0 + y1) / 2 + half))
        part = np.ascontiguousarray(frame[top:bottom, left:right])
        found = detect_faces(part, back_end=back_end) if part.size else []
        if found:
            return [_moved(face, left, top) for face in found]
    return []


def _moved(face: Face, x: int, y: int) -> Face:
    x0, y0, x1, y1 = face.box
    points = face.points + np.array([x, y], dtype=np.float32)
    return Face(points=points, score=face.score, box=(x0 + x, y0 + y, x1 + x, y1 + y))


def _grey_crop(frame: np.ndarray, face: Face | None, *, side_px: int) -> np.ndarray:
    crop = frame
    if face is not None:
        x0, y0, x1, y1 = (round(value) for value in face.box)
        crop = frame[max(0, y0) : max(1, y1 + 1), max(0, x0) : max(1, x1 + 1)]
    if 0 in crop.shape:
        crop = frame
    scale = side_px / max(crop.shape[:2])
    if scale < 1:
        size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY))
