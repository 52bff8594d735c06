"""NIQE: how far the statistics of a picture are from those of natural photographs; lower is better.

No reference and no network: Mittal, Soundararajan and Bovik 2013, as scikit-video computes it.
"""

import numpy as np

from megactor_core.faces.regions import LUMA
from megactor_core.media import scikit_video
from megactor_core.media.scikit_video import NIQE_LEAST_PX
from megactor_core.metrics.frames import require_frames, require_side


def niqe(frames: np.ndarray) -> np.ndarray:
    """NIQE of each frame's luma, rounded to whole numbers: (F, H, W, 3) uint8 -> (F,) float64.

    The statistics are those of patches of 96 pixels: of frames with few of them they are uncertain, so
    compare only numbers of frames of one size.
    Raises MetricError where these are no frames, or a side is below 194 pixels.
    """
    require_frames(frames)
    require_side(frames, metric="NIQE", least_px=NIQE_LEAST_PX)
    luma = np.rint(frames @ np.array(LUMA)).clip(0, 255).astype(np.uint8)
    return scikit_video.niqe(luma)
