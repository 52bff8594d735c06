"""Gate `shots`: where one shot ends and the next begins, and whether anything moves at all.

From each frame to the next, the mean change of hue, saturation and value is taken on a small picture. A cut
is a change that stands out from those before and after it (a pan or a waving hand changes much for many
frames) and that lasts: one frame further, on either side, the pictures are still as different, while after
the flash of a camera they are as before. The largest such jumps are kept as scores, so that what counts as a
cut can be decided later.

Shape legend:
    F frames   h, w height and width of the small picture
"""

from collections.abc import Iterable
from typing import Any, Final

import cv2
import numpy as np

MOST_SCORES: Final = 16
"""Jumps that are kept; a clip with so many cuts is no clip by any rule."""
NEIGHBOURS: Final = 2
"""Changes on either side that a jump is compared with (ours; as PySceneDetect's adaptive detector)."""
LEAST_SCORE: Final = 1.0
"""Smaller jumps are noise and not worth keeping."""
_HUES: Final = 180
_MOST_CHANGED_PERCENTILE: Final = 99


def measure_shots(frames: Iterable[np.ndarray], *, video_fps: float, width_px: int) -> dict[str, Any]:
    """Jumps and changes of a clip's frames (H, W, 3) uint8 RGB, which are looked at one by one."""
    jumps: list[float] = []
    over_two: list[float] = []
    changes: list[float] = []
    last: list[np.ndarray] = []
    count = 0
    for frame in frames:
        count += 1
        now = _small(frame, width_px)
        if last:
            difference = _difference(last[-1], now)
            jumps.append(float(difference.mean()))
            changes.append(float(np.percentile(difference[..., 2], _MOST_CHANGED_PERCENTILE)))
        if len(last) == 2:
            over_two.append(float(_difference(last[0], now).mean()))
        last = [*last[-1:], now]
    scores = cut_scores(_lasting(np.array(jumps), np.array(over_two)))
    largest = np.argsort(-scores, kind="stable")[:MOST_SCORES]
    kept = [int(at) for at in largest if scores[at] >= LEAST_SCORE]
    return {
        "frames": count,
        "cut_scores": [round(float(scores[at]), 3) for at in kept],
        "cut_seconds": [round((at + 1) / video_fps, 3) for at in kept],
        "change": float(np.mean(changes)) if changes else None,
    }


def _lasting(jumps: np.ndarray, over_two: np.ndarray) -> np.ndarray:
    """Each jump, but no more than what is left of it a frame later or was there a frame before.

    jumps (F - 1,) from frame to frame, over_two (F - 2,) from each frame to the next but one -> (F - 1,).
    """
    padded = np.concatenate([[np.inf], over_two, [np.inf]]) if len(jumps) else over_two
    return np.minimum(jumps, np.minimum(padded[:-1], padded[1:])) if len(jumps) else jumps


def cut_scores(jumps: np.ndarray) -> np.ndarray:
    """By how much each change exceeds the mean of its neighbours, 0 at least: (F - 1,) -> (F - 1,)."""
    scores = np.zeros(len(jumps))
    for at, jump in enumerate(jumps):
        around = np.concatenate([jumps[max(0, at - NEIGHBOURS) : at], jumps[at + 1 : at + 1 + NEIGHBOURS]])
        scores[at] = max(0.0, jump - around.mean()) if len(around) else jump
    return scores


def _small(frame: np.ndarray, width_px: int) -> np.ndarray:
    """(h, w, 3) float32 hue, saturation and value."""
    height, width = frame.shape[:2]
    size = (min(width_px, width), max(1, round(height * min(width_px, width) / width)))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2HSV), dtype=np.float32)


def _difference(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """(h, w, 3) absolute changes; hue goes round, and has no meaning where there is no colour."""
    difference = np.abs(now - before)
    hue = np.minimum(difference[..., 0], _HUES - difference[..., 0])
    difference[..., 0] = hue * np.minimum(before[..., 1], now[..., 1]) / 255
    return difference
