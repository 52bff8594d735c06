"""Writing video: H.264 and AAC in an mp4 file that is whole under its final name, or not there at all."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import av
import av.error
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream

from megactor_core.errors import OutputError
from megactor_core.files import atomic_path, temporary_beside
from megactor_core.media.audio import Sound, fit_seconds, resample
from megactor_core.media.container import file_url
from megactor_core.signals import undisturbed

Quality = Literal["high", "lossless"]
Seal = Callable[[Path, Path], None]
"""Called with the finished video and with where to write the one that gets its name; may raise OSError."""

# Constant rate factor 17 counts as visually lossless (FFmpeg's H.264 guide); its default is 23. `lossless`
# keeps every RGB value, for evaluation, in a profile of H.264 that browsers do not play. Without `mbtree=0`
# the bytes depend on what memory held before, where the width is no multiple of 128 (x264 of PyAV 18.1).
_ENCODERS: Final[dict[Quality, tuple[str, str, dict[str, str]]]] = {
    "high": ("libx264", "yuv420p", {"crf": "17", "preset": "medium", "x264-params": "mbtree=0"}),
    "lossless": ("libx264rgb", "rgb24", {"qp": "0", "preset": "veryfast"}),
}

# The sampling rates of AAC (ISO/IEC 14496-3, table 1.18).
_AAC_HZ: Final = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
# FFmpeg's layouts by number of channels, of those that its AAC encoder takes.
_AAC_LAYOUTS: Final = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
_AAC_BITS_PER_SAMPLE: Final = 5
_AAC_MAX_BITS_PER_SECOND: Final = 128_000
"""Per channel; the two bounds are ours: 80 kb/s for 16 kHz speech, 128 kb/s from 32 kHz on."""

# Every fragment begins with a key frame and is flushed, so a killed run leaves all but about this much.
_FRAGMENT_SECONDS: Final = 1

# `delay_moov` lets the header hold the edit list that hides the encoder's delay.
_FRAGMENTED: Final = "frag_keyframe+delay_moov+default_base_moof+use_metadata_tags"
_INDEX_IN_FRONT: Final = "faststart+use_metadata_tags"
# Lengths are stored in these units; the default of a millisecond is coarser than a sample. Ours: a whole
# number of them makes a frame at 24, 25, 30, 60, 200 and 30000/1001 fps.
_TICKS_PER_SECOND: Final = 120_000

_SUFFIXES: Final = (".mp4", ".m4v", ".mov")


class VideoWriter:
    """Writes (H, W, 3) uint8 RGB frames, and sound beside them, to an mp4 file.

    Use it as a context manager. Frames go to a fragmented file beside `path`, playable even if the process is
    killed; when the block ends well that is rewritten with its index in front and renamed to `path`. When the
    block raises, nothing is left and an earlier `path` stays as it was.

    `sound` is cut, or padded with silence, to the length of the picture. It keeps its rate and channels where
    AAC has them; otherwise it is resampled to the next higher rate of AAC, or mixed to mono. `tags` become
    metadata of the file, under any key. Colours are BT.709. `seal` has the last word on the file before it is
    renamed, and may sign it.

    Raises OutputError where `path` cannot be written or no frame was, and ValueError for a frame of another
    size or type, for an odd size that 4:2:0 cannot hold, and for a rate that is not positive.

    For videos that are read frame by frame rather than watched: `gop_frames` is the most frames from one key
    frame to the next (a second's worth where it is None), `crf` another constant rate factor than that of
    "high", and `threads` 1 gives the same bytes on every machine, whatever its number of cores (0: all).
    """

    def __init__(
        self,
        path: Path,
        *,
        video_fps: Fraction,
        width: int,
        height: int,
        sound: Sound | None = None,
        tags: dict[str, str] | None = None,
        quality: Quality = "high",
        gop_frames: int | None = None,
        crf: int | None = None,
        threads: int = 0,
        seal: Seal | None = None,
    ) -> None:
        _require_writable_video(path, video_fps=video_fps, width=width, height=height, quality=quality)
        self.path = path
        self.frames = 0
        self._video_fps = video_fps
        self._shape = (height, width, 3)
        self._quality = quality
        self._gop_frames = gop_frames or max(1, round(video_fps * _FRAGMENT_SECONDS))
        self._rate_factor = {} if crf is None else {"crf": str(crf)}
        self._threads = threads
        self._tags = tags or {}
        self._seal = seal
        self._sound = _fit_to_aac(sound) if sound is not None else None
        self._samples_written = 0
        self._fragments = temporary_beside(path.with_name(f"{path.stem}.fragments{path.suffix}"))
        self._reformatter = VideoReformatter()

    def __enter__(self) -> Self:
        with _as_output_error(self.path):
            self._file = _WrittenFile(self._fragments)
            self._container = _open_for_writing(self._file, movflags=_FRAGMENTED, tags=self._tags)
        self._picture_stream = self._add_picture()
        self._sound_stream = self._add_sound()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            with suppress(av.error.FFmpegError, OSError):
                undisturbed(self._container.close)
            self._file.close()
            with suppress(OSError):
                self._fragments.unlink(missing_ok=True)

    def write(self, frame: np.ndarray) -> None:
        """Append one (H, W, 3) uint8 RGB frame; raises ValueError where its shape or type is another."""
        if frame.shape != self._shape or frame.dtype != np.uint8:
            raise ValueError(
                f"frame {self.frames} of {self.path} is {frame.shape} {frame.dtype}; "
                f"the video takes {self._shape} uint8"
            )
        picture = self._encodable(frame)
        picture.pts, picture.time_base = self.frames, 1 / self._video_fps
        with _as_output_error(self.path):
            self._mux(self._picture_stream.encode(picture))
            self.frames += 1
            self._write_sound()

    def _add_picture(self) -> VideoStream:
        codec, pixel_format, options = _ENCODERS[self._quality]
        stream = self._container.add_stream(codec, rate=self._video_fps, options=options | self._rate_factor)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, _ = self._shape
        stream.pix_fmt = pixel_format
        context = stream.codec_context
        context.time_base = 1 / self._video_fps
        context.gop_size = self._gop_frames
        context.thread_count = self._threads
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        if self._quality == "high":
            context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        return stream

    def _add_sound(self) -> AudioStream | None:
        if self._sound is None:
            return None
        hz, layout = self._sound.audio_hz, _AAC_LAYOUTS[self._sound.channels]
        stream = self._container.add_stream("aac", rate=hz, layout=layout)
        assert isinstance(stream, AudioStream)
        bits_per_second = min(_AAC_MAX_BITS_PER_SECOND, _AAC_BITS_PER_SAMPLE * hz) * self._sound.channels
        stream.codec_context.bit_rate = bits_per_second
        return stream

    def _encodable(self, frame: np.ndarray) -> av.VideoFrame:
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        if self._quality == "lossless":
            return picture
        return self._reformatter.reformat(
            picture,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )

    def _write_sound(self) -> None:
        """Append the sound up to the end of the picture so far, and silence where it has ended."""
        if self._sound is None or self._sound_stream is None:
            return
        begin = self._samples_written
        end = round(self.frames / self._video_fps * self._sound.audio_hz)
        part = Sound(self._sound.samples[begin:end], self._sound.audio_hz)
        part = fit_seconds(part, seconds=(end - begin) / part.audio_hz)
        block = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(part.samples.T), format="fltp", layout=_AAC_LAYOUTS[part.channels]
        )
        block.sample_rate, block.pts = part.audio_hz, begin
        block.time_base = Fraction(1, part.audio_hz)
        self._mux(self._sound_stream.encode(block))
        self._samples_written = end

    def _mux(self, packets: list[Packet]) -> None:
        """Write packets; a signal waits, which FFmpeg would not hand on from our file's `write`."""
        undisturbed(lambda: self._container.mux(packets))

    def _finish(self) -> None:
        if not self.frames:
            raise OutputError(
                f"No frame was written to '{self.path}'.", fix="Check the length of the inputs."
            )
        with _as_output_error(self.path):
            for stream in (self._picture_stream, self._sound_stream):
                if stream is not None:
                    self._mux(stream.encode(None))
            undisturbed(self._container.close)
            self._file.require_whole()
            with atomic_path(self.path) as temporary:
                self._write_final(temporary)

    def _write_final(self, target: Path) -> None:
        if self._seal is None:
            _remux_for_streaming(self._fragments, target, tags=self._tags)
            return
        unsealed = temporary_beside(self.path.with_name(f"{self.path.stem}.unsealed{self.path.suffix}"))
        try:
            _remux_for_streaming(self._fragments, unsealed, tags=self._tags)
            self._seal(unsealed, target)
        finally:
            unsealed.unlink(missing_ok=True)


def _require_writable_video(
    path: Path, *, video_fps: Fraction, width: int, height: int, quality: Quality
) -> None:
    if path.suffix.lower() not in _SUFFIXES:
        raise OutputError(
            f"'{path}' is to be a video, but its name ends in '{path.suffix}'.", fix="End the name in .mp4."
        )
    if path.is_dir():
        raise OutputError(f"'{path}' is a folder.", fix="Give the name of a file.")
    if video_fps <= 0:
        raise ValueError(f"video_fps is {video_fps}; it must be positive")
    if quality != "lossless" and (width % 2 or height % 2):
        raise ValueError(f"H.264 in 4:2:0 takes even sizes, not {width} x {height}")


class _WrittenFile(io.FileIO):
    """A new file that remembers an error in writing: FFmpeg passes over some, and goes on behind the gap."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w")
        self.name = file_url(path)  # by which FFmpeg reads it again to put the index in front
        self._failure: OSError | None = None

    def write(self, content: Any, /) -> int:
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self._failure = error
            raise
        return len(content)

    def require_whole(self) -> None:
        """Raise the error of a write that failed, whatever became of it since."""
        if self._failure is not None:
            raise self._failure


def _open_for_writing(file: _WrittenFile, *, movflags: str, tags: dict[str, str]) -> OutputContainer:
    options = {"movflags": movflags, "flush_packets": "1", "movie_timescale": str(_TICKS_PER_SECOND)}
    container = av.open(file, mode="w", format="mp4", container_options=options)
    container.metadata.update(tags)
    return container


def _remux_for_streaming(source: Path, target: Path, *, tags: dict[str, str]) -> None:
    """Copy the packets, untouched, to a file with its index in front."""
    with _WrittenFile(target) as file:
        undisturbed(lambda: _copy_packets(source, file, tags=tags))
        file.require_whole()


def _copy_packets(source: Path, target: _WrittenFile, *, tags: dict[str, str]) -> None:
    with (
        av.open(file_url(source), mode="r", format="mp4") as fragments,
        _open_for_writing(target, movflags=_INDEX_IN_FRONT, tags=tags) as output,
    ):
        copies = {s.index: output.add_stream_from_template(s) for s in fragments.streams}
        for packet in fragments.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                output.mux(packet)


def _fit_to_aac(sound: Sound) -> Sound:
    hz = next((hz for hz in _AAC_HZ if hz >= sound.audio_hz), _AAC_HZ[-1])
    if sound.channels not in _AAC_LAYOUTS:
        sound = Sound(sound.samples.mean(axis=1, keepdims=True), sound.audio_hz)
    return resample(sound, audio_hz=hz)


@contextmanager
def _as_output_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        raise OutputError(
            f"Cannot write '{path}' ({error.strerror or error}).",
            fix="Check the space and rights of its folder.",
        ) from None
