"""How a synthetic head moves: pose, gaze, blinks, brows and smile, each drawn from a stream of its own.

No track depends on another or on the speech (the brow can, where it is asked to), so that what a model makes
of one driver can be told from what it makes of the other. All numbers are ours.

Shape legend:
    F frames   frame i shows the moment (i + 0.5) / video_fps
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from megactor_core.synthetic.identity import Identity
from megactor_core.synthetic.speech import Speech, say_nothing, speak
from megactor_core.synthetic.state import TRACKS, Performance

LIMITS = {
    "yaw_degrees": (-37.0, 37.0),
    "pitch_degrees": (-20.0, 20.0),
    "roll_degrees": (-15.0, 15.0),
    "shift_x": (-0.1, 0.1),
    "shift_y": (-0.08, 0.08),
    "scale": (0.8, 1.2),
    "mouth_open": (0.0, 1.2),
    "mouth_wide": (-1.0, 1.0),
    "smile": (-0.8, 1.0),
    "eye_open": (0.0, 1.0),
    "gaze_x": (-1.0, 1.0),
    "gaze_y": (-1.0, 1.0),
    "brow": (-1.0, 1.0),
}
"""What no performance goes beyond; heads are drawn well up to there."""

# Streams of random numbers; a new track takes a new number, so that it changes none of these.
_YAW, _PITCH, _ROLL, _SHIFT_X, _SHIFT_Y, _SCALE, _NODS = 21, 22, 23, 24, 25, 26, 27
_SMILE, _BLINKS, _GAZE, _BROW = 31, 32, 33, 34

_NODS_A_SECOND, _NOD_DEGREES, _NOD_SECONDS = 0.4, 4.0, 0.22
_BLINK_CLOSE_SECONDS, _BLINK_HOLD_SECONDS, _BLINK_OPEN_SECONDS = 0.07, 0.05, 0.16
_BLINK_FIRST_SECONDS, _BLINK_PAUSE_SECONDS = (0.2, 1.8), (0.7, 4.0)
_LIDS = (0.82, 1.0)
_FIXATION_SECONDS, _SACCADE_SECONDS, _GAZE_SPREAD = (0.3, 1.6), 0.04, (0.5, 0.35)
_BROW_REST = 0.3  # mouth opening at which speech leaves the brow where it is


@dataclass(frozen=True, slots=True)
class _Sway:
    """A smooth random track: where it rests differs from clip to clip, then it sways about that."""

    rest: float
    """Standard deviation of the resting place over clips."""
    sway: float
    """Standard deviation about it within a clip."""
    hz: float
    """New places to go to, a second."""


_SWAYS = {
    "yaw_degrees": (_YAW, _Sway(9.2, 8.0, 0.9)),
    "pitch_degrees": (_PITCH, _Sway(4.0, 4.0, 0.9)),
    "roll_degrees": (_ROLL, _Sway(2.9, 2.9, 0.8)),
    "shift_x": (_SHIFT_X, _Sway(0.02, 0.012, 0.6)),
    "shift_y": (_SHIFT_Y, _Sway(0.015, 0.01, 0.6)),
    "scale": (_SCALE, _Sway(0.05, 0.015, 0.5)),
}
"""Pose, in the units of the tracks; the scale about 1."""
_SMILE_SWAY = _Sway(0.2, 0.35, 0.7)
_BROW_SWAY = _Sway(0.1, 0.5, 1.2)


def perform(
    identity: Identity,
    *,
    seconds: float,
    video_fps: Fraction,
    seed: int,
    motion_scale: float = 1.0,
    speaks: bool = True,
    brow_follows_speech: float = 0.0,
) -> tuple[Performance, Speech]:
    """What an identity does and says in `seconds`; its voice alone depends on the identity.

    See `act` for the strengths. speaks: False keeps the mouth closed in a quiet room.
    """
    frames = round(seconds * video_fps)
    speech = (
        speak(identity.voice, seconds=seconds, seed=seed)
        if speaks
        else say_nothing(seconds=seconds, seed=seed)
    )
    performance = act(
        speech,
        frames=frames,
        video_fps=video_fps,
        seed=seed,
        motion_scale=motion_scale,
        brow_follows_speech=brow_follows_speech,
    )
    return performance, speech


def act(
    speech: Speech,
    *,
    frames: int,
    video_fps: Fraction,
    seed: int,
    motion_scale: float = 1.0,
    brow_follows_speech: float = 0.0,
    speech_starts_seconds: float = 0.0,
) -> Performance:
    """F frames of a head that says `speech`.

    motion_scale: amplitude of the head's pose; at 1 the yaw goes up to 25 or 35 degrees.
    brow_follows_speech: how far an open mouth lifts the brow, 0 for not at all.
    speech_starts_seconds: the moment of the speech that the clip begins at.
    """
    times = (np.arange(frames) + 0.5) / float(video_fps)
    mouth_open, mouth_wide = speech.mouth(times + speech_starts_seconds)
    pose = {
        name: motion_scale * _sway(times, sway, _stream(seed, number))
        for name, (number, sway) in _SWAYS.items()
    }
    pose["pitch_degrees"] += motion_scale * _nods(times, _stream(seed, _NODS))
    pose["scale"] += 1
    gaze_x, gaze_y = _gaze(times, _stream(seed, _GAZE))
    brow = _sway(times, _BROW_SWAY, _stream(seed, _BROW))
    expression = {
        "mouth_open": mouth_open,
        "mouth_wide": mouth_wide,
        "smile": _sway(times, _SMILE_SWAY, _stream(seed, _SMILE)),
        "eye_open": _lids(times, _stream(seed, _BLINKS)),
        "gaze_x": gaze_x,
        "gaze_y": gaze_y,
        "brow": brow + brow_follows_speech * (mouth_open - _BROW_REST),
    }
    tracks = {name: _within(_ease(name, track), name) for name, track in (pose | expression).items()}
    return Performance(np.stack([tracks[name] for name in TRACKS], axis=1), float(video_fps))


def _ease(name: str, track: np.ndarray) -> np.ndarray:
    """The head slows down towards its limits instead of running into them; other tracks stay as they are."""
    if name not in _SWAYS:
        return track
    low, high = LIMITS[name]
    centre, reach = (low + high) / 2, (high - low) / 2
    return centre + reach * np.tanh((track - centre) / reach)


def _within(track: np.ndarray, name: str) -> np.ndarray:
    return np.clip(track, *LIMITS[name])


def _sway(times: np.ndarray, sway: _Sway, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise at moments (F,): a cubic B-spline through random places, so without jerks."""
    rest, phase = sway.rest * rng.standard_normal(), rng.random()
    position = times * sway.hz + phase
    places = rng.standard_normal(int(position[-1]) + 4)
    knot = position.astype(int)
    u = position - knot
    weights = (
        (1 - u) ** 3 / 6,
        (3 * u**3 - 6 * u**2 + 4) / 6,
        (-3 * u**3 + 3 * u**2 + 3 * u + 1) / 6,
        u**3 / 6,
    )
    smooth = sum(weight * places[knot + k] for k, weight in enumerate(weights))
    return rest + sway.sway / _SPLINE_DEVIATION * smooth


