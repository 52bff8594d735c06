"""Where the demo works, how much of everything it does, and with which model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from megactor_core.demo.example import Example, example
from megactor_core.files import sha256_of
from megactor_core.models.checkpoint import EMBEDDED, MANIFEST, CheckpointInfo, load_sigma


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is done; all ours."""

    name: Literal["full", "fast", "other"]
    clips: int
    """Of the corpus, each of another person."""
    training_steps: int
    seconds: float
    """Length of the clips that are animated."""
    held_out_clips: int
    """Evaluated, at most."""


FULL: Final = Scale(
    name="full",
    clips=24,
    training_steps=100,
    seconds=3.0,
    held_out_clips=3,
)
FAST: Final = Scale(
    name="fast",
    clips=8,
    training_steps=20,
    seconds=1.0,
    held_out_clips=1,
)

IN_PROCESS: Final = {"workers": 0}
"""The option of commands that have worker processes, which take longer to start than so little work takes."""


@dataclass(frozen=True, slots=True)
class DefaultModel:
    """The checkpoint that animates where none is named."""

    folder: Path
    info: CheckpointInfo
    sha256: str
    """Of its manifest."""

    @staticmethod
    def find() -> "DefaultModel":
        """The default checkpoint, verified; raises WeightsError where it is damaged."""
        info, _ = load_sigma(EMBEDDED)
        return DefaultModel(EMBEDDED, info, sha256_of(EMBEDDED / MANIFEST))


@dataclass(frozen=True, slots=True)
class Workplace:
    """The demo's folder and what lies in it."""

    folder: Path
    scale: Scale
    model: DefaultModel

    @property
    def corpus(self) -> Path:
        return self.folder / "corpus"

    @property
    def curated(self) -> Path:
        return self.folder / "curated"

    @property
    def samples(self) -> Path:
        return self.folder / "samples"

    @property
    def training(self) -> Path:
        return self.folder / "training"

    @property
    def example(self) -> Example:
        """Copies of the built-in example's files, so that they can be looked at."""
        return example(self.folder / "example")

    @property
    def videos(self) -> Path:
        return self.folder / "videos"

    @property
    def evaluation(self) -> Path:
        return self.folder / "evaluation"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"
