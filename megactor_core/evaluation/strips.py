"""A few small frames of each pair, kept while the pair is read, so that a report can show it.

Which clips are the best and the worst is known only when all are scored. So every pair keeps a strip, JPEGs
of some 60 KB beside its other arrays, and no file is decoded a second time to be shown.

Shape legend:  n frames of a block   H, W height and width   K frames of the strip
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from megactor_core.evaluation.meters import Block

FRAMES: Final = 6
"""Of a strip (ours)."""
TILE_PX: Final = 128
"""Height of a frame in a strip (ours)."""
WIDEST: Final = 2.0
"""Width over height; what is wider still is squeezed (ours)."""
MOST_BYTES: Final = 40_000
"""Of one picture: the quality goes down until it fits, or to the lowest (ours)."""
_QUALITIES: Final = (88, 75, 60, 40, 20)
_MOST_KEPT: Final = 8 * FRAMES
"""Frames that wait while the length is not known."""
_TIMES, _FIRST, _REAL, _GENERATED = "strip_frames", "strip_first", "strip_real", "strip_generated"


@dataclass(frozen=True, slots=True)
class Strip:
    """Both clips at the same K times."""

    frames: tuple[int, ...]
    """Numbers of the K frames, at the rate that the clips are compared at."""
    first: bytes
    """The first real frame, twice as large: a JPEG, as the others are."""
    real: bytes
    """The real clip's K frames side by side."""
    generated: bytes

    @staticmethod
    def of_arrays(arrays: dict[str, np.ndarray]) -> "Strip | None":
        """The strip among a pair's arrays; None where an earlier version measured the pair."""
        if not {_TIMES, _FIRST, _REAL, _GENERATED} <= arrays.keys():
            return None
        first, real, generated = (arrays[name].tobytes() for name in (_FIRST, _REAL, _GENERATED))
        return Strip(tuple(int(frame) for frame in arrays[_TIMES]), first, real, generated)


class StripKeeper:
    """Takes in all frames of a pair, holds at most 48 small ones of either clip, and gives six of them."""

    def __init__(self) -> None:
        self._first: np.ndarray | None = None
        self._kept: list[tuple[int, np.ndarray, np.ndarray]] = []
        self._stride = 1
        self._frames = 0

    def add(self, block: Block) -> None:
        """The next frames; how many come at once changes nothing."""
        for real, generated in zip(block.real, block.generated, strict=True):
            if self._first is None:
                self._first = _small(real, height=2 * TILE_PX)
            if self._frames % self._stride == 0:
                self._kept.append((self._frames, _small(real), _small(generated)))
            if len(self._kept) > _MOST_KEPT:
                self._kept, self._stride = self._kept[::2], 2 * self._stride
            self._frames += 1

    def arrays(self) -> dict[str, np.ndarray]:
        """The strip as arrays to be kept with the pair's; none without frames."""
        if self._first is None:
            return {}
        chosen = np.linspace(0, len(self._kept) - 1, min(FRAMES, len(self._kept))).round().astype(int)
        frames, real, generated = zip(*(self._kept[index] for index in chosen), strict=True)
        return {
            _TIMES: np.array(frames, dtype=np.int64),
            _FIRST: _jpeg(self._first),
            _REAL: _jpeg(np.concatenate(real, axis=1)),
            _GENERATED: _jpeg(np.concatenate(generated, axis=1)),
        }


def _small(frame: np.ndarray, *, height: int = TILE_PX) -> np.ndarray:
    """A frame (H, W, 3) of that height in its own proportions, if these are not extreme."""
    proportion = min(frame.shape[1] / frame.shape[0], WIDEST)
    size = (max(1, round(height * proportion)), height)
    way = cv2.INTER_AREA if frame.shape[0] >= height else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame, size, interpolation=way))


def _jpeg(picture: np.ndarray) -> np.ndarray:
    """The bytes of an RGB picture as a JPEG, (bytes,) uint8."""
    bgr = np.ascontiguousarray(picture[..., ::-1])
    for quality in _QUALITIES:
        _, coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if len(coded) <= MOST_BYTES:
            break
    return np.asarray(coded, dtype=np.uint8).reshape(-1)
