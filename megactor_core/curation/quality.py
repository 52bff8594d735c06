"""Gate `quality`: whether the face is sharp, and the picture like a photograph."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from megactor_core.curation.faces import Look
from megactor_core.media.scikit_video import NIQE_LEAST_PX
from megactor_core.metrics.niqe import niqe


def measure_sharpness(looks: Sequence[Look]) -> float | None:
    """The median of the variance of the Laplacian over the frames with a face, else over the pictures."""
    with_face = [look for look in looks if look.face is not None]
    values = [cv2.Laplacian(look.crop, cv2.CV_32F).var() for look in with_face or looks]
    return float(np.median(values)) if values else None


def measure_niqe(frames: Iterable[np.ndarray]) -> float | None:
    """The mean NIQE of the frames (H, W, 3) uint8; None where they are too small for it."""
    values = [float(niqe(frame[np.newaxis])[0]) for frame in frames if min(frame.shape[:2]) >= NIQE_LEAST_PX]
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else None


def spread(total: int, most: int) -> list[int]:
    """Up to `most` numbers below `total`, in the middles of equal stretches."""
    count = min(total, most)
    return [int((k + 0.5) * total / count) for k in range(count)]
