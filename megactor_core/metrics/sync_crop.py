"""The square about a face that SyncNet looks at, from its 68 points: `crop: landmarks`.

Size, padding and smoothing are those of syncnet_python's pipeline; the box it starts from is that of the
points instead of the S3FD detector's, so absolute scores may differ from published ones.

Shape legend:
    F frames   H, W height and width of a frame
"""

from typing import Final

import cv2
import numpy as np
from scipy.ndimage import median_filter

from megactor_core.errors import MetricError
from megactor_core.metrics.syncnet import SIDE_PX

CROP_NAME: Final = "crop: landmarks"
"""Printed with every number that was taken of such crops."""
MEDIAN_FRAMES: Final = 13
PADDING: Final = 0.4
"""Of half a side of the face's box, added to the left and right; twice as much below."""
BORDER_LEVEL: Final = 110
"""Grey level of what lies outside the frame."""


def crop_squares(points: np.ndarray) -> np.ndarray:
    """Where the face is: points (F, 68, 2), NaN where it was lost -> (F, 3) float64.

    A square is centre x, centre y and half the longer side of the points' box, in pixels; where the face was
    lost they are interpolated; each is the median over 13 frames. Raises MetricError where there is no face.
    """
    low, high = points.min(axis=1).astype(np.float64), points.max(axis=1).astype(np.float64)
    squares = np.column_stack([(low + high) / 2, (high - low).max(axis=1) / 2])
    found = np.isfinite(squares).all(axis=1)
    if not found.any():
        raise MetricError("The clip shows no face to crop.", fix="Leave SyncNet out, or give another clip.")
    frames = np.arange(len(squares))
    filled = np.column_stack([np.interp(frames, frames[found], column[found]) for column in squares.T])
    return np.asarray(median_filter(filled, size=(MEDIAN_FRAMES, 1), mode="nearest"))


def crop_face(frame: np.ndarray, square: np.ndarray) -> np.ndarray:
    """The padded square of a frame: (H, W, 3) uint8 and a row of `crop_squares` -> (224, 224, 3) uint8.

    Rows from half a side above the centre to 1.8 of them below, columns 1.4 to each side. Raises MetricError
    for a square outside the frame or of no size.
    """
    x, y, half = (float(value) for value in square)
    margin = int(half * (1 + 2 * PADDING))
    top, bottom = int(margin + y - half), int(margin + y + half * (1 + 2 * PADDING))
    left, right = int(margin + x - half * (1 + PADDING)), int(margin + x + half * (1 + PADDING))
    edges = ((margin, margin), (margin, margin), (0, 0))
    crop = np.pad(frame, edges, constant_values=BORDER_LEVEL)[max(0, top) : bottom, max(0, left) : right]
    if 0 in crop.shape:
        size = f"{frame.shape[1]}x{frame.shape[0]}"
        raise MetricError(
            f"The face at ({x:.0f}, {y:.0f}) lies outside the frame of {size} pixels.",
            fix="Look at the face's landmarks.",
        )
    return np.asarray(cv2.resize(np.ascontiguousarray(crop), (SIDE_PX, SIDE_PX)))
