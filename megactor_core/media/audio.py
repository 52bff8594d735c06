"""Sound: reading it from sound and video files, and cutting, mixing and resampling it."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import av.error
import numpy as np
import soundfile
import soxr
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from megactor_core.config.media import DEFAULT_LIMITS, MediaLimits
from megactor_core.errors import MediaError
from megactor_core.media.container import (
    SOUND_CODECS,
    SOUND_FILE,
    allow_decoder,
    content_kind,
    demux_resilient,
    open_container,
    require_media_file,
)
from megactor_core.media.video import first_frame_seconds, has_picture

WHISPER_HZ: Final = 16_000
"""The rate that Whisper and SyncNet hear, and so the model's."""

# Quieter than this everywhere, a sound carries no speech: -60 dB of full scale (ours).
_SILENT_PEAK: Final = 1e-3

# Time stamps that a container rounded to milliseconds jitter; a jump above this is a real gap (ours).
_GAP_SECONDS: Final = 0.05

# Where reading begins in the middle, decoders are given this long to settle before what is wanted (ours).
_SEEK_LEAD_SECONDS: Final = 1

# The most that an encoder adds at the end to fill its last block; AAC's blocks have 1024 samples.
_PADDING_SAMPLES: Final = 4096

_GIVE_SOUND: Final = "Give a sound file (wav, flac, mp3, ogg, m4a) or a video with sound."


@dataclass(frozen=True, slots=True)
class Sound:
    """A whole sound in memory."""

    samples: np.ndarray
    """(N, C) float32 in [-1, 1]."""
    audio_hz: int

    @property
    def seconds(self) -> float:
        """The length, N / audio_hz."""
        return len(self.samples) / self.audio_hz

    @property
    def channels(self) -> int:
        """C."""
        return int(self.samples.shape[1])


def read_sound(
    path: Path,
    *,
    start_seconds: float = 0.0,
    seconds: float | None = None,
    limits: MediaLimits = DEFAULT_LIMITS,
) -> Sound:
    """Read a sound file, or the sound of a video, at its own rate and with all its channels.

    The content decides how it is read, not the name. For a video, time 0 is its first picture: sound that
    starts later is padded with silence, sound from before is cut. Damaged packets become silence. `seconds`
    reads only so much, from `start_seconds` on; no more than that is held in memory.

    Raises MediaError where the file cannot be read, holds no sound there, or what is asked for is longer than
    `limits` allow.
    """
    require_media_file(path, limits=limits)
    window = _Window(Fraction(max(0.0, start_seconds)), None if seconds is None else Fraction(seconds))
    is_sound_file = content_kind(path) == SOUND_FILE
    sound = _read_sound_file(path, window=window, limits=limits) if is_sound_file else None
    if sound is None:
        sound = _read_container(path, window=window, limits=limits)
    if not len(sound.samples):
        raise MediaError(f"'{path}' holds a sound of no length.", fix=_GIVE_SOUND)
    if not np.isfinite(sound.samples).all():
        raise MediaError(f"'{path}' holds samples that are not numbers.", fix="Export the sound again.")
    return Sound(np.clip(sound.samples, -1, 1), sound.audio_hz)


def to_mono(sound: Sound, *, audio_hz: int = WHISPER_HZ) -> np.ndarray:
    """The mean of all channels at `audio_hz`, as (N,) float32; N = round(seconds * audio_hz)."""
    mono = Sound(sound.samples.mean(axis=1, keepdims=True), sound.audio_hz)
    return resample(mono, audio_hz=audio_hz).samples[:, 0]


def resample(sound: Sound, *, audio_hz: int) -> Sound:
    """The same sound at another rate (soxr, high quality), N = round(seconds * audio_hz)."""
    if audio_hz == sound.audio_hz:
        return sound
    samples = soxr.resample(sound.samples, sound.audio_hz, audio_hz, quality="HQ")
    resampled = Sound(np.asarray(samples, dtype=np.float32), audio_hz)
    return fit_seconds(resampled, seconds=sound.seconds)


def fit_seconds(sound: Sound, *, seconds: float) -> Sound:
    """Cut the end, or pad it with silence, to exactly round(seconds * audio_hz) samples."""
    wanted = round(seconds * sound.audio_hz)
    missing = max(0, wanted - len(sound.samples))
    return Sound(np.pad(sound.samples[:wanted], ((0, missing), (0, 0))), sound.audio_hz)


def is_silent(sound: Sound) -> bool:
    """Whether the sound stays below -60 dB of full scale throughout; a constant offset does not count."""
    if not len(sound.samples):
        return True
    around_zero = sound.samples - sound.samples.mean(axis=0)
    return bool(np.abs(around_zero).max() < _SILENT_PEAK)


@dataclass(frozen=True, slots=True)
class _Window:
    """The part of a sound that is wanted; `seconds` None is all that follows `begin_seconds`."""

    begin_seconds: Fraction
    seconds: Fraction | None


def _read_sound_file(path: Path, *, window: _Window, limits: MediaLimits) -> Sound | None:
    """Read with libsndfile; None where it cannot, so that FFmpeg may try."""
    try:
        # An absolute path, since `-` means standard input; bytes, since a name need not be valid text.
        with soundfile.SoundFile(os.fsencode(path.absolute())) as source:
            hz, channels = source.samplerate, source.channels
            begin = min(round(window.begin_seconds * hz), source.frames)
            left = source.frames - begin
            count = left if window.seconds is None else min(left, round(window.seconds * hz))
            _require_sound_size(path, samples=count, hz=hz, channels=channels, limits=limits)
            if begin:
                source.seek(begin)
            return Sound(source.read(count, dtype="float32", always_2d=True), hz)
    except soundfile.LibsndfileError:
        return None


