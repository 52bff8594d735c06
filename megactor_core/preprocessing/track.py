"""First pass over a clip: where the face is in every frame, and the square to cut out of all of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.data.sample import SampleArrays, write_arrays
from megactor_core.engine.stage import Needs, Rejected, Row, WorkerContext
from megactor_core.errors import FaceError, UsageError
from megactor_core.faces.amplitude import rigid_similarity, transform_points
from megactor_core.faces.crop import CropMargins, SquareCrop, portrait_crop
from megactor_core.faces.headpose import head_pose
from megactor_core.faces.landmarks import FaceTrack, detect_landmarks
from megactor_core.faces.regions import region_boxes
from megactor_core.faces.track import fill_lost
from megactor_core.media.video import VideoInfo, probe_video, read_video
from megactor_core.preprocessing import workplace
from megactor_core.preprocessing.sources import text_to_path

CLIP_TIMEOUT_SECONDS = 3600.0
"""For one clip in one stage, whatever its length; `timeout_seconds` sets another."""
TIGHT = 0.5
"""Padding of `region_boxes` that is the points' own box."""


@dataclass(frozen=True, slots=True)
class Track:
    """Finds and follows the face, rejects what shows none, and writes arrays.safetensors.

    Adds the columns frames, source_width, source_height, source_fps, has_sound_stream, faces_max,
    lost_frames, damaged_packets, yaw_abs_mean_degrees, crop_x, crop_y, crop_side.
    """

    name: ClassVar[str] = "track"
    needs: ClassVar[Needs] = Needs(timeout_seconds=CLIP_TIMEOUT_SECONDS)

    config: PreprocessConfig
    samples: Path
    version: str

    def setup(self, worker: WorkerContext) -> None:
        """The back ends load themselves, once a process, when they are first asked."""

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        """One row for each clip, with the folder that its sample grows in."""
        for row in batch:
            facts, arrays = track_clip(row, self.config)
            row = workplace.begin(self.samples, row)
            with workplace.kept_only_if_done(self.samples, row) as folder:
                write_arrays(folder, arrays)
            yield {**row, **facts}


def clip_frames(path: Path, row: Row, config: PreprocessConfig, **options: Any) -> Iterator[np.ndarray]:
    """The frames of the row's part of a video at the samples' rate."""
    start, end = row["start_s"] or 0.0, row["end_s"]
    return read_video(
        path,
        video_fps=config.fps,
        start_seconds=start,
        seconds=None if end is None else end - start,
        limits=config.limits,
        **options,
    )


def track_clip(row: Row, config: PreprocessConfig) -> tuple[dict[str, Any], SampleArrays]:
    """What is measured of a clip, and the arrays of its sample.

    Raises Rejected for a clip that is sound but has no face, or not enough of one, MediaError for one that
    cannot be read, UsageError for one whose row of the manifest is wrong.
    """
    if row["fault"] is not None:
        raise UsageError(row["fault"])
    path = text_to_path(row["source_path"])
    info = probe_video(path, limits=config.limits)
    damaged: list[int] = [0]
    try:
        track = detect_landmarks(
            clip_frames(path, row, config, on_skipped=damaged.append),
            face=config.faces if isinstance(config.faces, int) else "largest",
            back_end=config.landmarks,
        )
    except FaceError as error:
        raise FaceError(f"'{row['source_uri']}': {error.message}", fix=error.fix) from None
    facts = _facts(info, track, damaged_packets=max(damaged))
    _require_good(track, facts, config, promised_frames=_promised_frames(info, row, config))
    crop = portrait_crop(
        track.points,
        frame_width=track.frame_width,
        frame_height=track.frame_height,
        margins=CropMargins(**config.crop.model_dump()),
    )
    arrays = _arrays(track, crop, size_px=config.size)
    facts["yaw_abs_mean_degrees"] = _mean_yaw(arrays)
    return facts | {"crop_x": crop.x, "crop_y": crop.y, "crop_side": crop.side}, arrays


def _facts(info: VideoInfo, track: FaceTrack, *, damaged_packets: int) -> dict[str, Any]:
    return {
        "frames": len(track.found),
        "source_width": track.frame_width,
        "source_height": track.frame_height,
        "source_fps": float(info.video_fps),
        "has_sound_stream": info.has_sound,
        "faces_max": int(track.faces_in_frame.max()),
        "lost_frames": int((~track.found).sum()),
        "damaged_packets": damaged_packets,
    }


def _promised_frames(info: VideoInfo, row: Row, config: PreprocessConfig) -> int:
    """The frames that the row's part would have if the file were as long as its header says."""
    end = info.seconds if row["end_s"] is None else min(row["end_s"], info.seconds)
    return round((end - (row["start_s"] or 0.0)) * config.fps)


def _require_good(
    track: FaceTrack, facts: dict[str, Any], config: PreprocessConfig, *, promised_frames: int
) -> None:
    """Raise Rejected, with a reason that is the same up to a colon for all clips of its kind."""
    frames, spare = len(track.found), 1 - config.min_face_share
    found, crowded = int(track.found.sum()), int((track.faces_in_frame > 1).sum())
    # Damage comes first: it is the reason why a clip is short, where it is both.
    if frames < config.min_frames and frames < (1 - config.max_damaged_share) * promised_frames:
        raise Rejected(f"cut off: {frames} of {promised_frames} frames can be decoded", values=facts)
    if facts["damaged_packets"] > config.max_damaged_share * frames:
        raise Rejected(f"more than {config.max_damaged_share:.0%} of the frames damaged", values=facts)
    if frames < config.min_frames:
        raise Rejected(f"shorter than {config.min_frames} frames", values=facts)
    if not found:
        raise Rejected("no face", values=facts)
    if found < config.min_face_share * frames:
        raise Rejected(f"face in less than {config.min_face_share:.0%} of the frames", values=facts)
    if config.faces == "reject_multiple" and crowded > spare * frames:
        raise Rejected(f"several faces in more than {spare:.0%} of the frames", values=facts)


def _arrays(track: FaceTrack, crop: SquareCrop, *, size_px: int) -> SampleArrays:
    filled = fill_lost(track, policy="interpolate").points
    points = transform_points(crop.to_matrix(size_px), filled).astype(np.float32)
    boxes = region_boxes(points, size_px=size_px, shape="tight", per="frame", divisor=1, padding=TIGHT)
    pose = head_pose(filled, frame_width=track.frame_width, frame_height=track.frame_height)
    motion = rigid_similarity(points[0], points)
    motion[0] = np.eye(2, 3)  # exactly, and not but for rounding
    return SampleArrays(
        points=points,
        found=track.found,
        pose=pose.astype(np.float32),
        regions=np.concatenate([boxes.eyes, boxes.mouth], axis=1),
        motion=motion.astype(np.float32),
    )


def _mean_yaw(arrays: SampleArrays) -> float | None:
    """Over the frames in which the face was found and its pose could be measured."""
    yaw = np.abs(arrays.pose[arrays.found, 0].astype(np.float64))
    measured = yaw[np.isfinite(yaw)]
    return float(measured.mean()) if len(measured) else None
