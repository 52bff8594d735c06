"""What the demo's page needs beside the bricks of the evaluation's pages: videos, strips, commands.

Shape legend:  F frames   H, W height and width of a picture
"""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from megactor_core.demo.command import Command
from megactor_core.media.image import side_by_side
from megactor_core.pages.page import Markup, escaped, jpeg, tag

QUALITY: Final = 85
"""Of JPEGs (ours)."""
TILE_PX: Final = 220
"""Width of a video's tile on the page, where there is room (ours)."""
STRIP_PX: Final = 128
"""Height of a strip (ours)."""
_VIDEO_STYLE: Final = "display:block;width:100%;height:auto;border-radius:3px"
_CODE_STYLE: Final = "overflow-x:auto;background:var(--panel);padding:10px 14px;border-radius:8px"


def video(path: Path, columns: Sequence[str]) -> Markup:
    """A video within the page, silent until it is told otherwise, with a caption under each of its tiles."""
    source = f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}"
    # Written here and not by `tag`, which would escape every character of a long harmless text.
    player = Markup(
        f'<video style="{_VIDEO_STYLE}" aria-label="{escaped(", ".join(columns))}" '
        f'controls loop muted autoplay playsinline src="{source}"></video>'
    )
    captions = tag("div", {"class": "times"}, *(tag("span", {}, column) for column in columns))
    width_px = TILE_PX * len(columns)
    return tag("figure", {"style": f"margin:12px 0;max-width:{width_px}px"}, player, captions)


def picture(image: np.ndarray, *, shows: str) -> Markup:
    """A picture (H, W, 3) uint8 RGB, no larger than it is."""
    figure = tag("figure", {"style": f"max-width:{image.shape[1]}px"}, _jpeg(image, shows=shows))
    return tag("div", {"class": "rows"}, figure)


def strips(rows: Sequence[tuple[str, Sequence[np.ndarray]]]) -> Markup:
    """Frames side by side, a row with its caption for each."""
    figures = [
        tag(
            "figure",
            {},
            tag("figcaption", {}, caption),
            _jpeg(side_by_side(frames, height=STRIP_PX), shows=caption),
        )
        for caption, frames in rows
    ]
    return tag("div", {"class": "rows"}, *figures)


def shell(commands: Sequence[Command]) -> Markup:
    """The commands, to be copied."""
    text = "\n".join(command.text() for command in commands)
    return tag("pre", {"style": _CODE_STYLE}, tag("code", {}, Markup(escaped(text))))


def _jpeg(image: np.ndarray, *, shows: str) -> Markup:
    bgr = np.ascontiguousarray(image[..., ::-1])
    _, coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return jpeg(coded.tobytes(), shows=shows)
