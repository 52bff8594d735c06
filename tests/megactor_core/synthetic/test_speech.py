"""Speech: the sound and the mouth are one, for every voice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, sosfilt

from megactor_core.media.audio import Sound, is_silent
from megactor_core.synthetic.identity import draw_identity
from megactor_core.synthetic.phonemes import CONSONANTS, PHONEMES, VOWELS, Segment, draw_script
from megactor_core.synthetic.speech import Speech, say_nothing, speak
from megactor_core.synthetic.voice import Voice

VIDEO_FPS = 25
MAN = Voice(f0_hz=110, formant_scale=0.92, tilt=1.1, breath=0.01, articulation=1.0)


def _loudness(speech: Speech, *, below_hz: float | None = None) -> np.ndarray:
    """Root mean square of each frame's stretch of sound."""
    samples = speech.samples
    if below_hz is not None:
        samples = sosfilt(butter(4, below_hz, fs=speech.audio_hz, output="sos"), samples)
    hop = speech.audio_hz // VIDEO_FPS
    frames = len(samples) // hop
    return np.sqrt((samples[: frames * hop].reshape(frames, hop) ** 2).mean(axis=1))


def _opening(speech: Speech, frames: int) -> np.ndarray:
    return speech.mouth((np.arange(frames) + 0.5) / VIDEO_FPS)[0]


def _lag_frames(sound: np.ndarray, mouth: np.ndarray, *, reach: int = 10) -> int:
    """Frames by which the sound is later than the mouth, by cross-correlation."""
    sound, mouth = sound - sound.mean(), mouth - mouth.mean()
    lags = range(-reach, reach + 1)
    inner = mouth[reach:-reach]
    return max(lags, key=lambda lag: float(inner @ sound[reach + lag : len(sound) - reach + lag]))


@pytest.mark.parametrize("identity_seed", range(12))
def test_sound_and_mouth_are_in_sync_for_every_voice(identity_seed: int) -> None:
    speech = speak(draw_identity(identity_seed).voice, seconds=6, seed=100 + identity_seed)
    loudness = _loudness(speech)
    opening = _opening(speech, len(loudness))
    assert _lag_frames(loudness, opening) == 0
    assert np.corrcoef(loudness, opening)[0, 1] > 0.7


