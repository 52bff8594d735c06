"""The part of a video file that is a clip: the whole file, or what lies between two moments."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from megactor_core.config.media import MediaLimits
from megactor_core.engine.stage import Row
from megactor_core.media.audio import Sound, read_sound
from megactor_core.media.key_frames import PacketScan, read_key_frames, scan_packets
from megactor_core.media.video import VideoInfo, probe_video, read_video


@dataclass(frozen=True, slots=True)
class Part:
    """A clip, and every way to read it. All readers raise MediaError where the file cannot be read."""

    path: Path
    start_seconds: float
    end_seconds: float | None
    """None: to the file's end."""
    limits: MediaLimits

    @staticmethod
    def of(row: Row, limits: MediaLimits) -> "Part":
        """The clip of a row of the job."""
        return Part(Path(row["source_path"]), row["start_s"] or 0.0, row["end_s"], limits)

    @property
    def seconds(self) -> float | None:
        return None if self.end_seconds is None else self.end_seconds - self.start_seconds

    def probe(self) -> VideoInfo:
        return probe_video(self.path, limits=self.limits)

    def packets(self) -> PacketScan:
        return scan_packets(
            self.path, start_seconds=self.start_seconds, seconds=self.seconds, limits=self.limits
        )

    def key_frames(self, *, every_seconds: float) -> Iterator[np.ndarray]:
        return read_key_frames(
            self.path,
            every_seconds=every_seconds,
            start_seconds=self.start_seconds,
            seconds=self.seconds,
            limits=self.limits,
        )

    def frames(self, *, video_fps: Fraction, damaged: list[int]) -> Iterator[np.ndarray]:
        """Frames (H, W, 3) uint8 RGB; the last of `damaged` counts the packets that cannot be decoded."""
        return read_video(
            self.path,
            video_fps=video_fps,
            start_seconds=self.start_seconds,
            seconds=self.seconds,
            limits=self.limits,
            on_skipped=damaged.append,
        )

    def sound(self) -> Sound:
        return read_sound(
            self.path, start_seconds=self.start_seconds, seconds=self.seconds, limits=self.limits
        )
