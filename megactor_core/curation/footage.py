"""The frames of a clip, decoded once for all gates that look at them."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import numpy as np

from megactor_core.curation.part import Part

VIDEO_FPS: Final = Fraction(25)
"""Frames a second at which clips are measured: SyncNet's."""


class Footage:
    """Iterating gives every frame (H, W, 3) uint8 RGB, `sampled` some of them, as often as one likes.

    The first pass decodes and keeps the frames. Where they are more than `held_bytes`, it keeps those that
    are `sampled` alone, and each pass over all of them decodes again; where even those are too many, each
    pass over them does too. `decodes` counts.
    """

    def __init__(self, part: Part, *, sample_seconds: float, held_bytes: int) -> None:
        self.decodes = 0
        self.damaged_packets = 0
        self._part = part
        self._sample_seconds = sample_seconds
        self._held_bytes = held_bytes
        self._all: list[np.ndarray] | None = None
        self._some: list[tuple[float, np.ndarray]] | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        return self._decode() if self._all is None else iter(self._all)

    def sampled(self) -> Iterator[tuple[float, np.ndarray]]:
        """The frames that are shown at multiples of `sample_seconds`, with their times; the first always."""
        if self._some is not None:
            return iter(self._some)
        return ((seconds, frame) for seconds, frame, is_sampled in self._timed(self) if is_sampled)

    def _decode(self) -> Iterator[np.ndarray]:
        self.decodes += 1
        damaged = [0]
        kept, some = _Store(self._held_bytes), _Store(self._held_bytes)
        frames = self._part.frames(video_fps=VIDEO_FPS, damaged=damaged)
        for seconds, frame, is_sampled in self._timed(frames):
            kept.add(frame, (seconds, frame))
            if is_sampled:
                some.add(frame, (seconds, frame))
            yield frame
        self.damaged_packets = max(damaged)
        self._all = None if kept.items is None else [frame for _, frame in kept.items]
        self._some = some.items

    def _timed(self, frames: "Iterator[np.ndarray] | Footage") -> Iterator[tuple[float, np.ndarray, bool]]:
        due = 0
        for number, frame in enumerate(frames):
            is_sampled = number >= round(due * self._sample_seconds * VIDEO_FPS)
            due += is_sampled
            yield number / float(VIDEO_FPS), frame, is_sampled


class _Store:
    """Frames up to so many bytes; None once they were more."""

    def __init__(self, most_bytes: int) -> None:
        self.items: list[tuple[float, np.ndarray]] | None = []
        self._room = most_bytes

    def add(self, frame: np.ndarray, item: tuple[float, np.ndarray]) -> None:
        self._room -= frame.nbytes
        if self._room < 0:
            self.items = None
        elif self.items is not None:
            self.items.append(item)
