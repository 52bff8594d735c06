"""What is said: phonemes, and a drawn script of syllables, phrases and pauses.

The sounds are those of no language. Formants and durations are in the usual range of adult speech; the lips'
numbers are ours.
"""

from dataclasses import dataclass, replace

import numpy as np

PAUSE = "_"
VOWELS = ("a", "e", "i", "o", "u", "æ", "ə")
CONSONANTS = ("m", "b", "p", "s", "ʃ", "f", "t", "d", "k", "l", "n", "w")


@dataclass(frozen=True, slots=True)
class Phoneme:
    """How one sound is made. The first formant is not here: it follows the jaw (see `formants`)."""

    mouth_open: float
    """Jaw: 0 closed, 1 as wide as an `a`."""
    mouth_wide: float
    """Lips: -1 rounded, 1 spread."""
    f2_hz: float
    f3_hz: float
    voicing: float
    """Share of the full voice."""
    seconds: float
    """Usual length."""
    noise: float = 0.0
    """Loudness of the friction."""
    noise_hz: float = 3000.0
    """Friction and release are heard above this."""
    release: float = 0.0
    """Loudness of the burst that ends a stop."""
    lips_closed: bool = False
    """Nothing passes the lips: they touch, whatever the neighbours are."""


PHONEMES = {
    PAUSE: Phoneme(0, 0, 1500, 2500, 0, 0.2),
    "a": Phoneme(1.0, 0.1, 1250, 2500, 1, 0.14),
    "e": Phoneme(0.55, 0.5, 1850, 2550, 1, 0.12),
    "i": Phoneme(0.22, 0.9, 2300, 3000, 1, 0.12),
    "o": Phoneme(0.6, -0.6, 850, 2450, 1, 0.13),
    "u": Phoneme(0.2, -1.0, 750, 2300, 1, 0.12),
    "æ": Phoneme(0.75, 0.3, 1700, 2450, 1, 0.12),
    "ə": Phoneme(0.35, 0.0, 1450, 2500, 1, 0.08),
    "m": Phoneme(0, 0, 1100, 2200, 0.5, 0.09, lips_closed=True),
    "b": Phoneme(0, 0, 900, 2200, 0.15, 0.08, noise_hz=500, release=0.15, lips_closed=True),
    "p": Phoneme(0, 0, 900, 2200, 0, 0.09, noise_hz=700, release=0.3, lips_closed=True),
    "s": Phoneme(0.1, 0.35, 1700, 2600, 0, 0.1, noise=0.5, noise_hz=4500),
    "ʃ": Phoneme(0.15, -0.5, 1600, 2400, 0, 0.1, noise=0.5, noise_hz=2300),
    "f": Phoneme(0.05, 0.1, 1300, 2300, 0, 0.09, noise=0.2, noise_hz=1500),
    "t": Phoneme(0.15, 0.1, 1800, 2600, 0, 0.07, noise_hz=3500, release=0.6),
    "d": Phoneme(0.15, 0.1, 1800, 2600, 0.15, 0.06, noise_hz=3200, release=0.3),
    "k": Phoneme(0.25, 0.0, 1500, 2300, 0, 0.08, noise_hz=1600, release=0.5),
    "l": Phoneme(0.3, 0.1, 1300, 2600, 0.7, 0.07),
    "n": Phoneme(0.18, 0.1, 1600, 2600, 0.5, 0.07),
    "w": Phoneme(0.12, -0.9, 700, 2200, 0.6, 0.07),
}

_RELEASE_SECONDS = 0.018
_SYLLABLES_A_PHRASE = (2, 9)
_ONSET_SHARE = 0.85
_CODA_SHARE = 0.25
_PAUSE_SECONDS = (0.12, 0.6)
_FIRST_PAUSE_SECONDS = (0.0, 0.25)
_STRESS = (0.6, 1.15)
_CONSONANT_LENGTH, _VOWEL_LENGTH = (0.8, 1.3), (0.8, 1.8)
_LAST_VOWEL_LENGTH = 1.3
_PITCH_AT_START, _PITCH_AT_END = 1.1, 0.86
_PITCH_BY_STRESS = 0.2


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of sound: what is said, how long, how strongly, at which share of the voice's pitch."""

    phoneme: Phoneme
    seconds: float
    stress: float
    pitch: float


def draw_script(rng: np.random.Generator, *, seconds: float) -> list[Segment]:
    """Segments that fill at least `seconds`: a short pause, then phrases with pauses between them.

    A longer script begins as a shorter one of the same generator does.
    """
    script = [_pause(rng, _FIRST_PAUSE_SECONDS)]
    while sum(segment.seconds for segment in script) < seconds:
        script += _draw_phrase(rng)
        script.append(_pause(rng, _PAUSE_SECONDS))
    return script


def _draw_phrase(rng: np.random.Generator) -> list[Segment]:
    syllables = int(rng.integers(*_SYLLABLES_A_PHRASE))
    phrase: list[Segment] = []
    for number in range(syllables):
        along = number / max(1, syllables - 1)
        phrase += _draw_syllable(rng, along=along, is_last=number == syllables - 1)
    return phrase


def _draw_syllable(rng: np.random.Generator, *, along: float, is_last: bool) -> list[Segment]:
    stress = float(rng.uniform(*_STRESS))
    # Pitch falls over a phrase and rises on what is stressed.
    pitch = _PITCH_AT_START + (_PITCH_AT_END - _PITCH_AT_START) * along
    pitch *= 1 + _PITCH_BY_STRESS * (stress - sum(_STRESS) / 2)

    def draw(sounds: tuple[str, ...], length: tuple[float, float], *, stretch: float = 1.0) -> list[Segment]:
        phoneme = PHONEMES[sounds[int(rng.integers(len(sounds)))]]
        duration = phoneme.seconds * float(rng.uniform(*length)) * stretch
        return _with_release(Segment(phoneme, duration, stress, pitch))

    onset = draw(CONSONANTS, _CONSONANT_LENGTH) if rng.random() < _ONSET_SHARE else []
    nucleus = draw(VOWELS, _VOWEL_LENGTH, stretch=_LAST_VOWEL_LENGTH if is_last else 1.0)
    coda = draw(CONSONANTS, _CONSONANT_LENGTH) if rng.random() < _CODA_SHARE else []
    return onset + nucleus + coda


def _with_release(segment: Segment) -> list[Segment]:
    """A stop as its closure and its burst; any other sound as it is."""
    phoneme = segment.phoneme
    if not phoneme.release:
        return [segment]
    burst = replace(phoneme, noise=phoneme.release, voicing=0.0, lips_closed=False)
    closure = replace(segment, seconds=segment.seconds - _RELEASE_SECONDS)
    return [closure, replace(segment, phoneme=burst, seconds=_RELEASE_SECONDS)]


def _pause(rng: np.random.Generator, seconds: tuple[float, float]) -> Segment:
    return Segment(PHONEMES[PAUSE], float(rng.uniform(*seconds)), 1.0, 1.0)
