"""The built-in example, and the demo that animates it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megactor_core.animation.animate import animate
from megactor_core.config.animate import AnimateConfig

EXAMPLE = Path(__file__).parent / "assets" / "example"
"""Made by recipes/scripts/make_example.py."""


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


def example() -> Example:
    """A portrait, a driving clip and speech of three synthetic people, none of whom any training has seen."""
    return Example(
        reference=EXAMPLE / "portrait.png", driving=EXAMPLE / "driving.mp4", audio=EXAMPLE / "speech.wav"
    )


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
