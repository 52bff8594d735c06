"""Reading video: what a file holds, and its frames one at a time in constant memory."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import dropwhile, islice, takewhile
from pathlib import Path
from typing import Final

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from megactor_core.config.media import DEFAULT_LIMITS, MediaLimits
from megactor_core.errors import MediaError
from megactor_core.media.container import (
    VIDEO_CODECS,
    allow_decoder,
    demux_resilient,
    open_container,
    picture_stream,
    picture_streams,
)
from megactor_core.media.timeline import Timed, at_constant_rate
from megactor_core.media.upright import Upright, require_size

# For the rare stream that states no rate at all; ours, the rate of most talking-head data.
_FALLBACK_FPS: Final = Fraction(25)
# So finely a time given as a float counts: 0.12 means 3/25, as the time stamp of that frame says exactly.
_TICKS_PER_SECOND: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video file says of itself, with the size as a player shows it."""

    path: Path
    width: int
    """Pixels, after the file's rotation and with square pixels."""
    height: int
    video_fps: Fraction
    """Average rate from the header; the real one may vary."""
    seconds: float
    frames: int | None
    """The declared number; None where the container does not say (Matroska, WebM)."""
    codec: str
    container: str
    """FFmpeg's name of the format, for instance `mov,mp4,m4a,3gp,3g2,mj2`."""
    rotation_degrees: int
    """Clockwise turn that the file asks of its player: 0, 90, 180 or 270."""
    has_sound: bool


def probe_video(path: Path, *, limits: MediaLimits = DEFAULT_LIMITS) -> VideoInfo:
    """What `path` holds, from its header and its first decodable frame.

    Raises MediaError where the file cannot be read, holds no picture or no decodable frame, or is larger or
    longer than `limits` allow.
    """
    with open_container(path, limits=limits) as container:
        clip = _Clip(container, path=path, limits=limits)
        # Read before decoding: the demuxer revises some of these as it goes.
        stream, seconds = clip.stream, clip.declared_seconds()
        width, height = clip.upright.size
        return VideoInfo(
            path=path,
            width=width,
            height=height,
            video_fps=1 / clip.nominal_seconds,
            seconds=float(clip.measured_seconds() if seconds is None else seconds),
            frames=stream.frames or None,
            codec=stream.codec.canonical_name,
            container=container.format.name,
            rotation_degrees=clip.upright.turn.degrees,
            has_sound=bool(container.streams.audio),
        )


def read_video(
    path: Path,
    *,
    video_fps: Fraction | None = None,
    start_seconds: float = 0.0,
    seconds: float | None = None,
    limits: MediaLimits = DEFAULT_LIMITS,
    on_skipped: Callable[[int], None] | None = None,
) -> Iterator[np.ndarray]:
    """Yield the frames as (H, W, 3) uint8 RGB, upright, one at a time.

    Without `video_fps` every frame comes as stored. With it the clip is resampled by its time stamps to that
    constant rate, from a constant or a variable one: the nearest frame is shown; round(length * video_fps)
    frames come out, at least one. `seconds` reads only so much, from `start_seconds` on (frame k then shows
    time start_seconds + k / video_fps), which is reached from the key frame before it. What cannot be decoded
    is skipped, and the frame before it is held when resampling; `on_skipped` is told the number of packets so
    far each time.
    Nothing is opened before the first frame is asked for.

    Raises MediaError where `probe_video` does, where the frame size changes on the way, and where the clip
    ends before `start_seconds`.
    """
    with open_container(path, limits=limits) as container:
        clip = _Clip(container, path=path, limits=limits, on_skipped=on_skipped)
        if start_seconds > 0:
            clip.begin_at(start_seconds)
        for frame in _chosen(clip.frames(), video_fps=video_fps, seconds=seconds):
            yield clip.upright.rgb(frame)


def first_frame_seconds(container: InputContainer, *, path: Path, limits: MediaLimits) -> Fraction:
    """The time stamp at which the picture of an open container begins; raises MediaError without one."""
    return _Clip(container, path=path, limits=limits).start_seconds


def has_picture(container: InputContainer) -> bool:
    """Whether there is a video stream other than a cover picture."""
    return bool(picture_streams(container))


def _chosen(
    frames: Iterator[Timed[av.VideoFrame]], *, video_fps: Fraction | None, seconds: float | None
) -> Iterator[av.VideoFrame]:
    if video_fps is None:
        shown = dropwhile(lambda timed: timed.seconds + timed.duration_seconds <= 0, frames)
        wanted = shown if seconds is None else takewhile(lambda timed: float(timed.seconds) < seconds, shown)
        return (timed.item for timed in wanted)
    resampled = at_constant_rate(frames, video_fps=video_fps)
    return resampled if seconds is None else islice(resampled, max(1, round(seconds * video_fps)))


