"""What to do with the frames in which the face was lost."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from megactor_core.errors import FaceError
from megactor_core.faces.landmarks import FaceTrack

LostFacePolicy = Literal["hold", "interpolate", "skip", "fail"]
Treatment = Literal["found", "held", "interpolated", "skipped"]


@dataclass(frozen=True, slots=True)
class FilledTrack:
    """A track after its gaps were treated.

    points (F, 68, 2) float32, NaN only where `driven` is False; driven (F,) bool, False where the frame has
    no visual driver; lost_frames: the indices in which the detector found no face.
    """

    points: np.ndarray
    driven: np.ndarray
    lost_frames: tuple[int, ...]
    frame_width: int
    frame_height: int


def fill_lost(track: FaceTrack, *, policy: LostFacePolicy, video_fps: float | None = None) -> FilledTrack:
    """Treat the lost frames of a track.

    hold: the last known face stays (the first known one before it appears); interpolate: straight lines
    between the neighbours of a gap, held at both ends; skip: the frame has no visual driver; fail: an error.
    `video_fps` only turns the frame number of an error into a time.
    Raises FaceError where no frame has a face, or, with `fail`, for the first lost frame.
    """
    lost = np.flatnonzero(~track.found)
    _require_any_face(track)
    if policy == "fail" and len(lost):
        raise _first_lost(int(lost[0]), lost_count=len(lost), frames=len(track.found), video_fps=video_fps)
    skipped = policy == "skip"
    return FilledTrack(
        points=_interpolated(track) if policy == "interpolate" else _held(track, keep_gaps=skipped),
        driven=track.found.copy() if skipped else np.ones(len(track.found), dtype=bool),
        lost_frames=tuple(int(index) for index in lost),
        frame_width=track.frame_width,
        frame_height=track.frame_height,
    )


def treatments(found: np.ndarray, *, policy: LostFacePolicy) -> list[Treatment]:
    """What `fill_lost` does in each of F frames: found (F,) bool.

    `interpolate` holds where a gap has a face on one side only.
    """
    if policy == "skip":
        return ["found" if there else "skipped" for there in found]
    known = np.flatnonzero(found)
    between = (known[0], known[-1]) if policy == "interpolate" and len(known) else (0, 0)
    return [
        "found" if there else "interpolated" if between[0] < frame < between[1] else "held"
        for frame, there in enumerate(found)
    ]


def _held(track: FaceTrack, *, keep_gaps: bool) -> np.ndarray:
    if keep_gaps:
        return track.points.copy()
    frames = np.arange(len(track.found))
    source = np.maximum.accumulate(np.where(track.found, frames, -1))
    return track.points[np.where(source < 0, np.argmax(track.found), source)]


def _interpolated(track: FaceTrack) -> np.ndarray:
    known = np.flatnonzero(track.found)
    frames = np.arange(len(track.found))
    after = known[np.minimum(np.searchsorted(known, frames), len(known) - 1)]
    before = known[np.maximum(np.searchsorted(known, frames, side="right") - 1, 0)]
    gap = np.maximum(after - before, 1)
    weight = np.where(after > before, (frames - before) / gap, 0.0)[:, np.newaxis, np.newaxis]
    points = (1 - weight) * track.points[before] + weight * track.points[after]
    return points.astype(track.points.dtype)


def _require_any_face(track: FaceTrack) -> None:
    if not track.found.any():
        raise FaceError(
            f"No face was found in any of the {len(track.found)} frames "
            f"({track.frame_width}x{track.frame_height}).",
            fix="Give a clip that shows a face, at least about 40 pixels wide.",
        )


def _first_lost(index: int, *, lost_count: int, frames: int, video_fps: float | None) -> FaceError:
    at = "" if video_fps is None else f" (at {index / video_fps:.2f} s)"
    return FaceError(
        f"The face is lost in frame {index}{at}; {lost_count} of {frames} frames have none.",
        fix="Choose `--on-lost-face hold`, `interpolate` or `skip`.",
    )
