"""Mel-frequency cepstral coefficients of speech, as SyncNet was trained on them.

The defaults of python_speech_features: windows of 25 ms every 10 ms without shaping, 26 triangular filters
between 0 and 8 kHz, 13 coefficients of which the first is the log of the window's energy. float64.

Shape legend:
    N samples   T windows   K = 257 frequencies   26 filters   13 coefficients
"""

import math
from functools import cache
from typing import Final

import numpy as np
import scipy.fft

from megactor_core.errors import MetricError
from megactor_core.media.audio import WHISPER_HZ

AUDIO_HZ: Final = WHISPER_HZ
WINDOW_SAMPLES: Final = 400
STEP_SAMPLES: Final = 160
COEFFICIENTS: Final = 13
_FFT_SAMPLES: Final = 512
_FILTERS: Final = 26
_PREEMPHASIS: Final = 0.97
_LIFTER: Final = 22
_INT16_RANGE: Final = 32768


def mfcc(samples: np.ndarray) -> np.ndarray:
    """Mono sound at 16 kHz in [-1, 1], (N,) float -> (T, 13) float64, T = 1 + ceil((N - 400) / 160).

    The sound is brought to whole numbers of 16 bits first, whose scale moves the first coefficients.
    Raises MetricError for a sound with channels, without samples, or with values that are not finite.
    """
    if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
        raise MetricError(
            f"The sound is {samples.shape} {samples.dtype}, not samples of one channel.",
            fix="Mix it to mono, and leave clips without sound out.",
        )
    whole = np.rint(samples.astype(np.float64) * _INT16_RANGE).clip(-_INT16_RANGE, _INT16_RANGE - 1)
    power = _power(_windows(np.append(whole[0], whole[1:] - _PREEMPHASIS * whole[:-1])))  # (T, K)
    bands = np.log(_not_zero(power @ _mel_filters().T))  # (T, 26)
    coefficients = scipy.fft.dct(bands, type=2, axis=1, norm="ortho")[:, :COEFFICIENTS]
    coefficients *= 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / _LIFTER)
    coefficients[:, 0] = np.log(_not_zero(power.sum(axis=1)))
    return np.asarray(coefficients)


def _windows(signal: np.ndarray) -> np.ndarray:
    """(N,) -> (T, 400); the last one is filled with zeros."""
    count = 1 + max(0, math.ceil((len(signal) - WINDOW_SAMPLES) / STEP_SAMPLES))
    whole = (count - 1) * STEP_SAMPLES + WINDOW_SAMPLES
    padded = np.pad(signal, (0, max(0, whole - len(signal))))
    return np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::STEP_SAMPLES][:count]


def _power(windows: np.ndarray) -> np.ndarray:
    return np.square(np.abs(np.fft.rfft(windows, _FFT_SAMPLES))) / _FFT_SAMPLES


def _not_zero(values: np.ndarray) -> np.ndarray:
    return np.where(values == 0, np.finfo(np.float64).eps, values)


@cache
def _mel_filters() -> np.ndarray:
    """Triangles between whole frequency bins, equally spaced in mel: (26, K)."""
    top_mel = 2595 * math.log10(1 + AUDIO_HZ / 2 / 700)
    edges_hz = 700 * (10 ** (np.linspace(0, top_mel, _FILTERS + 2) / 2595) - 1)
    edges = np.floor((_FFT_SAMPLES + 1) * edges_hz / AUDIO_HZ)
    bins = np.arange(_FFT_SAMPLES // 2 + 1)
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - left) / (middle - left)
    falling = (right - bins) / (right - middle)
    return np.where((bins >= left) & (bins < middle), rising, 0) + np.where(
        (bins >= middle) & (bins < right), falling, 0
    )
