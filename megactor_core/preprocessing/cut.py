"""Second pass over a clip: the crop of every frame as video, the driver's beside it, and the sound."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.data.sample import DRIVER, VIDEO, write_sound
from megactor_core.engine.stage import Needs, Row, WorkerContext
from megactor_core.errors import MediaError
from megactor_core.faces.crop import SquareCrop, crop_image
from megactor_core.media.audio import WHISPER_HZ, Sound, fit_seconds, is_silent, read_sound, to_mono
from megactor_core.media.video_writer import VideoWriter
from megactor_core.preprocessing import workplace
from megactor_core.preprocessing.driver_face import DriverFaces
from megactor_core.preprocessing.sources import text_to_path
from megactor_core.preprocessing.track import CLIP_TIMEOUT_SECONDS, clip_frames

DRIVER_FRAMES_OFF = 1
"""Frames by which a driver may be shorter or longer than its clip: what tools lose at the end (ours)."""
DRIVER_ASPECT_OFF = 0.01
"""Relative difference of proportions between a driver and its clip that rounding of sizes explains (ours)."""

SoundState = Literal["heard", "silent", "none", "unreadable"]


@dataclass(frozen=True, slots=True)
class Cut:
    """Writes video.mp4, driver.mp4 where there is a driver, and sound.flac where there is sound.

    Adds the columns sound, has_audio, has_driver.
    """

    name: ClassVar[str] = "cut"
    needs: ClassVar[Needs] = Needs(timeout_seconds=CLIP_TIMEOUT_SECONDS)

    config: PreprocessConfig
    samples: Path
    version: str

    def setup(self, worker: WorkerContext) -> None:
        """Nothing to load."""

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        """One row for each clip."""
        for row in batch:
            with workplace.kept_only_if_done(self.samples, row) as folder:
                sound = self._cut(row, folder)
            yield {
                **row,
                "sound": sound,
                "has_audio": sound == "heard",
                "has_driver": row["driver_path"] is not None,
            }

    def _cut(self, row: Row, folder: Path) -> SoundState:
        clip = text_to_path(row["source_path"])
        crop = SquareCrop(row["crop_x"], row["crop_y"], row["crop_side"])
        pictures = (
            crop_image(frame, crop, size_px=self.config.size) for frame in clip_frames(clip, row, self.config)
        )
        _write_video(folder / VIDEO, pictures, frames=row["frames"], config=self.config)
        if row["driver_path"] is not None:
            path = text_to_path(row["driver_path"])
            faces = DriverFaces(folder, config=self.config)
            driver = faces.watch(_driver_pictures(path, row, crop, self.config))
            _write_video(folder / DRIVER, driver, frames=row["frames"], config=self.config)
            faces.require(path)
        return _write_sound(folder, clip, row, self.config)


def _write_video(
    path: Path, pictures: Iterator[np.ndarray], *, frames: int, config: PreprocessConfig
) -> None:
    with VideoWriter(
        path,
        video_fps=config.fps,
        width=config.size,
        height=config.size,
        gop_frames=config.gop_frames,
        crf=config.crf,
        threads=1,
    ) as video:
        for picture in pictures:
            video.write(picture)
        if video.frames != frames:
            raise MediaError(
                f"The clip of '{path.parent.name}' gave {frames} frames when it was read first, "
                f"and {video.frames} now.",
                fix="It changed in between: run the command again.",
            )


def _driver_pictures(
    path: Path, row: Row, crop: SquareCrop, config: PreprocessConfig
) -> Iterator[np.ndarray]:
    """The driver's frames in the clip's crop; one that is missing at the end is the last one again.

    Raises MediaError for a driver of other proportions or another length.
    """
    wanted, picture, got = int(row["frames"]), None, 0
    for frame in clip_frames(path, row, config):
        got += 1
        if got <= wanted:
            picture = crop_image(frame, _scaled(crop, frame, row, path), size_px=config.size)
            yield picture
        elif got > wanted + DRIVER_FRAMES_OFF:
            break
    if picture is None or abs(got - wanted) > DRIVER_FRAMES_OFF:
        more = "at least " if got > wanted else ""
        raise MediaError(
            f"The driver '{path}' has {more}{got} frames at {config.fps} fps, its clip has {wanted}.",
            fix="A driver is its clip with another face: same length, frame by frame.",
        )
    if got < wanted:
        yield picture


def _scaled(crop: SquareCrop, frame: np.ndarray, row: Row, path: Path) -> SquareCrop:
    """The crop in a driver's frame, which may be larger or smaller than the clip's."""
    height, width = frame.shape[:2]
    scale_x, scale_y = width / row["source_width"], height / row["source_height"]
    if abs(scale_x / scale_y - 1) > DRIVER_ASPECT_OFF:
        raise MediaError(
            f"The driver '{path}' is {width} x {height}, but its clip is "
            f"{row['source_width']} x {row['source_height']}.",
            fix="A driver has the proportions of its clip.",
        )
    return SquareCrop(
        x=(crop.x + 0.5) * scale_x - 0.5, y=(crop.y + 0.5) * scale_y - 0.5, side=crop.side * scale_x
    )


def _write_sound(folder: Path, clip: Path, row: Row, config: PreprocessConfig) -> SoundState:
    if not row["has_sound_stream"]:
        return "none"
    seconds = Fraction(row["frames"]) / config.fps
    try:
        sound = read_sound(
            clip, start_seconds=row["start_s"] or 0.0, seconds=float(seconds), limits=config.limits
        )
    except MediaError:
        return "unreadable"
    if is_silent(sound):
        return "silent"
    write_sound(folder, _exactly(sound, seconds=seconds), audio_hz=WHISPER_HZ)
    return "heard"


def _exactly(sound: Sound, *, seconds: Fraction) -> np.ndarray:
    """Mono at 16 kHz, exactly round(seconds * 16000) samples."""
    mono: Any = to_mono(fit_seconds(sound, seconds=float(seconds)), audio_hz=WHISPER_HZ)
    samples = Sound(mono[:, np.newaxis], WHISPER_HZ)
    return fit_seconds(samples, seconds=float(seconds)).samples[:, 0]