def test_the_first_formant_tells_the_opening() -> None:
    """Of voiced frames, the centre of the sound below 1.2 kHz rises with the jaw."""
    speech = speak(MAN, seconds=20, seed=3)
    hop, window = speech.audio_hz // VIDEO_FPS, np.hanning(speech.audio_hz // VIDEO_FPS)
    frames = speech.samples[: len(speech.samples) // hop * hop].reshape(-1, hop) * window
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    hz = np.fft.rfftfreq(hop, 1 / speech.audio_hz)
    low = hz < 1200
    centre_hz = (power[:, low] @ hz[low]) / power[:, low].sum(axis=1)
    voiced = _loudness(speech, below_hz=1200) > 0.03
    opening = _opening(speech, len(frames))
    assert voiced.sum() > 100
    assert np.corrcoef(centre_hz[voiced], opening[voiced])[0, 1] > 0.7


@settings(max_examples=10)
@given(seed=st.integers(0, 2**63 - 1), seconds=st.floats(0.05, 3))
def test_the_same_arguments_give_the_same_speech(seed: int, seconds: float) -> None:
    first, again = (speak(MAN, seconds=seconds, seed=seed) for _ in range(2))
    assert first.samples.tobytes() == again.samples.tobytes()
    assert first.mouth_open.tobytes() == again.mouth_open.tobytes()
    assert len(first.samples) == round(seconds * 16_000)
    assert first.samples.dtype == np.float32
    assert np.isfinite(first.samples).all()
    assert np.abs(first.samples).max() < 1
    assert ((first.mouth_open >= 0) & (first.mouth_open <= 1.2)).all()
    assert (np.abs(first.mouth_wide) <= 1).all()


def test_seeds_and_voices_differ() -> None:
    other = Voice(f0_hz=210, formant_scale=1.1, tilt=0.8, breath=0.01, articulation=1.0)
    samples = [speak(voice, seconds=1, seed=seed).samples for voice, seed in ((MAN, 1), (MAN, 2), (other, 1))]
    assert not np.allclose(samples[0], samples[1])
    assert not np.allclose(samples[0], samples[2])


def test_a_longer_speech_says_the_same_at_first() -> None:
    short, long = speak(MAN, seconds=2, seed=5), speak(MAN, seconds=5, seed=5)
    moments = 2 * short.track_hz
    np.testing.assert_allclose(short.mouth_open[:moments], long.mouth_open[:moments], atol=1e-6)
    np.testing.assert_allclose(short.samples[:31_000], long.samples[:31_000], atol=1e-5)


def test_lips_close_where_they_must(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two wide vowels m, b and p still shut the mouth, and the sound dips."""
    for name in "mbp":
        parts = [("a", 0.3), (name, PHONEMES[name].seconds), ("a", 0.6)]
        script = [Segment(PHONEMES[sound], seconds, 1.0, 1.0) for sound, seconds in parts]
        monkeypatch.setattr("megactor_core.synthetic.speech.draw_script", lambda rng, seconds, s=script: s)
        speech = speak(MAN, seconds=0.6, seed=0)
        closed_at = 0.3 + PHONEMES[name].seconds / 2
        opening = speech.mouth(np.array([0.15, closed_at, 0.55]))[0]
        assert opening[1] < 1e-3, name
        assert min(opening[0], opening[2]) > 0.8, name
        hop = 320  # 20 ms
        loudness = np.sqrt((speech.samples.reshape(-1, hop) ** 2).mean(axis=1))
        around = loudness[[7, int(closed_at * 50), 27]]
        assert around[1] < 0.4 * min(around[0], around[2]), name


def test_pauses_are_quiet_but_not_digital_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    script = [Segment(PHONEMES["a"], 0.5, 1, 1), Segment(PHONEMES["_"], 1.0, 1, 1)]
    monkeypatch.setattr("megactor_core.synthetic.speech.draw_script", lambda rng, seconds: script)
    speech = speak(MAN, seconds=1, seed=0)
    vowel, pause = speech.samples[3000:7000], speech.samples[10_000:15_000]
    assert (pause != 0).all()
    assert pause.std() < 0.03 * vowel.std()
    assert speech.mouth(np.array([0.8]))[0] == 0


def test_nothing_said_is_a_closed_mouth_in_a_quiet_room() -> None:
    speech = say_nothing(seconds=2, seed=1)
    assert is_silent(Sound(speech.samples[:, np.newaxis], speech.audio_hz))
    assert speech.samples.std() > 1e-5
    assert not speech.mouth(np.linspace(0, 2, 50))[0].any()


def test_scripts_use_every_sound_and_pause() -> None:
    script = draw_script(np.random.default_rng(0), seconds=300)
    said = {id(segment.phoneme) for segment in script}
    plain = [PHONEMES[name] for name in (*VOWELS, *CONSONANTS, "_") if not PHONEMES[name].release]
    assert all(id(phoneme) in said for phoneme in plain)
    assert sum(segment.seconds for segment in script) >= 300
    pauses = [segment for segment in script if segment.phoneme is PHONEMES["_"]]
    assert 0.05 < sum(pause.seconds for pause in pauses) / 300 < 0.4


def test_the_voice_keeps_its_pitch() -> None:
    """The strongest period of a long vowel is the voice's."""
    for f0_hz in (100, 220):
        voice = Voice(f0_hz=f0_hz, formant_scale=1.0, tilt=1.0, breath=0.005, articulation=1.0)
        speech = speak(voice, seconds=8, seed=2)
        windows = speech.samples[: 8 * 16_000].reshape(-1, 1600)
        loud = windows[np.argsort(windows.std(axis=1))[-15:]]
        spectrum = np.abs(np.fft.rfft(loud, n=8192, axis=1)) ** 2
        echo = np.fft.irfft(spectrum, axis=1)[:, 50:250]
        measured = 16_000 / (50 + echo.argmax(axis=1))
        assert abs(np.median(measured) / f0_hz - 1) < 0.15
