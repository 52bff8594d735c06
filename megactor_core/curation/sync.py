"""Gates `sync_screen` and `sync`: SyncNet on a share of a clip's windows, then on the rest of them.

The screen looks at neighbouring windows in the middle of the clip and at the sound around them. What it has
embedded the full score takes over, so that each window passes the network once.

Shape legend:
    T windows of a clip   n of them in the screen   S = 31 shifts
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from megactor_core.metrics.mfcc import mfcc
from megactor_core.metrics.sync_crop import CROP_NAME
from megactor_core.metrics.syncnet import (
    FEATURES,
    MAX_SHIFT_FRAMES,
    SyncNet,
    audio_features_of_parts,
    lip_features_of_parts,
    sync_scores,
    sync_scores_of_part,
    window_count,
)

LEAST_SCREENED: Final = 10
"""Windows of a screen at least, where there are so many (ours)."""


@dataclass(slots=True)
class Windows:
    """A clip's windows and what of them has been embedded."""

    crops: np.ndarray
    """(F, 224, 224, 3) uint8 RGB."""
    coefficients: np.ndarray
    """(J, 13) MFCC of the sound."""
    count: int
    """T."""
    lips: np.ndarray = field(init=False)
    sounds: np.ndarray = field(init=False)
    """(T, 1024) float32 each, NaN where not embedded."""

    def __post_init__(self) -> None:
        self.lips = np.full((self.count, FEATURES), np.nan, np.float32)
        self.sounds = self.lips.copy()

    @staticmethod
    def of(crops: np.ndarray, sound: np.ndarray) -> "Windows":
        """Of crops and mono sound (N,) at 16 kHz; raises MetricError where a clip is too short."""
        count = window_count(frames=len(crops), samples=len(sound))
        return Windows(crops, mfcc(sound), count)

    def screened(self, share: float) -> range:
        """The windows in the middle of the clip that a screen looks at."""
        count = min(self.count, max(LEAST_SCREENED, round(share * self.count)))
        first = (self.count - count) // 2
        return range(first, first + count)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Neighbouring windows that are to be embedded: from what, and where to."""

    source: np.ndarray
    features: np.ndarray
    windows: range


def embed(network: SyncNet, clips: Sequence[Windows], parts: Sequence[range]) -> None:
    """Embed windows of the lips and the sound around them, those that have not been: all clips together."""
    pairs = list(zip(clips, parts, strict=True))
    lips = [
        _Piece(clip.crops, clip.lips, windows)
        for clip, part in pairs
        for windows in _not_yet(clip.lips, part)
    ]
    sounds = [
        _Piece(clip.coefficients, clip.sounds, windows)
        for clip, part in pairs
        for windows in _not_yet(clip.sounds, _around(part, clip.count))
    ]
    _fill(lips, lip_features_of_parts(network, [(piece.source, piece.windows) for piece in lips]))
    _fill(sounds, audio_features_of_parts(network, [(piece.source, piece.windows) for piece in sounds]))


def screen_measures(clip: Windows, part: range) -> dict[str, Any]:
    """The measures of gate `sync_screen`, of windows that are embedded."""
    around = np.pad(clip.sounds, ((MAX_SHIFT_FRAMES, MAX_SHIFT_FRAMES), (0, 0)))
    scores = sync_scores_of_part(
        clip.lips[part.start : part.stop], around[part.start : part.stop + 2 * MAX_SHIFT_FRAMES]
    )
    return {
        "screen_sync_c": scores.confidence,
        "screen_sync_d": scores.distance,
        "screen_offset_frames": scores.offset,
        "screen_windows": len(part),
    }


def full_measures(clip: Windows) -> dict[str, Any]:
    """The measures of gate `sync`, of a clip whose windows are all embedded."""
    scores = sync_scores(clip.lips, clip.sounds)
    return {
        "sync_c": scores.confidence,
        "sync_d": scores.distance,
        "sync_offset_frames": scores.offset,
        "sync_windows": clip.count,
        "sync_crop": CROP_NAME,
    }


def _around(part: range, count: int) -> range:
    """The windows of the sound that the shifts reach."""
    return range(max(0, part.start - MAX_SHIFT_FRAMES), min(count, part.stop + MAX_SHIFT_FRAMES))


def _not_yet(features: np.ndarray, part: range) -> list[range]:
    """The stretches of a part that are not embedded."""
    todo = np.isnan(features[part.start : part.stop, 0])
    edges = np.flatnonzero(np.diff(np.concatenate([[0], todo.astype(np.int8), [0]]))) + part.start
    return [range(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _fill(pieces: Sequence[_Piece], features: Sequence[np.ndarray]) -> None:
    for piece, values in zip(pieces, features, strict=True):
        piece.features[piece.windows.start : piece.windows.stop] = values
