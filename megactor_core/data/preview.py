"""A sheet of training samples to look at: what the model is given, and what is asked of it.

Shape legend:
    F target frames   S side of the picture in pixels   N = (S / 16)^2 tokens
"""

from collections.abc import Sequence

import numpy as np
from einops import rearrange, repeat
from torch import Tensor

from megactor_core.data.batch import Item
from megactor_core.media.image import contact_sheet

TILE_PX = 128
_EYES = (60, 150, 255)
_MOUTH = (255, 90, 60)
_TINT = 0.45


def preview_sheet(items: Sequence[Item]) -> np.ndarray:
    """A row a sample, (H, W, 3) uint8: reference, then target, driving picture and masks of some frames.

    Masks: eye tokens blue, mouth tokens red, latents that the loss leaves out black. Frames are the first and
    the last of a clip. Samples of stored latents show their driving picture and masks alone.
    """
    rows = [_row(item) for item in items]
    columns = ["reference"] if items[0].reference is not None else []
    for _ in _shown_frames(items[0]):
        columns += [*(["target"] if items[0].target is not None else []), "driving", "masks"]
    return contact_sheet(
        rows, row_labels=[_label(item) for item in items], column_labels=columns, tile_px=TILE_PX
    )


def _label(item: Item) -> str:
    heard = ", heard" if item.has_audio else ""
    masked = ", eq. 2" if item.mask_active else ""
    return f"{item.index} {item.mode}{heard}{masked}{', null' if item.null else ''}"


def _shown_frames(item: Item) -> list[int]:
    frames = len(item.driving)
    return [0] if frames == 1 else [0, frames - 1]


def _row(item: Item) -> list[np.ndarray]:
    tiles = [] if item.reference is None else [_picture(item.reference / 2 + 0.5)]
    for frame in _shown_frames(item):
        driving = _picture(item.driving[frame])
        target = None if item.target is None else _picture(item.target[frame] / 2 + 0.5)
        tiles += [*([] if target is None else [target]), driving]
        tiles.append(_masked(driving if target is None else target, item, frame))
    return tiles


def _masked(picture: np.ndarray, item: Item, frame: int) -> np.ndarray:
    shown = picture.astype(np.float32)
    for tokens, colour in ((item.eyes, _EYES), (item.mouth, _MOUTH)):
        side = round(tokens.shape[1] ** 0.5)
        mask = _enlarged(rearrange(tokens[frame], "(h w) -> h w", h=side), len(picture))
        shown[mask] = (1 - _TINT) * shown[mask] + _TINT * np.array(colour, np.float32)
    shown[_enlarged(item.loss_weight[frame, 0] == 0, len(picture))] *= 0.25
    return shown.astype(np.uint8)


def _enlarged(cells: Tensor, size_px: int) -> np.ndarray:
    stride = size_px // len(cells)
    return repeat(cells.numpy(), "h w -> (h p) (w q)", p=stride, q=stride)


def _picture(pixels: Tensor) -> np.ndarray:
    """(3, S, S) in [0, 1] -> (S, S, 3) uint8."""
    return (rearrange(pixels, "c h w -> h w c").clamp(0, 1) * 255).round().byte().numpy()
