"""Small frames of the few clips that a report shows, read once and kept beside the journal.

They are read by a job of their own, in a worker: a file that crashes or hangs a decoder costs its own picture
and nothing else. Its journal holds the pictures, some kilobytes of text each, so that deciding again has
them without decoding, and a picture that could not be had says why.
"""

import base64
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from megactor_core.config.curate import CurateConfig
from megactor_core.config.media import MediaLimits
from megactor_core.curation.manifest import Judged
from megactor_core.curation.output import PICTURES
from megactor_core.curation.part import Part
from megactor_core.curation.sources import content_of
from megactor_core.engine.job import run_job
from megactor_core.engine.journal import Journal
from megactor_core.engine.stage import ROW_ID, ROW_VERSION, Needs, Row, WorkerContext
from megactor_core.errors import Interrupted, MediaError, UsageError
from megactor_core.pages.pictures import frame_strip

FRAMES: Final = 3
"""Moments of a clip, evenly spread; the key frame at or before each is shown (ours)."""
TILE_PX: Final = 96
"""Height of a frame (ours)."""
MOST_BYTES: Final = 9_000
"""Of a clip's picture (ours)."""
MOST_HELD: Final = 5_000
"""Pictures that are kept; when there are more, all are forgotten (ours)."""
_MOMENT_SECONDS: Final = 0.04
_NOT_KEPT: Final = "No frame of it was kept; the next run without --decide has one."
_JPEG: Final = "jpeg"
_THERE: Final = "there"


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG, or why there is none."""

    jpeg: bytes | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class TakePicture:
    """Reads some key frames of a clip."""

    name: ClassVar[str] = "picture"
    version: ClassVar[str] = "1"
    needs: ClassVar[Needs] = Needs(timeout_seconds=30.0)

    limits: MediaLimits

    def setup(self, worker: WorkerContext) -> None:
        """Nothing to load."""

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        """One row for each clip, with its picture as text."""
        for row in batch:
            if content_of(Path(row["source_path"])).version != row["content_version"] and row[_THERE]:
                raise MediaError(f"'{row['source_path']}' has changed since it was measured.")
            frames = _key_frames(Part.of(row, self.limits), seconds=row["seconds"])
            jpeg = frame_strip(frames, height_px=TILE_PX, most_bytes=MOST_BYTES)
            yield {**row, _JPEG: base64.b64encode(jpeg).decode()}


def take_pictures(clips: Sequence[Judged], config: CurateConfig) -> None:
    """Read frames of the clips that have no picture yet; what cannot be read has its reason instead.

    Raises Interrupted where it is stopped; OutputError and MegActorError where the disk fails.
    """
    folder = config.output / PICTURES
    rows = [_row(clip) for clip in clips]
    here = config.updated(
        engine="local", ray_address=None, workers=0 if config.workers == 0 else 1, devices=()
    )
    try:
        try:
            if len(Journal(folder).finished()[0]) > MOST_HELD:
                shutil.rmtree(folder)
            run_job([TakePicture(config.limits)], rows, journal=Journal(folder), config=here)
        except UsageError:
            # Not what this version keeps there; it holds nothing that cannot be had again.
            shutil.rmtree(folder, ignore_errors=True)
            run_job([TakePicture(config.limits)], rows, journal=Journal(folder), config=here)
    except KeyboardInterrupt:
        raise Interrupted(
            "Interrupted; all clips are decided on, but the report is not written.",
            fix="Run the same command again to have it.",
        ) from None


def kept_pictures(clips: Sequence[Judged], output: Path) -> dict[str, Picture]:
    """A picture, or why there is none, for each of the clips by its clip_id; nothing is decoded."""
    found = {row[ROW_ID]: row for row in Journal(output / PICTURES).results(clip.clip_id for clip in clips)}
    return {clip.clip_id: _picture(clip, found.get(clip.clip_id)) for clip in clips}


def _row(clip: Judged) -> Row:
    row = clip.row
    names = (ROW_ID, "source_path", "start_s", "end_s", "content_version")
    # A file that was away is tried again when it is back.
    is_there = os.path.exists(row["source_path"])
    return {
        **{name: row[name] for name in names},
        "seconds": clip.measures.get("seconds"),
        _THERE: is_there,
        ROW_VERSION: f"{row['content_version']} {is_there}",
    }


def _picture(clip: Judged, found: Mapping[str, Any] | None) -> Picture:
    if found is None or found["content_version"] != clip.row["content_version"]:
        return Picture(None, _NOT_KEPT)
    if found["status"] != "ok":
        return Picture(None, f"No picture: {found['error']}")
    with suppress(ValueError, KeyError, TypeError):
        return Picture(base64.b64decode(found[_JPEG], validate=True))
    return Picture(None, _NOT_KEPT)


def _key_frames(part: Part, *, seconds: float | None) -> list[np.ndarray]:
    """The key frames at some moments, each once; raises MediaError where there is none."""
    frames: list[np.ndarray] = []
    error: MediaError | None = None
    for number in range(FRAMES):
        offset = (number + 0.5) / FRAMES * (seconds or 0.0)
        start = part.start_seconds + offset
        moment = Part(part.path, start, start + _MOMENT_SECONDS, part.limits)
        try:
            frame = next(moment.key_frames(every_seconds=1.0), None)
        except MediaError as raised:
            error = raised
            continue
        if frame is not None and not any(np.array_equal(frame, other) for other in frames):
            frames.append(frame)
    if not frames:
        raise error or MediaError(f"'{part.path}' has no key frame that can be decoded.")
    return frames
