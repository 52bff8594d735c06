"""Several clips as one video, tile beside tile, so that they keep in step whatever the player does.

Shape legend:  F frames   H, W height and width of a frame
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import repeat
from pathlib import Path
from typing import Final

import numpy as np

from megactor_core.media.audio import read_sound
from megactor_core.media.image import read_image, side_by_side
from megactor_core.media.video import read_video
from megactor_core.media.video_writer import VideoWriter

CRF: Final = 21
"""Constant rate factor: small files for a page, still clean (ours)."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A clip, or a still picture, and what is written under it."""

    caption: str
    source: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Montage:
    """Tiles in a row, one video at least among them; as long as the shortest."""

    output: Path
    tiles: tuple[Tile, ...]
    sound: Path | None
    video_fps: Fraction
    tile_px: int = 128

    @property
    def captions(self) -> tuple[str, ...]:
        return tuple(tile.caption for tile in self.tiles)

    def make(self) -> Path:
        """Write the video unless it is there already and newer than its tiles; its path.

        Raises MediaError where a tile cannot be read, OutputError where the video cannot be written.
        """
        if self._is_there():
            return self.output
        sound = None if self.sound is None else read_sound(self.sound)
        writer = VideoWriter(
            self.output,
            video_fps=self.video_fps,
            width=self.tile_px * len(self.tiles),
            height=self.tile_px,
            sound=sound,
            crf=CRF,
        )
        with writer:
            for frames in zip(*map(self._frames, self.tiles), strict=False):
                writer.write(side_by_side(frames, height=self.tile_px))
        return self.output

    def _is_there(self) -> bool:
        if not self.output.is_file():
            return False
        made = self.output.stat().st_mtime_ns
        return all(tile.source.stat().st_mtime_ns <= made for tile in self.tiles)

    def _frames(self, tile: Tile) -> Iterator[np.ndarray]:
        """Squares are taken as they are; anything else is cut to its middle."""
        if tile.source.suffix == ".png":
            return repeat(_square(read_image(tile.source)))
        return map(_square, read_video(tile.source, video_fps=self.video_fps))


def moments(path: Path, *, video_fps: Fraction, count: int, last: int) -> list[np.ndarray]:
    """`count` frames of a clip, spread evenly over its first `last` ones."""
    wanted = set(np.linspace(0, last - 1, count).round().astype(int).tolist())
    frames = read_video(path, video_fps=video_fps)
    return [_square(frame) for number, frame in zip(range(last), frames, strict=False) if number in wanted]


def _square(frame: np.ndarray) -> np.ndarray:
    side = min(frame.shape[:2])
    top, left = (frame.shape[0] - side) // 2, (frame.shape[1] - side) // 2
    return frame[top : top + side, left : left + side]
