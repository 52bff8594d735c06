"""Steadier landmarks: smoothing over time that delays nothing."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from megactor_core.faces.landmarks import FaceTrack

WINDOW_REACH = 3.0
"""The window ends at this many standard deviations, where its weight is 1 % of the middle's."""


def smooth_track(track: FaceTrack, *, seconds: float, video_fps: float) -> FaceTrack:
    """The track with the jitter of its landmarks averaged away (not in the paper).

    Every point becomes the value, at its own frame, of the straight line that fits its neighbours best under
    a centred Gaussian window with a standard deviation of `seconds`; 0 returns the track itself. Frames
    before and after weigh the same, so nothing lags; steady motion passes unchanged, up to the very first and
    last frame. Lost frames stay lost, and nothing is averaged across them.
    """
    if seconds == 0:
        return track
    points = track.points.copy()
    for run in _runs(track.found):
        points[run] = _local_line(track.points[run], sigma_frames=seconds * video_fps)
    return replace(track, points=points)


def _runs(found: np.ndarray) -> Iterator[slice]:
    """The stretches of frames without a gap."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], found, [False]]).astype(int)))
    for start, stop in edges.reshape(-1, 2):
        yield slice(int(start), int(stop))


def _local_line(values: np.ndarray, *, sigma_frames: float) -> np.ndarray:
    """Local linear regression along the first axis: (n, ...) -> (n, ...) float64."""
    from scipy.ndimage import correlate1d  # smoothing is off by default, and this import takes a while

    reach = min(math.ceil(WINDOW_REACH * sigma_frames), len(values) - 1)
    offset = np.arange(-reach, reach + 1, dtype=np.float64)
    window = np.exp(-0.5 * (offset / sigma_frames) ** 2)

    def moment(of: np.ndarray, order: int) -> np.ndarray:
        return correlate1d(of, window * offset**order, axis=0, mode="constant")

    values = values.astype(np.float64)
    ones = np.ones((len(values),) + (1,) * (values.ndim - 1))
    weight, lean, spread = (moment(ones, order) for order in range(3))
    # The lean is zero in the middle of a run, where this is the plain weighted mean. At its ends the window
    # is cut off, and the slope term puts back what a mean would lose of the motion.
    spread = np.where(spread > 0, spread, 1.0)  # a run of one frame has no slope
    numerator = moment(values, 0) - lean / spread * moment(values, 1)
    return numerator / (weight - lean**2 / spread)
