"""Sound: levels, and speech told from silence, noise and hum."""

import numpy as np
import pytest

from megactor_core.curation.sound import decibels, speech_share
from megactor_core.media.audio import Sound
from megactor_core.synthetic.identity import draw_identity
from megactor_core.synthetic.speech import speak

HZ = 16_000
FLOOR_DB = -50.0


def share(mono: np.ndarray, hz: int = HZ) -> float:
    return speech_share(Sound(mono[:, np.newaxis].astype(np.float32), hz), floor_db=FLOOR_DB)


def noise(seconds: float, level: float = 0.1) -> np.ndarray:
    return np.random.default_rng([1]).normal(0, level, round(seconds * HZ))


def tone(hz: float, seconds: float = 2.0) -> np.ndarray:
    return 0.1 * np.sin(2 * np.pi * hz * np.arange(round(seconds * HZ)) / HZ)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_speech_is_heard_for_the_time_that_it_takes(seed: int) -> None:
    speech = speak(draw_identity(seed).voice, seconds=2.0, seed=seed)
    assert share(speech.samples, speech.audio_hz) > 0.8
    half = np.concatenate([speech.samples, np.zeros_like(speech.samples)])
    assert share(half, speech.audio_hz) == pytest.approx(0.5, abs=0.1)
    # 10 dB above the noise, it is still heard.
    loudness = np.sqrt(np.square(speech.samples).mean())
    rng = np.random.default_rng([seed])
    noisy = speech.samples + rng.normal(0, loudness * 10**-0.5, len(speech.samples))
    assert share(noisy, speech.audio_hz) > 0.7


@pytest.mark.parametrize(
    "sound", [np.zeros(HZ), noise(2.0), tone(50.0), tone(2000.0) * 1e-3, np.zeros(10)], ids=str
)
def test_silence_noise_and_mains_hum_are_no_speech(sound: np.ndarray) -> None:
    assert share(sound) < 0.05


def test_quiet_speech_counts_from_the_floor_on() -> None:
    speech = speak(draw_identity(4).voice, seconds=2.0, seed=4)
    assert share(speech.samples * 1e-3, speech.audio_hz) == 0


def test_decibels() -> None:
    assert decibels(1.0) == 0
    assert decibels(0.1) == pytest.approx(-20)
    assert decibels(0.0) == -120