_SPLINE_DEVIATION = (151 / 315) ** 0.5
"""Standard deviation of a cubic B-spline through places of deviation 1: the root of its kernel's energy."""


def _nods(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    track = np.zeros_like(times)
    for at in _moments(rng, first=(0.0, 2 / _NODS_A_SECOND), pause=(1.0, 4.0), end=times[-1]):
        track += _NOD_DEGREES * rng.standard_normal() * np.exp(-(((times - at) / _NOD_SECONDS) ** 2))
    return track


def _lids(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Openness of the eyes: lids fall fast, stay a frame, and rise slower."""
    closed = np.zeros_like(times)
    openness = rng.uniform(*_LIDS)
    for at in _moments(rng, first=_BLINK_FIRST_SECONDS, pause=_BLINK_PAUSE_SECONDS, end=times[-1]):
        falling = _smoothstep((times - at) / _BLINK_CLOSE_SECONDS)
        opens = at + _BLINK_CLOSE_SECONDS + _BLINK_HOLD_SECONDS
        closed = np.maximum(closed, falling * (1 - _smoothstep((times - opens) / _BLINK_OPEN_SECONDS)))
    return openness * (1 - closed)


def _gaze(times: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Fixations with quick saccades between them, each (F,)."""
    starts = _moments(rng, first=(0.0, 0.0), pause=_FIXATION_SECONDS, end=times[-1])
    targets = np.clip(rng.standard_normal((len(starts), 2)) * _GAZE_SPREAD, -1, 1)
    arrivals = np.ravel([[at, at + _SACCADE_SECONDS] for at in starts])[1:]
    places = np.repeat(targets, 2, axis=0)[:-1]
    return np.interp(times, arrivals, places[:, 0]), np.interp(times, arrivals, places[:, 1])


def _moments(
    rng: np.random.Generator, *, first: tuple[float, float], pause: tuple[float, float], end: float
) -> list[float]:
    """Random moments up to `end` and one beyond."""
    moments = [float(rng.uniform(*first))]
    while moments[-1] < end:
        moments.append(moments[-1] + float(rng.uniform(*pause)))
    return moments


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _stream(seed: int, number: int) -> np.random.Generator:
    return np.random.default_rng([seed, number])
