"""The configuration of `megactor synth`. No number is in the paper: the corpus is this project's."""

from fractions import Fraction
from pathlib import Path
from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from megactor_core.config.animate import Rate
from megactor_core.config.base import Config

FaultKind = Literal[
    "small_face",
    "large_rotation",
    "av_offset",
    "silence",
    "no_sound",
    "two_faces",
    "no_face",
    "scene_cut",
    "low_quality",
    "truncated",
]
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)

SIZE_MIN_PX, SIZE_MAX_PX = 32, 2048


class FaultsConfig(Config):
    """Clips that are wrong in a known way, to test what looks for that."""

    enabled: bool = False
    """Make some clips faulty; the manifest and the truth files say which, how and how much."""
    share: float = Field(0.5, gt=0, le=1)
    """Share of the clips with a fault, spread evenly; each has one fault."""
    kinds: tuple[FaultKind, ...] = Field(FAULT_KINDS, min_length=1)
    """Faults, taken in turn."""
    max_offset_frames: int = Field(8, ge=1, le=100)
    """Sound is early (+) or late (-) by 1 to this many frames with `av_offset`."""


class SynthConfig(Config):
    """A corpus of talking heads with exact ground truth."""

    output: Path = Path("data/raw/synthetic")
    """Folder of the corpus. One that was begun with the same settings is completed."""
    clips: int = Field(100, ge=1, le=1_000_000)
    """Clips; a finished corpus grows when more are asked for."""
    seconds: float = Field(3.0, gt=0, le=600)
    """Length of every clip."""
    size: int = Field(256, ge=SIZE_MIN_PX, le=SIZE_MAX_PX, multiple_of=2)
    """Side of the picture in pixels, even."""
    fps: Rate = Fraction(25)
    """Frames per second, exact: 25, 29.97 or 30000/1001."""
    identities: int = Field(50, ge=1, le=1_000_000)
    """Different people: clip k shows the person k modulo this."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of everything; the same seed gives the same files."""
    twins: bool = False
    """Also write every clip's motion and speech on another identity, as its driver."""

    motion_scale: float = Field(1.0, ge=0, le=2)
    """Amplitude of head motion: 1 turns up to 25 or 35 degrees, 0.25 is easy to learn."""
    plain: bool = False
    """Plain backgrounds and smooth hair, which are easy to learn."""
    brow_follows_speech: float = Field(0.0, ge=0, le=1)
    """How far an open mouth lifts the brow; 0 keeps eyes and speech independent."""
    faults: FaultsConfig = FaultsConfig()
    workers: int | None = Field(None, ge=0, le=1024)
    """Worker processes; 0 works without any. No effect on the files. None: one a core."""

    @property
    def frames(self) -> int:
        """Frames of every clip."""
        return round(self.seconds * self.fps)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.frames < 1:
            raise ValueError(f"seconds = {self.seconds} is less than a frame at fps = {self.fps}")
        if self.faults.enabled and self.frames < 2 and "scene_cut" in self.faults.kinds:
            raise ValueError(
                f"seconds = {self.seconds} is too short for the fault scene_cut; it needs 2 frames"
            )
        return self
