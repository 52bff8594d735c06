"""What a video file can tell without being decoded: how much of it is there, and its key frames alone.

Reading packets takes about a millisecond for ten seconds of video, decoding key frames alone one to three
hundredths of decoding all.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from megactor_core.config.media import DEFAULT_LIMITS, MediaLimits
from megactor_core.media.container import (
    VIDEO_CODECS,
    allow_decoder,
    demux_resilient,
    open_container,
    picture_stream,
)
from megactor_core.media.upright import Upright, require_size


@dataclass(frozen=True, slots=True)
class PacketScan:
    """What a video stream holds of a part of it, by its packets."""

    packets: int
    damaged: int
    """Packets that are marked as cut short."""
    until_seconds: float
    """Where the last whole packet's picture ends, on the stream's own clock from 0; 0 without any."""


def scan_packets(
    path: Path,
    *,
    start_seconds: float = 0.0,
    seconds: float | None = None,
    limits: MediaLimits = DEFAULT_LIMITS,
) -> PacketScan:
    """Read the packets of a video, or of a part of it, and decode none.

    Raises MediaError where the file cannot be read.
    """
    with open_container(path, limits=limits) as container:
        stream = picture_stream(container, path=path)
        packets = damaged = 0
        until = 0.0
        for packet, at in _packets(container, stream, start_seconds=start_seconds, seconds=seconds):
            packets += 1
            damaged += packet.is_corrupt
            if not packet.is_corrupt:
                until = max(until, at + float((packet.duration or 0) * packet.time_base))
        return PacketScan(packets, damaged, until)


def read_key_frames(
    path: Path,
    *,
    every_seconds: float,
    start_seconds: float = 0.0,
    seconds: float | None = None,
    limits: MediaLimits = DEFAULT_LIMITS,
) -> Iterator[np.ndarray]:
    """Yield the key frames of a video, or of a part of it, at most one in `every_seconds`.

    (H, W, 3) uint8 RGB, upright. Where none lies within the part, the one before it comes. Key frames that
    cannot be decoded are passed over. Raises MediaError where the file cannot be read or changes its size.
    """
    with open_container(path, limits=limits) as container:
        stream = picture_stream(container, path=path)
        allow_decoder(stream, allowed=VIDEO_CODECS, path=path, limits=limits)
        require_size(path, width=stream.width, height=stream.height, limits=limits)
        stream.codec_context.skip_frame = "NONKEY"
        stream.codec_context.thread_count = 1
        upright: Upright | None = None
        frames = _key_frames(container, stream, start_seconds=start_seconds, seconds=seconds)
        for frame in _thinned_out(frames, start_seconds=start_seconds, every_seconds=every_seconds):
            if upright is None:
                aspect = stream.sample_aspect_ratio
                upright = Upright.of(frame, pixel_aspect=aspect, path=path, limits=limits)
            yield upright.rgb(frame)


def _thinned_out(
    frames: Iterator[tuple[av.VideoFrame, float]], *, start_seconds: float, every_seconds: float
) -> Iterator[av.VideoFrame]:
    """Those from the start on, far enough apart; where there is none, the last one before."""
    before: av.VideoFrame | None = None
    due: float | None = None
    for frame, at in frames:
        if at < start_seconds:
            before = frame
        elif due is None or at >= due:
            due = at + every_seconds
            yield frame
    if due is None and before is not None:
        yield before


def _key_frames(
    container: InputContainer, stream: VideoStream, *, start_seconds: float, seconds: float | None
) -> Iterator[tuple[av.VideoFrame, float]]:
    for packet, at in _packets(container, stream, start_seconds=start_seconds, seconds=seconds):
        if packet.is_keyframe:
            with suppress(av.error.FFmpegError):
                # Frames come when they are due, which may be later: a key frame's own packet says its time.
                for frame in packet.decode():
                    if not frame.is_corrupt:
                        yield frame, _seconds_of(frame, stream, otherwise=at)
    with suppress(av.error.FFmpegError):
        for frame in stream.decode(None):
            yield frame, _seconds_of(frame, stream, otherwise=start_seconds)


def _packets(
    container: InputContainer, stream: VideoStream, *, start_seconds: float, seconds: float | None
) -> Iterator[tuple["Packet[VideoStream]", float]]:
    """Packets and their times, from the key frame before the start on."""
    time_base = stream.time_base or Fraction(1, av.time_base)
    if start_seconds > 0:
        with suppress(av.error.FFmpegError):  # without an index everything is read
            container.seek(round(start_seconds / time_base) + (stream.start_time or 0), stream=stream)
    end = None if seconds is None else start_seconds + seconds
    for packet in demux_resilient(container, stream, on_error=lambda: None):
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None or not packet.size:
            continue
        begins = float((stamp - (stream.start_time or 0)) * time_base)
        decodes = begins if packet.dts is None else float((packet.dts - (stream.start_time or 0)) * time_base)
        if end is not None and decodes >= end:
            return
        if end is None or begins < end:
            yield packet, begins


def _seconds_of(frame: av.VideoFrame, stream: VideoStream, *, otherwise: float) -> float:
    time_base = frame.time_base or stream.time_base  # frames that were flushed out have none of their own
    if frame.pts is None or not time_base:
        return otherwise
    return float((frame.pts - (stream.start_time or 0)) * time_base)
