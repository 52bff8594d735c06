"""Speech: what the mouth does and how it sounds, on one clock.

A drawn script of phonemes becomes tracks of lips, tongue and voice; the tracks make the sound and are the
truth about the mouth. A face that shows the tracks at a moment is in exact sync with the sound.

Shape legend:
    N samples at 16 kHz   T moments, TRACK_HZ a second
"""

from dataclasses import dataclass
from math import ceil

import numpy as np

from megactor_core.synthetic.formants import AUDIO_HZ, TRACK_HZ, VocalTract, room_noise, synthesise
from megactor_core.synthetic.phonemes import Segment, draw_script
from megactor_core.synthetic.voice import Voice

MOUTH_OPEN_MAX = 1.2

# Streams of random numbers; a new one takes a new number, so that it changes none of these.
_SCRIPT, _PITCH, _SOUND = 11, 12, 13

# How long each articulator takes to move, as the width of a Hann window.
_JAW_SECONDS, _LIPS_SECONDS, _TONGUE_SECONDS = 0.09, 0.13, 0.06
_VOICE_SECONDS, _FRICTION_SECONDS, _CLOSURE_SECONDS = 0.04, 0.025, 0.04
_STRESS_SECONDS, _PITCH_SECONDS = 0.12, 0.12
_JITTER_SECONDS, _JITTER = 0.03, 0.04
_MARGIN_SECONDS = 0.3  # beyond the end, so that the windows above see what would follow
_ROOM_LEVEL = 1.2e-4


@dataclass(frozen=True, slots=True)
class Speech:
    """A sound and the mouth that makes it."""

    samples: np.ndarray
    """(N,) float32 mono in [-1, 1]."""
    audio_hz: int
    track_hz: int
    mouth_open: np.ndarray
    """(T,) float32, 0 closed to 1 as wide as an `a` (up to 1.2): moment i is at i / track_hz seconds."""
    mouth_wide: np.ndarray
    """(T,) float32, -1 rounded to 1 spread."""

    @property
    def seconds(self) -> float:
        """The length of the sound."""
        return len(self.samples) / self.audio_hz

    def mouth(self, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Opening and width at moments (F,) in seconds, each (F,)."""
        moments = seconds * self.track_hz
        indices = np.arange(len(self.mouth_open))
        return np.interp(moments, indices, self.mouth_open), np.interp(moments, indices, self.mouth_wide)


def speak(voice: Voice, *, seconds: float, seed: int) -> Speech:
    """Speech of no language in one voice; the same arguments give the same samples.

    A longer speech of the same seed says the same at first. Pauses hold faint breath, never exact zeros.
    """
    moments = ceil((seconds + _MARGIN_SECONDS) * TRACK_HZ)
    script = draw_script(_stream(seed, _SCRIPT), seconds=moments / TRACK_HZ)
    articulation = _Articulation.of(script, moments=moments)
    mouth_open = articulation.mouth_open(voice)
    tract = VocalTract(
        mouth_open=mouth_open,
        f2_hz=articulation.smooth("f2_hz", _TONGUE_SECONDS),
        f3_hz=articulation.smooth("f3_hz", _TONGUE_SECONDS),
        voicing=articulation.smooth("voicing", _VOICE_SECONDS) * articulation.stress(),
        noise=articulation.smooth("noise", _FRICTION_SECONDS),
        noise_hz=articulation.smooth("noise_hz", _FRICTION_SECONDS),
        f0_hz=voice.f0_hz * articulation.pitch(_stream(seed, _PITCH)),
    )
    samples = round(seconds * AUDIO_HZ)
    return Speech(
        samples=synthesise(tract, voice, samples=samples, rng=_stream(seed, _SOUND)),
        audio_hz=AUDIO_HZ,
        track_hz=TRACK_HZ,
        mouth_open=mouth_open.astype(np.float32),
        mouth_wide=articulation.smooth("mouth_wide", _LIPS_SECONDS).astype(np.float32),
    )


def say_nothing(*, seconds: float, seed: int) -> Speech:
    """A closed mouth in a quiet room: below -60 dB throughout, but not digital silence."""
    samples, moments = round(seconds * AUDIO_HZ), ceil((seconds + _MARGIN_SECONDS) * TRACK_HZ)
    still = np.zeros(moments, np.float32)
    return Speech(
        samples=room_noise(samples=samples, level=_ROOM_LEVEL, rng=_stream(seed, _SOUND)),
        audio_hz=AUDIO_HZ,
        track_hz=TRACK_HZ,
        mouth_open=still,
        mouth_wide=still,
    )


@dataclass(frozen=True, slots=True)
class _Articulation:
    """A script on the grid of moments: `which` (T,) is the segment of every moment."""

    script: list[Segment]
    which: np.ndarray

    @staticmethod
    def of(script: list[Segment], *, moments: int) -> "_Articulation":
        ends = np.round(np.cumsum([segment.seconds for segment in script]) * TRACK_HZ)
        return _Articulation(script, np.searchsorted(ends, np.arange(moments), side="right"))

    def smooth(self, name: str, seconds: float) -> np.ndarray:
        """A number of the phonemes over time, (T,), as an articulator of that speed reaches it."""
        return _smooth(self._spread([getattr(segment.phoneme, name) for segment in self.script]), seconds)

    def mouth_open(self, voice: Voice) -> np.ndarray:
        """The jaw's opening (T,); where the lips touch it is 0, however quick the sound."""
        touching = self.smooth("lips_closed", _CLOSURE_SECONDS)
        opening = self.smooth("mouth_open", _JAW_SECONDS) * self.stress() * voice.articulation
        return np.clip(opening * (1 - touching), 0, MOUTH_OPEN_MAX)

    def stress(self) -> np.ndarray:
        return _smooth(self._spread([segment.stress for segment in self.script]), _STRESS_SECONDS)

    def pitch(self, rng: np.random.Generator) -> np.ndarray:
        """The share of the voice's pitch over time, (T,), with the jitter of a human voice."""
        jitter = _smooth(rng.standard_normal(len(self.which)), _JITTER_SECONDS)
        contour = self._spread([segment.pitch for segment in self.script])
        return _smooth(contour, _PITCH_SECONDS) * (1 + _JITTER * jitter)

    def _spread(self, values: list[float]) -> np.ndarray:
        return np.asarray(values, dtype=np.float64)[self.which]


def _smooth(track: np.ndarray, seconds: float) -> np.ndarray:
    """A track (T,) through a Hann window, without lag."""
    reach = max(1, round(seconds * TRACK_HZ / 2))
    window = np.hanning(2 * reach + 1)
    padded = np.pad(track, reach, mode="edge")
    return np.convolve(padded, window / window.sum(), mode="valid")


def _stream(seed: int, number: int) -> np.random.Generator:
    return np.random.default_rng([seed, number])
