"""A pair of clips, read once: both decoded side by side, landmarks found, and their sound.

Shape legend:  n frames of a block   F frames compared   H, W height and width   N samples at 16 kHz
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from megactor_core.config.evaluate import EvaluateConfig
from megactor_core.errors import MediaError
from megactor_core.evaluation.feature_cache import Tape
from megactor_core.evaluation.meters import Block
from megactor_core.evaluation.pairing import Pair
from megactor_core.faces.landmarks import LandmarkTracker
from megactor_core.media.audio import WHISPER_HZ, read_sound, to_mono
from megactor_core.media.container import open_container
from megactor_core.media.video import read_video

Side = Literal["generated", "real"]
SIDES: tuple[Side, ...] = ("generated", "real")

ASPECT_OFF = 0.02
"""Relative difference of the clips' proportions that is still taken for rounding (ours)."""


@dataclass(slots=True)
class PairReading:
    """The blocks of a pair; once they are all read, what was found on the way."""

    pair: Pair
    config: EvaluateConfig
    wants_faces: bool
    points_tape: Tape
    """The real clip's landmarks."""
    start_seconds: float = 0.0
    """Where both clips are read from."""
    frames: int = 0
    longer: Side | None = None
    """The clip that goes on where the other ends."""
    width: int = 0
    height: int = 0
    damaged: dict[Side, int] = field(default_factory=dict)
    """Packets that could not be decoded."""
    _points: dict[Side, list[np.ndarray]] = field(default_factory=lambda: {side: [] for side in SIDES})

    def blocks(self) -> Iterator[Block]:
        """Both clips, `batch_size` frames at a time, to the end of the shorter one.

        Raises MediaError where one cannot be read, where their sizes differ and no common one is asked for,
        and where their lengths differ and must not.
        """
        trackers = {side: LandmarkTracker(back_end=self.config.landmarks) for side in self._tracked_sides()}
        pairs = self._side_by_side()
        while taken := list(islice(pairs, self.config.batch_size)):
            frames = {"generated": [g for g, _ in taken], "real": [r for _, r in taken]}
            for side, tracker in trackers.items():
                self._points[side] += [tracker.advance(frame) for frame in frames[side]]
            start, self.frames = self.frames, self.frames + len(taken)
            yield Block(
                real=np.stack(frames["real"]),
                generated=np.stack(frames["generated"]),
                real_points=self._points_of("real", start),
                generated_points=self._points_of("generated", start),
            )
        self._keep_points()

    def points(self, side: Side) -> np.ndarray | None:
        """The landmarks of a clip, (F, 68, 2); None where no metric asks for them."""
        return self._points_of(side, 0) if self.wants_faces else None

    @property
    def real_is_whole(self) -> bool:
        """Whether the real clip was read to its end."""
        return self.longer != "real"

    def _tracked_sides(self) -> tuple[Side, ...]:
        if not self.wants_faces:
            return ()
        return ("generated",) if self.points_tape.is_whole else SIDES

    def _points_of(self, side: Side, start: int) -> np.ndarray | None:
        if not self.wants_faces:
            return None
        known = self.points_tape.known
        if side == "real" and self.points_tape.is_whole and known is not None:
            return known[start : self.frames]
        return np.stack(self._points[side][start : self.frames])

    def _keep_points(self) -> None:
        # Faces are followed from frame to frame: what is known of a beginning cannot be taken up again.
        if self.wants_faces and self.real_is_whole and not self.points_tape.is_whole:
            self.points_tape.take(self.frames, lambda known: np.stack(self._points["real"][known:]))
            self.points_tape.save(whole=True)

    def _side_by_side(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        generated = self._decoded(self.pair.generated, "generated")
        real = self._decoded(self.pair.real, "real")
        done = 0
        while True:
            made, true = next(generated, None), next(real, None)
            if made is None or true is None:
                break
            yield self._of_one_size(made, true)
            done += 1
        if made is not None or true is not None:
            self.longer = "real" if made is None else "generated"
            self._require_length_may_differ(done)

    def _decoded(self, path: Path, side: Side) -> Iterator[np.ndarray]:
        def note(skipped: int) -> None:
            self.damaged[side] = skipped

        return read_video(
            path,
            video_fps=self.config.fps,
            start_seconds=self.start_seconds,
            limits=self.config.limits,
            on_skipped=note,
        )

    def _of_one_size(self, made: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = self.pair.size or self.config.size
        if not self.width:
            self._require_comparable(made, true, size)
            self.height, self.width = (size, size) if size else made.shape[:2]
        return resized(made, size), resized(true, size)

    def _require_comparable(self, made: np.ndarray, true: np.ndarray, size: int | None) -> None:
        if size is None and made.shape != true.shape:
            raise MediaError(
                f"'{self.pair.generated}' is {made.shape[1]}x{made.shape[0]}, but its real clip "
                f"'{self.pair.real}' is {true.shape[1]}x{true.shape[0]}.",
                fix=f"Give --size {min(made.shape[:2])} to compare both at that size.",
            )
        shapes = [frame.shape[1] / frame.shape[0] for frame in (made, true)]
        if abs(shapes[0] / shapes[1] - 1) > ASPECT_OFF:
            raise MediaError(
                f"'{self.pair.generated}' has the proportions {shapes[0]:.3f}, its real clip "
                f"{shapes[1]:.3f}: they do not show the same part of the picture.",
                fix="Crop both alike.",
            )

    def _require_length_may_differ(self, frames: int) -> None:
        if self.config.length == "equal":
            raise MediaError(
                f"'{self.pair.name}': the {self.longer} clip goes on after {frames} frames at "
                f"{self.config.fps} fps, where the other ends.",
                fix="Cut both to one length, or use `--set length=shorter`.",
            )


def resized(frame: np.ndarray, size: int | None) -> np.ndarray:
    """A frame as a square of `size` pixels: areas where it shrinks, bicubic where it grows."""
    if size is None or frame.shape[:2] == (size, size):
        return frame
    shrinks = min(frame.shape[:2]) >= size
    way = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame, (size, size), interpolation=way))


@dataclass(frozen=True, slots=True)
class PairSound:
    """The sound of a pair: (N,) mono at 16 kHz, where it came from, and why there is none."""

    samples: np.ndarray | None
    source: Literal["generated", "real", "own file"] | None
    reason: str = ""


def read_pair_sound(pair: Pair, config: EvaluateConfig, *, start_seconds: float = 0.0) -> PairSound:
    """The sound that was named with the pair, else the generated clip's own, else the real one's.

    It begins at `start_seconds`, as the pictures do.
    """
    sound = _pair_sound(pair, config)
    if sound.samples is None:
        return sound
    return replace(sound, samples=sound.samples[round(start_seconds * WHISPER_HZ) :])


def _pair_sound(pair: Pair, config: EvaluateConfig) -> PairSound:
    if pair.sound is not None:
        return _read(pair.sound, "own file", config)
    for side, path in (("generated", pair.generated), ("real", pair.real)):
        if _has_sound(path, config):
            return _read(path, "generated" if side == "generated" else "real", config)
    return PairSound(None, None, "Neither clip has sound.")


def _has_sound(path: Path, config: EvaluateConfig) -> bool:
    """By the header alone: no frame is decoded once more."""
    with open_container(path, limits=config.limits) as container:
        return bool(container.streams.audio)


def _read(path: Path, source: Literal["generated", "real", "own file"], config: EvaluateConfig) -> PairSound:
    try:
        samples = to_mono(read_sound(path, limits=config.limits), audio_hz=WHISPER_HZ)
    except MediaError as error:
        return PairSound(None, None, error.message)
    return PairSound(samples, source)
