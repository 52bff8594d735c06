"""SyncNet's scores of a clip whose frames come one after the other.

Where to crop is the median of the face's place over neighbouring frames, and where the face was lost, what
lies between those before and after. So a frame waits until its crop is settled: six frames, and as long as
the face is lost.

Shape legend:  n frames of a block   T windows
"""

from typing import Final

import numpy as np

from megactor_core.config.evaluate import MetricName
from megactor_core.errors import MetricError
from megactor_core.evaluation.meters import Block, Found, Whole
from megactor_core.metrics.sync_crop import MEDIAN_FRAMES, crop_face, crop_squares
from megactor_core.metrics.syncnet import MEDIAN_FRAMES as COURSE_FRAMES
from megactor_core.metrics.syncnet import (
    SIDE_PX,
    WINDOW_FRAMES,
    SyncNet,
    audio_features,
    lip_features,
    sync_over_time,
    sync_scores,
    window_count,
)

MOST_LOST_FRAMES: Final = 250
"""A face that is lost for longer (10 s) leaves the metric out: the frames wait in memory (ours)."""


class SyncMeter:
    """Sync-C, Sync-D and the offset of the generated clip with its sound."""

    metric: MetricName = "sync"

    def __init__(self, network: SyncNet) -> None:
        self._network = network
        self._points: list[np.ndarray] = []
        self._waiting: list[np.ndarray] = []
        self._crops = np.zeros((0, SIDE_PX, SIDE_PX, 3), np.uint8)
        self._lips: list[np.ndarray] = []

    def add(self, block: Block) -> None:
        assert block.generated_points is not None, "a metric of faces"
        self._points += list(block.generated_points)
        self._waiting += list(block.generated)
        self._crop(settled=self._settled())
        if len(self._waiting) > MOST_LOST_FRAMES + MEDIAN_FRAMES + len(block.generated):
            raise MetricError(f"The face is lost for more than {MOST_LOST_FRAMES} frames.")

    def finish(self, whole: Whole) -> Found:
        sound = whole.require_sound()
        count = window_count(frames=whole.frames, samples=len(sound))
        self._crop(settled=len(self._points))
        lips = np.concatenate(self._lips)[:count]
        heard = audio_features(self._network, sound, windows=count)
        scores = sync_scores(lips, heard)
        # Below its median's window there is no course over time.
        over_time = {"sync_confidence": sync_over_time(lips, heard)} if count >= COURSE_FRAMES else {}
        return Found(
            {"sync_c": scores.confidence, "sync_d": scores.distance, "sync_offset": float(scores.offset)},
            over_time,
        )

    def _settled(self) -> int:
        """Frames whose crop no later frame can change."""
        found = np.flatnonzero([np.isfinite(points).all() for points in self._points])
        return max(0, int(found[-1]) + 1 - MEDIAN_FRAMES // 2) if len(found) else 0

    def _crop(self, *, settled: int) -> None:
        """Crop the waiting frames up to there, and take the features of the windows that are now whole."""
        done = len(self._points) - len(self._waiting)
        count = settled - done
        if count <= 0:
            return
        squares = crop_squares(np.stack(self._points))[done:settled]
        crops = [crop_face(frame, square) for frame, square in zip(self._waiting, squares, strict=False)]
        del self._waiting[:count]
        self._crops = np.concatenate([self._crops, np.stack(crops)])
        if len(self._crops) >= WINDOW_FRAMES:
            self._lips.append(lip_features(self._network, self._crops))
            self._crops = self._crops[len(self._crops) - WINDOW_FRAMES + 1 :]
