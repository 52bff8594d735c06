"""The configuration of `megactor evaluate`."""

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from megactor_core.config.animate import LandmarkBackEnd, Rate
from megactor_core.config.base import Config
from megactor_core.config.engine import EngineConfig
from megactor_core.config.media import MediaLimits
from megactor_core.config.splits import Split

MetricName = Literal[
    "psnr",
    "ssim",
    "ms_ssim",
    "niqe",
    "faces",
    "av_sync",
    "motion",
    "flicker",
    "lpips",
    "fid",
    "fvd",
    "sync",
]
METRIC_NAMES: tuple[MetricName, ...] = get_args(MetricName)
Mode = Literal["A", "V", "A+V"]
"""What drives: audio, the video (eyes and mouth), or the audio and the video's eyes."""

NO_EFFECT_ON_CLIPS = frozenset(
    {
        *("generated", "real", "checkpoint", "data", "output", "compare", "modes", "split", "clips"),
        *(
            "batch_size",
            "device",
            "deterministic",
            "protocol",
            "left_open",
            "quoted",
            "bootstrap_seed",
            "generate",
            "control",
        ),
        *("metrics", "protocol_metrics", "limits", "cache_features"),
        *EngineConfig.model_fields,
    }
)
"""Settings that do not change what is measured of a pair; metrics do, and enter a row's key by themselves."""


Strength = Annotated[float, Field(ge=0, le=10)]
"""Of a driver, as `animate` takes it."""


class NetworkFiles(Config):
    """Weights in files of your own, in the published layouts; None: those that `megactor weights` pulled."""

    fid: Path | None = None
    """InceptionV3 of 2015-12-05, pytorch-fid's file."""
    fvd: Path | None = None
    """I3D of Kinetics-400."""
    lpips_trunk: Path | None = None
    """AlexNet."""
    lpips_heads: Path | None = None
    """The LPIPS v0.1 heads."""
    syncnet: Path | None = None
    """syncnet_v2.model."""


class GenerateConfig(Config):
    """How the clips of `--checkpoint` are made; None: the checkpoint's."""

    steps: int | None = Field(None, ge=1, le=1000)
    """Solver steps."""
    guidance: float | None = Field(None, ge=0, le=100)
    """Classifier-free guidance."""
    seed: int = Field(0, ge=0, lt=2**63)
    audio_scale: float = Field(1.0, ge=0, le=10)
    """Weight of the audio attention's residual, eq. 3."""
    alpha: float = Field(1.0, ge=0, le=10)
    """Amplitude of the driving head motion, eq. 4."""
    seconds: float | None = Field(None, gt=0)
    """Animate at most so much of every clip."""
    window_batch: int | None = Field(None, ge=1)
    """Windows denoised at once; memory grows with it, results do not change. None: as many as free memory
    holds on a GPU, one on a CPU."""
    decode_batch: int = Field(4, ge=1)
    """Frames decoded at once; memory grows with it, results do not change."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto: bfloat16 on CUDA, else float32."""


