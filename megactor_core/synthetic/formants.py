"""The sound of a vocal tract: a voice and noise as source, resonances that move as filter.

The model is Fant's source and filter with Klatt's digital resonators in cascade; the spectra are applied in
overlapping windows, all at once. The numbers are ours unless marked.

Shape legend:
    N samples   T moments, one a hop   K frequencies of a window
"""

from dataclasses import dataclass

import numpy as np

from megactor_core.synthetic.voice import Voice

AUDIO_HZ = 16_000
TRACK_HZ = 200
"""Moments a second at which the vocal tract is known."""
HOP = AUDIO_HZ // TRACK_HZ

_WINDOW = 4 * HOP
_FFT = 512  # leaves 12 ms after each window for the resonances to ring
_BANDWIDTHS_HZ = (80.0, 100.0, 140.0, 220.0, 300.0)
_F4_HZ, _F5_HZ = 3500.0, 4500.0
_F1_CLOSED_HZ, _F1_OPEN_HZ = 240.0, 800.0  # of [i, u] and of [a] in adult speech
_TILT_HZ = 2000.0
_BREATH_SHARE = 0.3  # of breath in a pause
_BREATH_LEVEL = 0.5
_VOICE_LEVEL, _FRICTION_LEVEL = 0.19, 0.13
_FRICTION_SLOPE_HZ = 350.0
_LOUDNESS_CLOSED = 0.25


@dataclass(frozen=True, slots=True)
class VocalTract:
    """What the articulators do at T moments, each (T,)."""

    mouth_open: np.ndarray
    f2_hz: np.ndarray
    f3_hz: np.ndarray
    voicing: np.ndarray
    """Strength of the voice before the mouth's opening lets it out."""
    noise: np.ndarray
    noise_hz: np.ndarray
    f0_hz: np.ndarray


def synthesise(tract: VocalTract, voice: Voice, *, samples: int, rng: np.random.Generator) -> np.ndarray:
    """The sound of a vocal tract that moves, (N,) float32 at AUDIO_HZ; sample 0 belongs to moment 0.

    Loudness follows voicing and the mouth's opening, the first formant the opening alone, so that both can be
    read off the sound.
    """
    moments = len(tract.mouth_open)
    times = np.arange(moments * HOP) / HOP
    loudness = tract.voicing * (_LOUDNESS_CLOSED + (1 - _LOUDNESS_CLOSED) * np.sqrt(tract.mouth_open))
    voiced = _at(times, loudness) * _glottis(_at(times, tract.f0_hz), tilt_hz=_TILT_HZ / voice.tilt)
    white = rng.standard_normal(moments * HOP, dtype=np.float32)
    breath = voice.breath * _BREATH_LEVEL * white * (_BREATH_SHARE + _at(times, loudness))
    friction = white * _at(times, tract.noise)

    resonances = _resonances(tract, voice)  # (T, K)
    spectra = _spectra(_VOICE_LEVEL * voiced + breath) * resonances
    spectra += _spectra(_FRICTION_LEVEL * friction) * _above(tract.noise_hz)
    return np.tanh(_overlap_add(spectra))[:samples]


def room_noise(*, samples: int, level: float, rng: np.random.Generator) -> np.ndarray:
    """The faint hiss of a quiet room, (N,) float32 with a root mean square of `level`."""
    return np.float32(level) * rng.standard_normal(samples, dtype=np.float32)


def _at(times: np.ndarray, track: np.ndarray) -> np.ndarray:
    return np.interp(times, np.arange(len(track)), track).astype(np.float32)


def _glottis(f0_hz: np.ndarray, *, tilt_hz: float) -> np.ndarray:
    """Pulses of root mean square 1 at a pitch of (N,): every harmonic, its level falling as exp(-f / tilt).

    The sum of r**k * sin(k * phase) over all k in closed form. What folds back at the Nyquist frequency stays
    30 dB below the harmonics that it falls between.
    """
    phase = 2 * np.pi * np.cumsum(f0_hz, dtype=np.float64) / AUDIO_HZ
    r = np.exp(-f0_hz / tilt_hz)
    pulses = r * np.sin(phase) / (1 - 2 * r * np.cos(phase) + r * r)
    return (pulses * np.sqrt(2 * (1 - r * r)) / r).astype(np.float32)


def _resonances(tract: VocalTract, voice: Voice) -> np.ndarray:
    """The filter of the vocal tract at every moment, (T, K) complex64, of unit gain for the voice."""
    f1_hz = _F1_CLOSED_HZ + (_F1_OPEN_HZ - _F1_CLOSED_HZ) * tract.mouth_open
    high_hz = [np.full_like(f1_hz, fixed_hz) for fixed_hz in (_F4_HZ, _F5_HZ)]
    formants_hz = np.stack([f1_hz, tract.f2_hz, tract.f3_hz, *high_hz]) * voice.formant_scale
    delay = np.exp(-2j * np.pi * np.fft.rfftfreq(_FFT)).astype(np.complex64)  # (K,)
    denominator = np.ones((len(f1_hz), len(delay)), np.complex64)
    for centre_hz, bandwidth_hz in zip(formants_hz, _BANDWIDTHS_HZ, strict=True):
        radius = np.exp(-np.pi * bandwidth_hz / AUDIO_HZ)
        turn = (2 * radius * np.cos(2 * np.pi * centre_hz / AUDIO_HZ)).astype(np.float32)
        denominator *= 1 - turn[:, None] * delay + np.float32(radius**2) * delay**2
    response = 1 / denominator
    source = np.exp(-np.fft.rfftfreq(_FFT, 1 / AUDIO_HZ) * voice.tilt / _TILT_HZ)
    power = (response.real**2 + response.imag**2) @ (source**2 / np.sum(source**2)).astype(np.float32)
    return response / np.sqrt(power)[:, None]


def _above(corner_hz: np.ndarray) -> np.ndarray:
    """A gentle high-pass at every moment, (T, K) float32."""
    frequency = np.fft.rfftfreq(_FFT, 1 / AUDIO_HZ).astype(np.float32)
    exponent = (corner_hz.astype(np.float32)[:, None] - frequency) / np.float32(_FRICTION_SLOPE_HZ)
    return 1 / (1 + np.exp(exponent))


def _spectra(signal: np.ndarray) -> np.ndarray:
    """The spectrum of the window about every moment: (T * HOP,) -> (T, K) complex64."""
    padded = np.pad(signal, (_WINDOW // 2, _WINDOW // 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::HOP][: len(signal) // HOP]
    return np.fft.rfft(windows * _HANN, n=_FFT, axis=1)


def _overlap_add(spectra: np.ndarray) -> np.ndarray:
    """The inverse of `_spectra` for spectra that were filtered: (T, K) -> (T * HOP,) float32."""
    blocks = -(-_FFT // HOP)
    windows = np.fft.irfft(spectra, n=_FFT, axis=1)
    windows = np.pad(windows, ((0, 0), (0, blocks * HOP - _FFT)))
    moments = len(windows)
    output = np.zeros((moments + blocks, HOP), np.float32)
    for block in range(blocks):
        output[block : block + moments] += windows[:, block * HOP : (block + 1) * HOP]
    # Windows overlap fourfold, so that their sum is 2.
    return output.reshape(-1)[_WINDOW // 2 :][: moments * HOP] / 2


_HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)).astype(np.float32)
