"""The configuration of `megactor preprocess`."""

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from megactor_core.config.animate import LandmarkBackEnd, Rate
from megactor_core.config.base import Config
from megactor_core.config.engine import EngineConfig
from megactor_core.config.media import MediaLimits
from megactor_core.config.model import SIZE_MULTIPLE_PX

NO_EFFECT_ON_SAMPLES = frozenset({"source", "output", "drivers", "limits", *EngineConfig.model_fields})
"""Settings that may differ from one run to the next into the same folder; what they change is which clips
there are and whether one fails, and every clip's own row remembers that."""


class ClipCropConfig(Config):
    """Square crop about the union of a clip's face boxes, in multiples of the box's larger side [R]."""

    left: float = Field(0.9, gt=0)
    right: float = Field(0.9, gt=0)
    top: float = Field(1.0, gt=0)
    bottom: float = Field(0.8, gt=0)


class PreprocessConfig(EngineConfig):
    """Clips to training samples; None means: see the field."""

    source: Path | None = None
    """A folder of videos, or a manifest (parquet, csv, jsonl). None: data/curated."""
    output: Path = Path("data/processed")
    """Folder of the samples and their index."""
    drivers: Path | None = None
    """Folder of your own drivers (face-swapped or stylised clips), under the names of the source's clips."""

    size: int = Field(512, ge=SIZE_MULTIPLE_PX, le=2048)
    """Side of the face crop in pixels, a multiple of 32; 512 in the paper [P]."""
    fps: Rate = Fraction(25)
    """Frames a second of the samples, exact; 25 as SyncNet and the paper's sources have it [P]."""
    crop: ClipCropConfig = ClipCropConfig()
    crf: int = Field(17, ge=0, le=40)
    """Constant rate factor of the samples' H.264: 17 counts as visually lossless."""
    gop_frames: int = Field(12, ge=1, le=250)
    """Most frames from one key frame to the next: what a random frame costs to decode."""

    faces: Literal["largest", "reject_multiple"] | Annotated[int, Field(ge=0)] = "largest"
    """Clips that show several faces: follow the largest, or the N-th by size counted from 0, or reject them
    as the release does [R] (where more frames show several than `min_face_share` leaves over)."""
    landmarks: LandmarkBackEnd = "mediapipe"
    """Face detector: MediaPipe's, small and fast, or the paper's, which wants the extra `dwpose`."""
    min_face_share: float = Field(0.9, gt=0, le=1)
    """Share of a clip's frames that must show the face; below, the clip is rejected [R]."""
    min_frames: int = Field(31, ge=1)
    """Shorter clips are rejected: 31 frames are a window of 16 at stride 2, which stage 3 reads."""
    max_damaged_share: float = Field(0.1, ge=0, le=1)
    """Share of a clip's frames that may be undecodable; beyond, the clip is rejected."""

    audio_features: Literal["log-mel", "whisper"] = "log-mel"
    """What the model hears: log-mel spectrograms (small presets), or the states of Whisper [P]."""
    whisper: str = "whisper-tiny"
    """Registry name or folder of the Whisper model [R]."""
    latents: bool = False
    """Also store the autoencoder's latents: trains faster, takes 64 kB a frame at 512 pixels."""
    autoencoder: str = "sd-vae-ft-mse"
    """Registry name or folder of an AutoencoderKL, or a checkpoint folder, for the latents."""

    limits: MediaLimits = MediaLimits(decode_threads=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.size % SIZE_MULTIPLE_PX:
            low = self.size // SIZE_MULTIPLE_PX * SIZE_MULTIPLE_PX
            raise ValueError(
                f"size = {self.size} is not a multiple of {SIZE_MULTIPLE_PX}; "
                f"use {low} or {low + SIZE_MULTIPLE_PX}"
            )
        return self


def settings_of_samples(config: PreprocessConfig) -> dict[str, Any]:
    """The settings that a sample depends on, by dotted name."""
    return dict(_flat(config.model_dump(mode="json", exclude=set(NO_EFFECT_ON_SAMPLES))))


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, value in values.items():
        flat += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(f"{prefix}{name}", value)]
    return flat
