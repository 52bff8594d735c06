"""Boxes of faces, arrays x0, y0, x1, y1 in pixels: which of them can be the same face."""

import numpy as np

SAME_FACE_IOU = 0.3
"""Faces of one picture that overlap more are one face."""
FOLLOW_SHIFT = 0.5
"""A followed face may move by this share of its size from one frame to the next (not in the paper)."""
FOLLOW_GROWTH = 1.6


def box_of(points: np.ndarray) -> np.ndarray:
    """The box (4,) of points (N, 2)."""
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def extent(box: np.ndarray) -> float:
    """The longer side."""
    return float(max(box[2] - box[0], box[3] - box[1]))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """From centre to centre."""
    return float(np.hypot(a[0] + a[2] - b[0] - b[2], a[1] + a[3] - b[1] - b[3])) / 2


def growth(a: np.ndarray, b: np.ndarray) -> float:
    """How many times larger the larger of the two is, at least 1."""
    return max(extent(a), extent(b)) / max(min(extent(a), extent(b)), 1e-6)


def plausible_move(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether a face can have gone from one box to the other within a frame."""
    return distance(before, after) <= FOLLOW_SHIFT * extent(before) and growth(before, after) <= FOLLOW_GROWTH


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return float(common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common))
