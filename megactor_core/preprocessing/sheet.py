"""Samples as people look at them: frames with landmarks, region boxes and the tokens that these cover."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from megactor_core.config.model import TOKEN_STRIDE_PX
from megactor_core.data.sample import IndexRow, Sample
from megactor_core.faces.regions import box_masks, token_mask
from megactor_core.media.image import contact_sheet

MOST_SAMPLES: Final = 8
COLUMNS: Final = ("first", "1/4", "middle", "3/4", "last")
TILE_PX: Final = 224

_FOUND, _FILLED = (80, 230, 80), (255, 160, 0)
_EYES, _MOUTH = (90, 170, 255), (255, 90, 120)
_TINT: Final = 0.35


def sample_sheet(folder: Path, index: Sequence[IndexRow]) -> np.ndarray:
    """Up to eight samples, spread over the index, as rows of five annotated frames: (H, W, 3) uint8."""
    rows = [row for row in index if row.status == "ok"]
    chosen = [rows[k] for k in spread(len(rows), MOST_SAMPLES)]
    samples = [Sample.open(folder / str(row.path)) for row in chosen]
    return contact_sheet(
        [annotated(sample, spread(sample.frames, len(COLUMNS), repeat=True)) for sample in samples],
        row_labels=[_shortened(row.sample_id) for row in chosen],
        column_labels=COLUMNS,
        tile_px=TILE_PX,
    )


def annotated(sample: Sample, frames: Sequence[int]) -> list[np.ndarray]:
    """Frames of a sample with everything drawn that is known of the face; green points were found, orange
    ones filled in; tinted squares are the tokens of the eyes (blue) and the mouth (red)."""
    pictures = sample.read_frames(frames)
    return [_annotate(picture, sample, frame) for picture, frame in zip(pictures, frames, strict=True)]


def spread(total: int, most: int, *, repeat: bool = False) -> list[int]:
    """Up to `most` numbers below `total`, evenly from the first to the last; fewer unless they may repeat."""
    count = most if repeat else min(total, most)
    numbers = np.linspace(0, total - 1, count).round().astype(int) if total else np.zeros(0, int)
    return [int(number) for number in numbers]


def _annotate(picture: np.ndarray, sample: Sample, frame: int) -> np.ndarray:
    size_px = picture.shape[0]
    boxes = sample.regions[frame]
    drawn = picture.copy()
    for box_group, colour in ((boxes[:2], _EYES), (boxes[2:], _MOUTH)):
        drawn = _tinted(drawn, _token_pixels(box_group, size_px), colour)
        for x0, y0, x1, y1 in box_group.round().astype(int):
            cv2.rectangle(drawn, (int(x0), int(y0)), (int(x1), int(y1)), colour, _width(size_px))
    dots = _FOUND if sample.found[frame] else _FILLED
    for x, y in sample.points[frame].round().astype(int):
        cv2.circle(drawn, (int(x), int(y)), _width(size_px), dots, -1)
    return drawn


def _token_pixels(boxes: np.ndarray, size_px: int) -> np.ndarray:
    """(S, S) bool: the squares of the tokens that the boxes touch."""
    side = size_px // TOKEN_STRIDE_PX
    tokens = token_mask(box_masks(boxes[np.newaxis], size_px=size_px), stride_px=TOKEN_STRIDE_PX)
    cells = tokens.reshape(side, side)
    return np.kron(cells, np.ones((TOKEN_STRIDE_PX, TOKEN_STRIDE_PX), dtype=bool)).astype(bool)


def _tinted(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    tint = (1 - _TINT) * picture + _TINT * np.array(colour, dtype=np.float32)
    return np.where(mask[..., np.newaxis], tint, picture).round().astype(np.uint8)


def _width(size_px: int) -> int:
    return max(1, size_px // 200)


def _shortened(name: str, most: int = 22) -> str:
    return name if len(name) <= most else f"{name[: most - 10]}..{name[-8:]}"
