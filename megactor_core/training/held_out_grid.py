"""The held-out clips as something to look at: a grid that moves, and a sheet of it.

Shape legend:  F frames   S side of the picture in pixels
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from megactor_core.media.image import contact_sheet, write_image
from megactor_core.media.video_writer import VideoWriter
from megactor_core.training.held_out import AnimatedClip

FOLDER = "validation"
VIDEO_FPS = Fraction(25)
TILE_PX = 128
SHEET_FRAMES = 4
"""Frames of each clip on the sheet."""


def write_grid(clips: Sequence[AnimatedClip], folder: Path, *, step: int) -> Path:
    """Write step-N.mp4, a column a clip, and step-N.png with some of its frames; the video's path."""
    folder.mkdir(exist_ok=True)
    video = folder / f"step-{step:08d}.mp4"
    grids = [_grid(clips, [frame]) for frame in range(_frames(clips))]
    height, width = grids[0].shape[:2]
    with VideoWriter(video, video_fps=VIDEO_FPS, width=width, height=height) as writer:
        for grid in grids:
            writer.write(grid)
    shown = np.linspace(0, _frames(clips) - 1, SHEET_FRAMES).round().astype(int).tolist()
    write_image(video.with_suffix(".png"), _grid(clips, shown))
    return video


def mean_psnr_db(clips: Sequence[AnimatedClip]) -> dict[str, float]:
    """Of each mode, over the clips."""
    return {mode: float(np.mean([clip.psnr_db[mode] for clip in clips])) for mode in clips[0].psnr_db}


def _frames(clips: Sequence[AnimatedClip]) -> int:
    return min(len(clip.target) for clip in clips)


def _grid(clips: Sequence[AnimatedClip], frames: Sequence[int]) -> np.ndarray:
    """Rows portrait, target and the modes with their means; columns frames, with their clip's numbers."""
    shown = [(clip, frame) for clip in clips for frame in frames]
    rows = {
        "portrait": [clip.portrait for clip, _ in shown],
        "target": [clip.target[frame] for clip, frame in shown],
    }
    for mode, decibels in mean_psnr_db(clips).items():
        rows[f"{mode}  {decibels:.1f} dB"] = [clip.animated[mode][frame] for clip, frame in shown]
    labels = [" / ".join(f"{decibels:.1f}" for decibels in clip.psnr_db.values()) for clip, _ in shown]
    return _even(
        contact_sheet(list(rows.values()), row_labels=list(rows), column_labels=labels, tile_px=TILE_PX)
    )


def _even(picture: np.ndarray) -> np.ndarray:
    """H.264 takes even sides."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