class _Clip:
    """The picture stream of an open container: its geometry, its clock and its decoded frames."""

    def __init__(
        self,
        container: InputContainer,
        *,
        path: Path,
        limits: MediaLimits,
        on_skipped: Callable[[int], None] | None = None,
    ) -> None:
        self.stream = _open_picture(container, path=path, limits=limits)
        self._time_base = self.stream.time_base or Fraction(1, av.time_base)
        self.nominal_seconds = 1 / (self.stream.average_rate or self.stream.guessed_rate or _FALLBACK_FPS)
        self.skipped = 0
        self._container = container
        self._path = path
        self._limits = limits
        self._on_skipped = on_skipped
        self._packets_until_seconds = Fraction(0)
        # AVI stores no presentation times: frames are shown in the order decoded, when their packets are due.
        self._packet_times: deque[int] | None = deque() if container.format.name == "avi" else None
        self._decoded = self._decode()
        first = next(self._decoded, None)
        if first is None:
            raise MediaError(f"No frame of '{path}' can be decoded.", fix="Encode or download it again.")
        self._first = first
        self.start_seconds = first.seconds
        aspect = self.stream.sample_aspect_ratio
        self.upright = Upright.of(first.item, pixel_aspect=aspect, path=path, limits=limits)

    def declared_seconds(self) -> Fraction | None:
        """The length from the header; None where it does not say. Raises MediaError where it is too long."""
        stream, container = self.stream, self._container
        seconds = None
        if stream.duration and stream.time_base:
            seconds = stream.duration * stream.time_base
        elif container.duration:
            seconds = Fraction(container.duration, av.time_base)
        if seconds is not None:
            self._require_length(seconds)
        return seconds

    def begin_at(self, seconds: float) -> None:
        """Go to the key frame before this time, which is time 0 from now on."""
        beginning = self.start_seconds
        self.start_seconds += Fraction(seconds).limit_denominator(_TICKS_PER_SECOND)
        # Where an index is missing or leads too far, everything from the beginning is decoded.
        for target_seconds in (self.start_seconds, beginning):
            with suppress(av.error.FFmpegError):
                self._container.seek(round(target_seconds / self._time_base), stream=self.stream)
            if self._packet_times is not None:
                self._packet_times.clear()
            self._decoded = self._decode()
            first = next(self._decoded, None)
            if first is not None and first.seconds <= self.start_seconds:
                self._first = first
                return
        raise MediaError(f"'{self._path}' cannot be read from {seconds:g} s on.", fix="Encode it again.")

    def measured_seconds(self) -> Fraction:
        """The length by decoding all that is left, for files that were streamed and never finished."""
        last = deque(self.frames(), maxlen=1).pop()
        return last.seconds + last.duration_seconds

    def frames(self) -> Iterator[Timed[av.VideoFrame]]:
        """Every decodable frame in rising order, timed from the first; once only.

        After `begin_at` they are timed from there, and the ones that lead up to it have negative times.
        """
        current = replace(self._first, seconds=self._first.seconds - self.start_seconds)
        for decoded in self._decoded:
            seconds = decoded.seconds - self.start_seconds
            if seconds <= current.seconds:
                seconds = current.seconds + self.nominal_seconds
            self._require_length(seconds)
            yield current
            current = replace(decoded, seconds=seconds)
        # Frames that were lost at the end still count: the last one that was not is held for them.
        stamped_seconds = self._packets_until_seconds - self.start_seconds
        end_seconds = max(current.seconds + current.duration_seconds, stamped_seconds)
        if end_seconds <= 0:
            raise MediaError(f"'{self._path}' ends before the asked-for start.", fix="Start earlier.")
        self._require_length(end_seconds)
        yield replace(current, duration_seconds=end_seconds - current.seconds)

    def _decode(self) -> Iterator[Timed[av.VideoFrame]]:
        """Frames with the container's own time stamps."""
        seconds = Fraction(0)
        for packet in demux_resilient(self._container, self.stream, on_error=self._skip):
            for frame in self._frames_of(packet):
                seconds = self._seconds_of(frame, otherwise=seconds + self.nominal_seconds)
                time_base = frame.time_base or Fraction(0)
                duration_seconds = frame.duration * time_base or self.nominal_seconds
                yield Timed(frame, seconds, duration_seconds)

    def _frames_of(self, packet: "Packet[VideoStream]") -> list[av.VideoFrame]:
        self._note_times(packet)
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            self._lose_frame()
            return []
        whole = [frame for frame in frames if not frame.is_corrupt]
        for _ in range(len(frames) - len(whole)):
            self._lose_frame()
        return whole

    def _note_times(self, packet: "Packet[VideoStream]") -> None:
        begin = packet.pts if self._packet_times is None else packet.dts
        if begin is None or packet.is_discard:
            return
        if self._packet_times is not None:
            self._packet_times.append(begin)
        end_seconds = (begin + (packet.duration or 0)) * packet.time_base
        self._packets_until_seconds = max(self._packets_until_seconds, end_seconds)

    def _seconds_of(self, frame: av.VideoFrame, *, otherwise: Fraction) -> Fraction:
        ticks = frame.pts
        if self._packet_times:
            ticks = self._packet_times.popleft()
        return otherwise if ticks is None or not frame.time_base else ticks * frame.time_base

    def _lose_frame(self) -> None:
        if self._packet_times:
            self._packet_times.popleft()
        self._skip()

    def _skip(self) -> None:
        self.skipped += 1
        if self._on_skipped is not None:
            self._on_skipped(self.skipped)

    def _require_length(self, seconds: Fraction) -> None:
        limit_seconds = self._limits.max_video_seconds
        if seconds > limit_seconds:
            raise MediaError(
                f"'{self._path}' is {float(seconds):.0f} s long; the limit is {limit_seconds:.0f} s.",
                fix="Cut it into shorter clips.",
            )


def _open_picture(container: InputContainer, *, path: Path, limits: MediaLimits) -> VideoStream:
    stream = picture_stream(container, path=path)
    allow_decoder(stream, allowed=VIDEO_CODECS, path=path, limits=limits)
    require_size(path, width=stream.width, height=stream.height, limits=limits)
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = limits.decode_threads
    return stream
