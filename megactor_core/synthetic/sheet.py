"""A contact sheet of a corpus: moments of a few clips as their files show them, with the true points."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from megactor_core.config.synth import SynthConfig
from megactor_core.errors import MediaError
from megactor_core.media.image import contact_sheet, write_image
from megactor_core.media.video import read_video
from megactor_core.synthetic.plan import ClipPlan, plan_clip
from megactor_core.synthetic.truth import read_truth

SOUND_CLIPS = 4
"""Clips without a fault that the sheet shows; of every fault it shows one."""
_SEARCHED_CLIPS = 1000
_MOMENTS, _LONGEST_SECONDS = 6, 6.0
_TILE_PX = 224
_DOT = 11  # radius in sixteenths of a pixel
_POINT_COLOUR, _SECOND_COLOUR = (0, 255, 90), (255, 200, 0)


def write_sheet(path: Path, config: SynthConfig) -> None:
    """Write the sheet of the finished corpus in `config.output`; raises OutputError."""
    plans = list(_shown(config))
    rows = [_tiles(plan.files.video, plan.files.truth, config) for plan in plans]
    labels = [_label(plan) for plan in plans]
    if config.twins and plans:
        rows.insert(1, _tiles(plans[0].twin_files.video, plans[0].twin_files.truth, config))
        labels.insert(1, "its twin")
    write_image(path, contact_sheet(rows, row_labels=labels, tile_px=_TILE_PX))


def _shown(config: SynthConfig) -> Iterator[ClipPlan]:
    """The first clips without a fault, then the first of each kind."""
    plans = [plan_clip(number, config) for number in range(min(config.clips, _SEARCHED_CLIPS))]
    yield from [plan for plan in plans if plan.fault is None][:SOUND_CLIPS]
    if config.faults.enabled:
        for kind in config.faults.kinds:
            yield from [plan for plan in plans if plan.fault_kind == kind][:1]


def _label(plan: ClipPlan) -> str:
    if plan.fault is None:
        return plan.clip_id
    sign = "+" if plan.fault.kind in ("av_offset", "large_rotation") else ""
    size = f" {plan.fault.size:{sign}.3g}" if plan.fault.size else ""
    return f"{plan.clip_id}\n{plan.fault.kind}{size}"


def _tiles(video: Path, truth_path: Path, config: SynthConfig) -> list[np.ndarray]:
    """Moments of a clip, spread over its first seconds; none where the file shows no frame."""
    truth = read_truth(config.output / truth_path)
    frames = min(config.frames, max(1, round(_LONGEST_SECONDS * config.fps)))
    moments = {round(at) for at in np.linspace(0, frames - 1, _MOMENTS)}
    tiles = []
    for frame, image in _decodable(config.output / video, frames):
        if frame in moments:
            second = None if truth.second_points is None else truth.second_points[frame]
            tiles.append(_marked(image, truth.points[frame], second))
    return tiles


def _decodable(video: Path, frames: int) -> Iterator[tuple[int, np.ndarray]]:
    """Frames of a file that may be cut off."""
    try:
        yield from zip(range(frames), read_video(video), strict=False)
    except MediaError:
        return


def _marked(image: np.ndarray, points: np.ndarray, second: np.ndarray | None) -> np.ndarray:
    """The picture at the size of a tile, with points drawn on it."""
    scale = _TILE_PX / image.shape[0]
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    tile = cv2.resize(image, (_TILE_PX, _TILE_PX), interpolation=interpolation)
    for group, colour in ((points, _POINT_COLOUR), (second, _SECOND_COLOUR)):
        if group is not None and np.isfinite(group).all():
            for x, y in (group + 0.5) * scale - 0.5:
                cv2.circle(tile, (round(x * 16), round(y * 16)), _DOT, colour, -1, cv2.LINE_AA, 4)
    return tile
