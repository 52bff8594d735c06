"""Gate `sound`: whether a clip can be heard, and for what share of the time somebody speaks.

Speech is told by its pitch: a frame is voiced where it is loud enough and repeats itself at 70 to 400 Hz, and
syllables between voiced frames count with them. It needs no weights, hears through noise that has no pitch,
and takes singing and solo instruments for speech. All numbers are ours.

Shape legend:
    N samples at 16 kHz   F frames of 40 ms, one every 20 ms
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from scipy.ndimage import binary_dilation

from megactor_core.curation.part import Part
from megactor_core.errors import MediaError
from megactor_core.media.audio import WHISPER_HZ, Sound, to_mono

AUDIO_HZ: Final = WHISPER_HZ
FULL_SCALE: Final = 0.999
QUIETEST_DB: Final = -120.0
PITCH_HZ: Final = (70.0, 400.0)
PERIODIC: Final = 0.5
"""Autocorrelation, over that of no delay, from which a frame has a pitch."""
REACH_SECONDS: Final = 0.2
"""Around a voiced frame, which counts as speech: consonants and the pauses between syllables."""

_WINDOW, _HOP, _FFT = 640, 320, 2048
_CHUNK_FRAMES: Final = 2000


def measure_sound(part: Part, *, has_sound: bool, floor_db: float) -> dict[str, Any]:
    """Levels and speech of a clip's sound; with no sound, or one that cannot be decoded, the state alone."""
    if not has_sound:
        return {"sound_state": "none"}
    try:
        sound = part.sound()
    except MediaError:
        return {"sound_state": "unreadable"}
    around_zero = sound.samples - sound.samples.mean(axis=0)
    return {
        "sound_state": "heard",
        "sound_peak_db": decibels(float(np.abs(around_zero).max())),
        "sound_level_db": decibels(float(np.sqrt(np.square(around_zero).mean()))),
        "clipped_share": float((np.abs(sound.samples).max(axis=1) >= FULL_SCALE).mean()),
        "speech_share": speech_share(sound, floor_db=floor_db),
    }


def decibels(amplitude: float) -> float:
    """An amplitude in decibels of full scale, -120 at least."""
    return max(QUIETEST_DB, float(20 * np.log10(max(amplitude, 1e-12))))


def speech_share(sound: Sound, *, floor_db: float) -> float:
    """The share of the time with a voice in it that is louder than `floor_db`."""
    voiced = _voiced(to_mono(sound, audio_hz=AUDIO_HZ), floor_db=floor_db)
    reach = round(REACH_SECONDS * AUDIO_HZ / _HOP)
    return float(binary_dilation(voiced, np.ones(2 * reach + 1, dtype=bool)).mean())


def _voiced(mono: np.ndarray, *, floor_db: float) -> np.ndarray:
    """Which frames have a pitch: (N,) -> (F,) bool."""
    shortest, longest = (round(AUDIO_HZ / hz) for hz in PITCH_HZ[::-1])
    window = np.hanning(_WINDOW)
    own = np.fft.irfft(np.square(np.abs(np.fft.rfft(window, _FFT))))
    least_power = 10 ** (floor_db / 10)
    voiced = []
    for frames in _frames(mono):  # (f, 640)
        loud = np.square(frames).mean(axis=1) > least_power
        centred = (frames - frames.mean(axis=1, keepdims=True)) * window
        repeats = np.fft.irfft(np.square(np.abs(np.fft.rfft(centred, _FFT, axis=1))), axis=1)
        # The window's own fall is divided out, so that a pure tone has 1 at every delay of a period.
        likeness = repeats[:, shortest - 1 : longest + 2] / own[shortest - 1 : longest + 2] * own[0]
        # A peak, not a slope: hum and rumble below the pitch of voices are alike at every short delay.
        is_peak = (likeness[:, 1:-1] > likeness[:, :-2]) & (likeness[:, 1:-1] >= likeness[:, 2:])
        best = np.where(is_peak, likeness[:, 1:-1], 0.0).max(axis=1)
        voiced.append(loud & (best > PERIODIC * repeats[:, 0]))
    return np.concatenate(voiced)


def _frames(mono: np.ndarray) -> Iterator[np.ndarray]:
    """Frames in chunks, the last one padded with silence: at least one."""
    padded = np.pad(mono.astype(np.float64), (0, max(0, _WINDOW - len(mono))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    for start in range(0, len(windows), _CHUNK_FRAMES):
        yield windows[start : start + _CHUNK_FRAMES]
