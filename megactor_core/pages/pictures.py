"""Small pictures for a page: frames side by side as one JPEG of a bounded size.

Shape legend:  H, W height and width of a frame
"""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

WIDEST: Final = 2.0
"""Width over height of a frame; what is wider still is squeezed (ours)."""
_QUALITIES: Final = (85, 70, 55, 40, 25)


def frame_strip(frames: Sequence[np.ndarray], *, height_px: int, most_bytes: int) -> bytes:
    """Frames (H, W, 3) uint8 RGB, at least one, side by side as a JPEG of at most so many bytes.

    The quality goes down until it fits, and then the height: a picture without a meaning may be of any size.
    """
    while True:
        strip = np.concatenate([_small(frame, height_px=height_px) for frame in frames], axis=1)
        for quality in _QUALITIES:
            coded = _jpeg(strip, quality=quality)
            if len(coded) <= most_bytes or height_px == 1:
                return coded
        height_px = max(1, height_px // 2)


def _small(frame: np.ndarray, *, height_px: int) -> np.ndarray:
    """A frame of that height in its own proportions, if these are not extreme."""
    proportion = min(frame.shape[1] / frame.shape[0], WIDEST)
    size = (max(1, round(height_px * proportion)), height_px)
    way = cv2.INTER_AREA if frame.shape[0] >= height_px else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame, size, interpolation=way))


def _jpeg(picture: np.ndarray, *, quality: int) -> bytes:
    bgr = np.ascontiguousarray(picture[..., ::-1])
    _, coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return coded.tobytes()
