"""Gate `light_faces`: a first look at the faces, on key frames alone, by the small detector.

It costs a hundredth of looking at every frame. Its rules have guard bands, so that it rejects only what the
measure of record would reject too.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from megactor_core.faces.landmarks import Face, detect_faces


def measure_light_faces(frames: Iterable[np.ndarray], *, second_face_ratio: float) -> dict[str, Any]:
    """How many of the frames show a face, and one alone, and how large it is."""
    found = [detect_faces(frame) for frame in frames]
    counts = np.array([count_faces(faces, second_face_ratio=second_face_ratio) for faces in found])
    sides = [min(box_size(faces[0])) for faces in found if faces]
    return {
        "light_frames": len(found),
        "light_face_share": float((counts > 0).mean()) if found else None,
        "light_single_share": float((counts == 1).mean()) if found else None,
        "light_face_px": float(np.median(sides)) if sides else None,
    }


def count_faces(faces: Sequence[Face], *, second_face_ratio: float) -> int:
    """Faces, largest first, without those that are too small beside the largest to be anyone present."""
    sides = [max(box_size(face)) for face in faces]
    return sum(side >= second_face_ratio * max(sides) for side in sides)


def box_size(face: Face) -> tuple[float, float]:
    """Width and height in pixels of the box of the 68 points."""
    x0, y0, x1, y1 = face.box
    return x1 - x0, y1 - y0
