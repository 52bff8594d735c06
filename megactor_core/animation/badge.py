"""The visible badge: who sees the video learns at its start that a model made it.

Shape legend:  S side of the picture   h, w height and width of the badge
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import ceil
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from megactor_core.config.animate import AnimateConfig, BadgePlacement

TEXT: Final = "AI GENERATED"
SHORT_TEXT: Final = "AI"
"""The wordings of the European Union's icons (Code of Practice of June 2026); the short one is for pictures
that the other does not fit into."""

# Sizes are ours, chosen by looking at 64 to 1024 px.
_FONT_PER_SIDE: Final = 1 / 20
_FONT_MIN_PX: Final = 9
_ONE_LINE_FROM_PX: Final = 96
"""Below this side the words stand one above the other: in one line they would be as wide as the picture."""
_BOTH_WORDS_FROM_PX: Final = 64
_PADDING_PER_FONT: Final = 0.4
_MARGIN_PER_SIDE: Final = 1 / 40
_PAPER: Final = (16, 16, 16)
_INK: Final = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Badge:
    """Which frames of a clip carry the badge: the first `frames`."""

    placement: BadgePlacement
    frames: int
    video_fps: Fraction
    side_px: int

    @staticmethod
    def of(config: AnimateConfig, *, frames: int, side_px: int) -> "Badge":
        """The badge of a clip of so many frames of S = `side_px` pixels."""
        match config.badge:
            case "always":
                carrying = frames
            case "start":
                # As written: 0.2 s are five frames at 25 fps, whatever its float is.
                seconds = Fraction(str(config.badge_seconds))
                carrying = min(frames, ceil(seconds * config.fps))
            case "off":
                carrying = 0
        return Badge(config.badge, carrying, config.fps, side_px)

    def on(self, number: int, frame: np.ndarray) -> np.ndarray:
        """Frame `number`, (S, S, 3) uint8, with the badge where it carries one; `frame` stays as it is."""
        if number >= self.frames:
            return frame
        badge, margin = picture(self.side_px), round(self.side_px * _MARGIN_PER_SIDE)
        right = self.side_px - margin
        h, w = badge.shape[:2]
        marked = frame.copy()
        marked[margin : margin + h, right - w : right] = badge
        return marked

    def to_json(self) -> dict[str, Any]:
        """As the video states it."""
        return {
            "placement": self.placement,
            "text": " ".join(_lines(self.side_px)) if self.frames else None,
            "frames": self.frames,
            "until_seconds": float(self.frames / self.video_fps),
        }


@cache
def picture(side_px: int) -> np.ndarray:
    """The badge for a picture of that side, (h, w, 3) uint8: white on black, so that it reads on anything."""
    font_px = max(_FONT_MIN_PX, side_px * _FONT_PER_SIDE)
    padding = max(2, round(font_px * _PADDING_PER_FONT)) if side_px >= _ONE_LINE_FROM_PX else 2
    inks = [_line(line, font_px) for line in _lines(side_px)]
    width = max(ink.shape[1] for ink in inks) + 2 * padding
    height = sum(len(ink) + padding for ink in inks) + padding
    badge = np.full((height, width, 3), _PAPER, dtype=np.uint8)
    top = padding
    for ink in inks:
        left = (width - ink.shape[1]) // 2
        badge[top : top + len(ink), left : left + ink.shape[1]] = ink
        top += len(ink) + padding
    badge.flags.writeable = False
    return badge


def _lines(side_px: int) -> list[str]:
    if side_px < _BOTH_WORDS_FROM_PX:
        return [SHORT_TEXT]
    return [TEXT] if side_px >= _ONE_LINE_FROM_PX else TEXT.split()


def _line(text: str, font_px: float) -> np.ndarray:
    """White text on black, no larger than its letters."""
    font = ImageFont.load_default(size=font_px)
    left, top, right, bottom = map(round, font.getbbox(text))
    line = Image.new("RGB", (right - left, bottom - top), _PAPER)
    ImageDraw.Draw(line).text((-left, -top), text, fill=_INK, font=font)
    return np.array(line)
