"""The configuration of the gauge's fit. No number is in the paper: the instrument is this project's."""

from pathlib import Path

from pydantic import Field

from megactor_core.config.base import Config


class SofteningConfig(Config):
    """What is done to true frames while the gauge learns, so that it reads softer, generated ones as well."""

    shift_px: float = Field(6.0, ge=0)
    """Pictures are moved by up to this, each way."""
    zoom: float = Field(0.08, ge=0, lt=1)
    """And scaled by up to this share."""
    shrink: float = Field(2.5, ge=1)
    """Made smaller by up to this factor and enlarged again, which a network's softness is like."""
    noise: float = Field(0.04, ge=0)
    """Largest standard deviation of added noise; pictures reach from 0 to 1."""
    colour: float = Field(0.12, ge=0, lt=1)
    """Largest change of each colour's gain, and of the brightness."""


class GaugeConfig(Config):
    """On what the gauge is fitted, and how long."""

    data: Path = Path("data/processed")
    """Preprocessed samples of a synthetic corpus."""
    corpus: Path = Path("data/raw/synthetic")
    """That corpus, for the truth of every frame."""
    output: Path = Path("runs/gauge")
    """Folder of the gauge."""
    autoencoder: Path | None = None
    """Checkpoint folder whose autoencoder's reconstructions are read too, to show how well that works."""

    clips: int = Field(1500, ge=1)
    """Clips of the training split to learn from, at most."""
    frames_per_clip: int = Field(2, ge=1)
    """Frames of each, and as many of its driver, who is another person."""
    held_out_clips: int = Field(40, ge=1)
    """Clips of the validation split to measure it on, at most."""
    held_out_stride: int = Field(3, ge=1)
    """Every so many frames of those."""

    steps: int = Field(800, ge=1)
    batch_size: int = Field(32, ge=2)
    learning_rate: float = Field(3e-3, gt=0)
    """At the start; falls to zero along a cosine."""
    points_weight: float = Field(4.0, ge=0)
    """Of the landmarks' error, in units of the usual spread, beside that of the other readings."""
    seed: int = Field(0, ge=0, lt=2**32)
    softening: SofteningConfig = SofteningConfig()
