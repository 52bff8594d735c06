"""Frames of a video by their number, decoding from the key frame before them and no further."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from megactor_core.config.media import DEFAULT_LIMITS, MediaLimits
from megactor_core.errors import MediaError
from megactor_core.media.container import VIDEO_CODECS, allow_decoder, open_container
from megactor_core.media.upright import Upright


class SeekableVideo:
    """A video of constant rate, as `VideoWriter` makes them, whose frames are read in any order.

    Use it as a context manager. `key_frame_every` is the longest way from one key frame to the next: a frame
    that lies further ahead is sought, a nearer one reached by decoding on. `decoded` counts decoded frames.
    One thread decodes; the pictures are those of `read_video`.

    Raises MediaError where the file cannot be read.
    """

    def __init__(self, path: Path, *, key_frame_every: int, limits: MediaLimits = DEFAULT_LIMITS) -> None:
        self.path = path
        self.decoded = 0
        self._key_frame_every = key_frame_every
        self._limits = limits
        self._opened = open_container(path, limits=limits)

    def __enter__(self) -> Self:
        self._container: InputContainer = self._opened.__enter__()
        self._stream = self._open_stream()
        self._rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(1)
        self._upright: Upright | None = None
        self._frames = self._decode()
        self._current: tuple[int, av.VideoFrame] | None = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames of these numbers, in that order, as (n, H, W, 3) uint8 RGB; numbers may repeat.

        Raises MediaError where one is not in the file, ValueError for no numbers at all.
        """
        if not len(indices):
            raise ValueError("no frame numbers were given")
        pictures = {index: self._rgb(self._frame(index)) for index in sorted(set(indices))}
        return np.stack([pictures[index] for index in indices])

    def _open_stream(self) -> VideoStream:
        if not self._container.streams.video:
            raise MediaError(f"'{self.path}' holds no picture.", fix="Give a video file.")
        stream = self._container.streams.video[0]
        allow_decoder(stream, allowed=VIDEO_CODECS, path=self.path, limits=self._limits)
        stream.codec_context.thread_count = 1
        return stream

    def _frame(self, index: int) -> av.VideoFrame:
        at = -1 if self._current is None else self._current[0]
        if not at <= index <= at + self._key_frame_every:
            self._seek(index)
        while self._current is None or self._current[0] < index:
            self._current = next(self._frames, None)
            if self._current is None:
                raise self._missing(index)
        if self._current[0] != index:
            raise self._missing(index)
        return self._current[1]

    def _seek(self, index: int) -> None:
        """Stand on the key frame before frame `index`."""
        # The demuxer seeks by decoding time, which runs ahead of what is shown where frames are reordered,
        # so it can land on a key frame just behind the wanted one: then an earlier one is looked for.
        for target in (index, max(0, index - self._key_frame_every), 0):
            self._container.seek(self._ticks_of(target), stream=self._stream)
            self._frames = self._decode()
            self._current = next(self._frames, None)
            if self._current is not None and self._current[0] <= index:
                return
        raise self._missing(index)

    def _decode(self) -> Iterator[tuple[int, av.VideoFrame]]:
        for frame in self._container.decode(self._stream):
            self.decoded += 1
            yield self._index_of(frame), frame

    def _index_of(self, frame: av.VideoFrame) -> int:
        if frame.pts is None or frame.time_base is None:
            raise MediaError(f"'{self.path}' holds frames without a time.", fix="Write the file again.")
        return round((frame.pts - self._begin_ticks) * frame.time_base * self._rate)

    def _ticks_of(self, index: int) -> int:
        assert self._stream.time_base is not None
        return round(index / self._rate / self._stream.time_base) + self._begin_ticks

    @property
    def _begin_ticks(self) -> int:
        return self._stream.start_time or 0

    def _rgb(self, frame: av.VideoFrame) -> np.ndarray:
        if self._upright is None:
            aspect = self._stream.sample_aspect_ratio
            self._upright = Upright.of(frame, pixel_aspect=aspect, path=self.path, limits=self._limits)
        return self._upright.rgb(frame)

    def _missing(self, index: int) -> MediaError:
        return MediaError(
            f"'{self.path}' has no frame {index} that can be read.", fix="It is damaged: write it again."
        )
