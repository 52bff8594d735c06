"""Clips, sounds and images that the tests make for themselves."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

Clip = Callable[..., Path]

# Encoders that are loud on stderr or slow by default.
_QUIET = {
    "libx265": {"x265-params": "log-level=none:pools=1"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
}


def stripes(index: int, *, width: int, height: int) -> np.ndarray:
    """A picture that tells which frame it is: brightness 16 * index (mod 240) + 8 all over."""
    return np.full((height, width, 3), 16 * index % 240 + 8, np.uint8)


@pytest.fixture
def make_clip(tmp_path: Path) -> Clip:
    """Encode frames with PyAV; the defaults give 10 frames of 64 x 48 in H.264 at 25 fps."""

    def encode(
        name: str = "clip.mp4",
        *,
        codec: str = "libx264",
        frames: int | Sequence[np.ndarray] = 10,
        video_fps: Fraction = Fraction(25),
        size: tuple[int, int] = (64, 48),
        pixel_format: str = "yuv420p",
        milliseconds: Sequence[int] | None = None,
        prepare: Callable[[Any], None] | None = None,
        options: dict[str, str] | None = None,
    ) -> Path:
        path = tmp_path / name
        pictures = (
            [stripes(i, width=size[0], height=size[1]) for i in range(frames)]
            if isinstance(frames, int)
            else frames
        )
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(
                codec, rate=video_fps, options={**_QUIET.get(codec, {}), **(options or {})}
            )
            stream.height, stream.width = pictures[0].shape[:2]
            stream.pix_fmt = pixel_format
            if milliseconds is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            if prepare is not None:
                prepare(stream)
            for index, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = index if milliseconds is None else milliseconds[index]
                frame.time_base = 1 / video_fps if milliseconds is None else Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return encode