class ControlConfig(Config):
    """Clips on which the strengths of the drivers are measured, each animated once a value. (All ours.)"""

    clips: int = Field(0, ge=0)
    """The first so many held-out clips; 0 measures none."""
    audio_scales: tuple[Strength, ...] = Field((0.0, 1.0, 2.0), min_length=2)
    """Values of audio_scale, sound alone driving."""
    alphas: tuple[Strength, ...] = Field((0.5, 1.0, 1.5), min_length=2)
    """Values of alpha, the clip's video driving; 1 must be among them."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, values in (("audio_scales", self.audio_scales), ("alphas", self.alphas)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} holds a value twice")
        if 1 not in self.alphas:
            raise ValueError("alphas must hold 1, the unit of the others")
        return self


class EvaluateConfig(EngineConfig):
    """What is compared with what, by which protocol; None means: see the field."""

    generated: Path | None = None
    """Folder of generated clips."""
    real: Path | None = None
    """Folder of real clips under the same names."""
    checkpoint: Path | None = None
    """Checkpoint folder: the held-out clips of `data` are animated with it, then scored."""
    data: Path | None = None
    """Preprocessed folder. None: data/processed."""
    modes: tuple[Mode, ...] = ("A", "V", "A+V")
    """What drives the clips that are generated: the rows of the paper's Table 3 [P]."""
    split: Split = "validation"
    """Clips of `data` that are animated: identities that training does not see [P]."""
    clips: int | None = Field(None, ge=1)
    """At most so many clips, in the order of their names. None: all."""
    output: Path | None = None
    """Folder of the result. None: outputs/evaluation/<name of what is evaluated>."""
    compare: tuple[Path, Path] | None = None
    """Two folders of results, to be compared with each other."""

    metrics: tuple[MetricName, ...] | None = None
    """Metrics asked for by name: weights that are missing are then an error. None: the protocol's."""
    protocol: str = "quick"
    """Name of the protocol, a recipe of evaluate."""
    protocol_metrics: tuple[MetricName, ...] = (
        *("psnr", "ssim", "ms_ssim", "niqe", "faces", "av_sync", "motion", "flicker"),
    )
    """The protocol's metrics; those whose weights are missing are left out, and the result says so."""
    left_open: tuple[str, ...] = ()
    """What the source of the protocol does not say, and what is done here."""
    quoted: Literal["hdtf", "ccv2"] | None = None
    """Benchmark of the paper whose published rows are shown beside the result [P]."""

    fps: Rate = Fraction(25)
    """Frames a second at which both clips are read: 25 as SyncNet has it."""
    size: int | None = Field(None, ge=16, le=4096)
    """Both clips are resized to squares of so many pixels. None: as they are, and of one size."""
    length: Literal["shorter", "equal"] = "shorter"
    """Clips of unequal length: compare as many frames as both have, or refuse the pair."""
    landmarks: LandmarkBackEnd = "mediapipe"
    """Face detector of all that is measured on landmarks."""
    fid_preprocessing: Literal["pytorch-fid", "clean"] = "pytorch-fid"
    """How frames become 299 x 299 pixels: bilinear as pytorch-fid, or clean-fid's bicubic."""
    fvd_preprocessing: Literal["styleganv", "videogpt", "cd-fvd"] = "styleganv"
    """How clips become 224 x 224 pixels: the middle of the picture, or all of it stretched (cd-fvd)."""
    fvd_frames: int = Field(16, ge=10, le=256)
    """Frames of an FVD clip; 16 is what most work takes (not in the paper)."""
    fvd_windows: Literal["all", "first"] = "all"
    """FVD clips of a video: as many as follow one another without overlap, or its beginning alone."""

    batch_size: int = Field(16, ge=1, le=1024)
    """Frames decoded before they are measured; memory grows with it, results do not change."""
    deterministic: bool = False
    """Animate by algorithms that give the same bits each time on one machine, one window at a time unless
    `generate.window_batch` says otherwise: slower on a GPU. The metrics' networks always run so."""
    device: str = "auto"
    """Where networks run: auto, cpu, cuda, cuda:1."""
    bootstrap_seed: int = Field(0, ge=0, lt=2**63)
    """Of the intervals: clips are drawn anew from the clips."""
    cache_features: bool = True
    """Keep the networks' features of the real clips in megactor's cache, for the next evaluation."""
    networks: NetworkFiles = NetworkFiles()
    generate: GenerateConfig = GenerateConfig()
    control: ControlConfig = ControlConfig()
    limits: MediaLimits = MediaLimits(decode_threads=1)

    @property
    def wanted(self) -> tuple[MetricName, ...]:
        """The metrics to take, in their usual order."""
        asked = self.protocol_metrics if self.metrics is None else self.metrics
        return tuple(name for name in METRIC_NAMES if name in asked)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.metrics is not None and not self.metrics:
            raise ValueError(f"metrics is empty; choose among {', '.join(METRIC_NAMES)}")
        if not self.modes:
            raise ValueError("modes is empty; choose among A, V, A+V")
        if self.compare is not None and (self.generated or self.real or self.checkpoint):
            raise ValueError("compare takes two results by itself; leave generated, real and checkpoint out")
        return self
