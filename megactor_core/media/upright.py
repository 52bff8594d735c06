"""From a decoded video frame to the upright picture that a player shows."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final, Self

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from megactor_core.config.media import MediaLimits
from megactor_core.errors import MediaError

_UNSPECIFIED_COLORSPACE: Final = 2
# A player's rule for files that do not say how their colours are coded: larger than PAL means BT.709.
_SD_WIDTH, _SD_HEIGHT = 1024, 576


@dataclass(frozen=True, slots=True)
class Turn:
    """The part of a display matrix that moves pixels: swap the axes first, then mirror."""

    swap_axes: bool = False
    mirror_x: bool = False
    mirror_y: bool = False
    degrees: int = 0
    """Clockwise, one of 0, 90, 180, 270."""

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Self:
        """Read the matrix that the file attaches to `frame`; none means no turn."""
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return cls()
        # A point (x, y) goes to (a x + c y, b x + d y), in 16.16 fixed point (ISO/IEC 14496-12, tkhd).
        a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(matrix), dtype=np.int32)[:5])  # type: ignore[call-overload]
        swap = abs(b) + abs(c) > abs(a) + abs(d)
        x, y = (c, b) if swap else (a, d)
        degrees = round(np.degrees(np.arctan2(b, a)) / 90) * 90 % 360
        return cls(swap_axes=swap, mirror_x=x < 0, mirror_y=y < 0, degrees=degrees)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Turn an (H, W, 3) image; a view where it can be."""
        turned = image.swapaxes(0, 1) if self.swap_axes else image
        return turned[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1]


@dataclass(frozen=True, slots=True)
class Upright:
    """Turns the frames of one clip into (H, W, 3) uint8 RGB as a player shows them.

    Colours follow the file's own tags (BT.601, BT.709 or BT.2020, limited or full range); a file without tags
    counts as BT.709 above 1024 x 576 and as BT.601 below. Pixels that are not square are made square by
    stretching the width. HDR transfer curves are not mapped to SDR.
    """

    path: Path
    coded_width: int
    coded_height: int
    square_width: int
    turn: Turn
    _reformatter: VideoReformatter = field(default_factory=VideoReformatter, repr=False)

    @classmethod
    def of(
        cls, frame: av.VideoFrame, *, pixel_aspect: Fraction | None, path: Path, limits: MediaLimits
    ) -> Self:
        """Read the geometry off the first frame; raises MediaError where it is larger than the limits."""
        square_width = max(1, round(frame.width * (pixel_aspect or 1)))
        require_size(path, width=square_width, height=frame.height, limits=limits)
        return cls(path, frame.width, frame.height, square_width, Turn.of(frame))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of the pictures that come out."""
        size = (self.square_width, self.coded_height)
        return size[::-1] if self.turn.swap_axes else size

    def rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """Convert one frame; raises MediaError where its size is not that of the first one."""
        if (frame.width, frame.height) != (self.coded_width, self.coded_height):
            raise MediaError(
                f"'{self.path}' changes its frame size from {self.coded_width} x {self.coded_height} "
                f"to {frame.width} x {frame.height}.",
                fix="Encode it again at one size, or cut it where the size changes.",
            )
        converted = self._reformatter.reformat(
            frame,
            width=self.square_width,
            height=self.coded_height,
            format="rgb24",
            src_colorspace=_assumed_colorspace(frame),
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.BICUBIC,
            threads=1,
        )
        return np.ascontiguousarray(self.turn.apply(converted.to_ndarray()))


def require_size(path: Path, *, width: int, height: int, limits: MediaLimits) -> None:
    """Raise MediaError where a frame of this size is larger than the limits."""
    if width * height > limits.max_video_pixels or max(width, height) > limits.max_video_side:
        raise MediaError(
            f"'{path}' has frames of {width} x {height} pixels; the limit is {limits.max_video_side} a side "
            f"and {limits.max_video_pixels} in all.",
            fix="Scale the video down first.",
        )


def _assumed_colorspace(frame: av.VideoFrame) -> Colorspace | None:
    is_large = frame.width > _SD_WIDTH or frame.height > _SD_HEIGHT
    return Colorspace.ITU709 if frame.colorspace == _UNSPECIFIED_COLORSPACE and is_large else None