def _require_sound_size(path: Path, *, samples: int, hz: int, channels: int, limits: MediaLimits) -> None:
    if hz < 1 or channels < 1:
        raise MediaError(
            f"'{path}' is damaged: it names {hz} samples a second and {channels} channels.", fix=_GIVE_SOUND
        )
    for value, limit, unit in (
        (samples / hz, limits.max_sound_seconds, "seconds"),
        (hz, limits.max_sound_hz, "samples a second"),
        (channels, limits.max_sound_channels, "channels"),
    ):
        if value > limit:
            raise MediaError(
                f"'{path}' has {value:g} {unit} of sound; the limit is {limit:g}.",
                fix="Cut it, or export it in an ordinary format.",
            )


def _read_container(path: Path, *, window: _Window, limits: MediaLimits) -> Sound:
    start_seconds = _start_seconds(path, limits=limits)
    with open_container(path, limits=limits) as container:
        stream = container.streams.audio[0]
        allow_decoder(stream, allowed=SOUND_CODECS, path=path, limits=limits)
        if window.begin_seconds > 0:
            start_seconds = (start_seconds or Fraction(0)) + window.begin_seconds
            _seek(container, stream, start_seconds - _SEEK_LEAD_SECONDS)
        track = _Track(stream, start_seconds=start_seconds, path=path, limits=limits)
        packets: Iterator[Packet[AudioStream]] = demux_resilient(container, stream, on_error=lambda: None)
        for packet in packets:
            track.decode(packet)
            if window.seconds is not None and track.seconds >= window.seconds:
                break
        samples = track.samples()
        count = len(samples) if window.seconds is None else round(window.seconds * stream.rate)
        return Sound(samples[:count], stream.rate)


def _seek(container: InputContainer, stream: AudioStream, seconds: Fraction) -> None:
    """Go to the packet at or before this time; where there is no way to, reading begins at the beginning."""
    if seconds > 0 and stream.time_base:
        with suppress(av.error.FFmpegError):
            container.seek(round(seconds / stream.time_base), stream=stream)


def _start_seconds(path: Path, *, limits: MediaLimits) -> Fraction | None:
    """When the picture starts; None for a file without one, where the sound starts at its own beginning."""
    with open_container(path, limits=limits) as container:
        if not container.streams.audio:
            raise MediaError(f"'{path}' is a video without sound.", fix=_GIVE_SOUND)
        return first_frame_seconds(container, path=path, limits=limits) if has_picture(container) else None


class _Track:
    """Puts decoded blocks of sound where their time stamps say, with silence between.

    `start_seconds` is time 0; None takes the time stamp of the first block.
    """

    def __init__(
        self, stream: AudioStream, *, start_seconds: Fraction | None, path: Path, limits: MediaLimits
    ) -> None:
        self._path, self._limits = path, limits
        self._hz, self._channels = stream.rate, stream.channels
        self._require_length(0)
        self._start_seconds = start_seconds
        self._packets_until_seconds = Fraction(0)
        self._blocks: list[np.ndarray] = []
        self._length = 0
        self._to_float = av.AudioResampler(format="fltp")

    def decode(self, packet: "Packet[AudioStream]") -> None:
        """Append what `packet` holds; where it is damaged, the next one leaves a gap of silence."""
        if packet.pts is not None:
            end_seconds = (packet.pts + (packet.duration or 0)) * packet.time_base
            self._packets_until_seconds = max(self._packets_until_seconds, end_seconds)
        with suppress(av.error.FFmpegError):
            for frame in packet.decode():
                self._add(frame)

    @property
    def seconds(self) -> float:
        """How much there is so far."""
        return self._length / self._hz

    def samples(self) -> np.ndarray:
        """All of it as (N, C) float32, without the padding that fills the encoder's last block."""
        joined = np.concatenate([np.zeros((0, self._channels), np.float32), *self._blocks])
        end = round((self._packets_until_seconds - (self._start_seconds or 0)) * self._hz)
        # Time stamps that leave out more than padding are wrong.
        return joined[: max(0, end)] if len(joined) - end <= _PADDING_SAMPLES else joined

    def _add(self, frame: AudioFrame) -> None:
        samples = self._converted(frame)
        gap = self._place(frame) - self._length
        if not self._length or abs(gap) > _GAP_SECONDS * self._hz:
            samples = self._bridged(samples, gap=gap)
        self._require_length(self._length + len(samples))
        self._blocks.append(samples)
        self._length += len(samples)

    def _converted(self, frame: AudioFrame) -> np.ndarray:
        if (frame.sample_rate, frame.layout.nb_channels) != (self._hz, self._channels):
            raise MediaError(
                f"The sound of '{self._path}' changes from {self._hz} Hz and {self._channels} channels to "
                f"{frame.sample_rate} Hz and {frame.layout.nb_channels}.",
                fix="Encode it again at one rate.",
            )
        blocks = [block.to_ndarray().T for block in self._to_float.resample(frame)]
        return np.concatenate(blocks) if blocks else np.zeros((0, self._channels), np.float32)

    def _place(self, frame: AudioFrame) -> int:
        """The index of the frame's first sample."""
        if frame.pts is None or frame.time_base is None:
            return self._length
        stamp_seconds = frame.pts * frame.time_base
        if self._start_seconds is None:
            self._start_seconds = stamp_seconds
        return round((stamp_seconds - self._start_seconds) * self._hz)

    def _bridged(self, samples: np.ndarray, *, gap: int) -> np.ndarray:
        if gap < 0:
            return samples[-gap:]
        self._require_length(self._length + gap)
        return np.pad(samples, ((gap, 0), (0, 0)))

    def _require_length(self, length: int) -> None:
        _require_sound_size(
            self._path, samples=length, hz=self._hz, channels=self._channels, limits=self._limits
        )
