"""MFCC: the golden numbers, its steps written out, and its edges."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.errors import MetricError
from megactor_core.media.audio import read_sound, to_mono
from megactor_core.metrics.mfcc import mfcc


@pytest.mark.real
def test_the_golden_speech_parity(real_data: Path) -> None:
    coefficients = mfcc(to_mono(read_sound(real_data / "audio" / "jfk.wav")))
    assert coefficients.shape == (1099, 13)
    assert coefficients.mean() == pytest.approx(-5.066374, abs=1e-6)
    assert coefficients.std() == pytest.approx(15.617186, abs=1e-6)
    np.testing.assert_allclose(coefficients[500, :3], [13.21949, 8.01539, -7.987], atol=1e-5)
    assert coefficients[0, 0] == pytest.approx(-36.04365, abs=1e-5)  # silence: the log of the smallest step


def by_hand(window: np.ndarray) -> list[float]:
    """The coefficients of one window of whole numbers, sum by sum."""
    emphasised = [window[0]] + [window[n] - 0.97 * window[n - 1] for n in range(1, 400)]
    power = []
    for k in range(257):
        angles = 2 * math.pi * k * np.arange(400) / 512
        power.append(
            (np.dot(emphasised, np.cos(angles)) ** 2 + np.dot(emphasised, np.sin(angles)) ** 2) / 512
        )
    top = 2595 * math.log10(1 + 8000 / 700)
    edges = [math.floor(513 * 700 * (10 ** (top * n / 27 / 2595) - 1) / 16000) for n in range(28)]
    bands = []
    for j in range(26):
        rising = sum(
            power[k] * (k - edges[j]) / (edges[j + 1] - edges[j]) for k in range(edges[j], edges[j + 1])
        )
        falling = sum(
            power[k] * (edges[j + 2] - k) / (edges[j + 2] - edges[j + 1])
            for k in range(edges[j + 1], edges[j + 2])
        )
        bands.append(math.log(rising + falling))
    cepstrum = [math.log(sum(power))]
    for c in range(1, 13):
        waves = [bands[j] * math.cos(math.pi * c * (2 * j + 1) / 52) for j in range(26)]
        cepstrum.append(sum(waves) * math.sqrt(2 / 26) * (1 + 11 * math.sin(math.pi * c / 22)))
    return cepstrum


def test_one_window_parity_with_its_sums() -> None:
    whole = np.random.default_rng(0).integers(-9000, 9000, 400)
    np.testing.assert_allclose(mfcc(whole / 32768)[0], by_hand(whole.astype(float)), rtol=1e-9)


@given(st.integers(1, 3000))
def test_windows_start_every_10_ms(samples: int) -> None:
    sound = np.random.default_rng(samples).normal(scale=0.1, size=samples)
    coefficients = mfcc(sound)
    assert coefficients.shape == (1 + max(0, math.ceil((samples - 400) / 160)), 13)
    assert np.isfinite(coefficients).all()


def test_loudness_moves_the_first_coefficient_alone() -> None:
    sound = np.random.default_rng(1).normal(scale=0.05, size=4000)
    soft, loud = mfcc(sound), mfcc(4 * sound)
    np.testing.assert_allclose(loud[:, 0] - soft[:, 0], 2 * math.log(4), atol=1e-3)
    np.testing.assert_allclose(loud[:, 1:], soft[:, 1:], atol=0.05)


@pytest.mark.parametrize("sound", [np.zeros((100, 2)), np.zeros(0), np.array([0.0, np.nan])])
def test_what_is_no_mono_sound_is_one_error(sound: np.ndarray) -> None:
    with pytest.raises(MetricError, match="not samples of one channel"):
        mfcc(sound)
