"""The built-in example: what bare `megactor animate` and the demo animate."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

EXAMPLE: Final = Path(__file__).parents[1] / "assets" / "example"
"""Made by recipes/scripts/make_example.py."""


@dataclass(frozen=True, slots=True)
class Example:
    """Paths of the built-in example."""

    reference: Path
    driving: Path
    audio: Path


def example(folder: Path = EXAMPLE) -> Example:
    """A portrait, a driving clip and speech of three synthetic people, none of whom any training has seen."""
    return Example(
        reference=folder / "portrait.png", driving=folder / "driving.mp4", audio=folder / "speech.wav"
    )
