"""The configuration of the measured claims. Which clips, seeds and strengths are measured is our choice."""

from pathlib import Path
from typing import Any, Final, Literal, Self, get_args

from pydantic import Field, model_validator

from megactor_core.config.animate import LandmarkBackEnd, MaskMode
from megactor_core.config.base import Config
from megactor_core.config.evaluate import GenerateConfig, Strength

ClaimName = Literal["table3", "audio-scale", "alpha", "stillness", "leak", "temporal", "samplers"]
CLAIM_NAMES: tuple[ClaimName, ...] = get_args(ClaimName)

_SAMPLERS: Final[dict[str, dict[str, Any]]] = {
    "2 steps": {"steps": 2},
    "10 steps": {"steps": 10},
    "independent noise": {"noise": "independent"},
    "FreeNoise": {"noise": "freenoise"},
    "one noise for all frames": {"noise": "shared"},
    "start from pure noise": {"initial_latents": "noise"},
    "smoothed driver": {"smoothing_seconds": 0.08},
}


class ClaimsConfig(Config):
    """A checkpoint, held-out clips with their truth, and which claims to measure on them."""

    checkpoint: Path
    """Checkpoint folder."""
    before: Path | None = None
    """Checkpoint without trained temporal modules, which `temporal` compares the other with."""
    data: Path = Path("data/held-out/processed")
    """Preprocessed clips of people and speech that no training has seen, with twins as drivers."""
    corpus: Path = Path("data/held-out/raw")
    """The synthetic corpus that they were made from."""
    gauge: Path = Path("runs/gauge")
    """Folder of the fitted gauge."""
    output: Path = Path("outputs/claims")
    """Folder of the result; clips that are there already are not made again."""

    claims: tuple[ClaimName, ...] = Field(
        ("table3", "audio-scale", "alpha", "stillness", "leak"), min_length=1
    )
    clips: int = Field(10, ge=2)
    """At most so many clips, in the order of their names."""
    frames: int = Field(75, ge=8)
    """Of every clip, from its beginning: 3 s, in which everybody blinks; heads hardly move within one."""
    seeds: tuple[int, ...] = Field((0, 1), min_length=1)
    """Of the sampler. Every clip is made with each; alpha, leak and samplers take the first alone."""
    audio_scales: tuple[Strength, ...] = Field((0.0, 0.5, 1.0, 1.5, 2.0), min_length=2)
    """Values of audio_scale; sound and eyes drive. 1 must be among them."""
    alphas: tuple[Strength, ...] = Field((0.0, 0.5, 1.0, 1.5, 2.0), min_length=2)
    """Values of alpha; eyes and mouth drive. 1 must be among them."""
    mask_modes: tuple[MaskMode, ...] = Field(("off", "paper", "strict"), min_length=1)
    """Eq. 2 while eyes alone drive."""
    samplers: dict[str, dict[str, Any]] = Field(default_factory=lambda: dict(_SAMPLERS))
    """Settings of `animate` to compare with the default ones, by a name for the tables."""
    generate: GenerateConfig = GenerateConfig()
    """How clips are made where a claim does not say; its seed, scales and length are not used."""
    animate: dict[str, Any] = Field(default_factory=dict)
    """More settings of `animate` for all takes, such as noise."""
    landmarks: LandmarkBackEnd = "mediapipe"
    """The face detector that has to find generated faces, and that follows the drivers."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1."""
    bootstrap_seed: int = Field(0, ge=0, lt=2**63)
    """Of the intervals: clips are drawn anew from the clips."""
    strips: int = Field(2, ge=0)
    """Clips that are also shown as pictures."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("seeds", "audio_scales", "alphas", "mask_modes"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} holds a value twice")
        for name in ("audio_scales", "alphas"):
            if 1 not in getattr(self, name):
                raise ValueError(f"{name} must hold 1, which the others are compared with")
        if "temporal" in self.claims and self.before is None:
            raise ValueError("the claim temporal compares with another checkpoint: set before")
        return self
