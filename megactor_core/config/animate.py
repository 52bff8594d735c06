"""The configuration of `megactor animate`."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from megactor_core.config.base import Config
from megactor_core.config.media import MediaLimits
from megactor_core.config.model import SIZE_MULTIPLE_PX, NoiseKind

Region = Literal["eyes", "mouth"]
LandmarkBackEnd = Literal["mediapipe", "dwpose"]
LostFacePolicy = Literal["hold", "interpolate", "skip", "fail"]
DrivingEnd = Literal["pingpong", "hold", "stop"]
MaskMode = Literal["paper", "strict", "off"]
Offload = Literal["off", "parts", "blocks"]
BadgePlacement = Literal["start", "always", "off"]


def _exact_rate(value: object) -> object:
    """A float such as YAML's 29.97 as its shortest decimal, which is what the user wrote."""
    text = str(value)
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?|\d{1,9}/[1-9]\d{0,8}", text):
        raise ValueError(f"{text[:40]!r} is not a rate such as 25, 29.97 or 30000/1001")
    return text


Rate = Annotated[
    Fraction, BeforeValidator(_exact_rate), Field(gt=0, le=240), PlainSerializer(str, return_type=str)
]


Share = Annotated[float, Field(ge=0, le=1)]


class CropConfig(Config):
    """Square face crop of the portrait, in multiples of the larger side of the landmarks' box."""

    left: float | None = Field(None, gt=0)
    right: float | None = Field(None, gt=0)
    top: float | None = Field(None, gt=0)
    bottom: float | None = Field(None, gt=0)
    """None: the checkpoint's (sampling.crop)."""
    mode: Literal["face", "square"] = "face"
    """`square` takes the largest centred square, for portraits that are cropped already."""


class BoxConfig(Config):
    """Eye and mouth patches that are cut from the driving video."""

    shape: Literal["square", "tight"] = "square"
    """Square about the mean of the points, or the points' own box with a margin [R has both]."""
    divisor: float = Field(12, gt=2)
    """Half side of a square patch is the picture's side over this; 12 at inference [R]."""
    padding: float = Field(0.75, gt=0.5)
    """Half side of a tight patch in multiples of the points' box [R]."""
    per: Literal["frame", "clip"] = "frame"
    """One patch a frame, or the union over the clip as in training [R]; a union grows with the clip."""


class WindowConfig(Config):
    """Windows of frames that the denoiser sees at once."""

    scheme: Literal["shift", "overlap"] = "shift"
    """`shift`: windows side by side, their borders move every step [R], at no cost. `overlap`: neighbours
    share frames and are blended, at size / (size - overlap) times the work [MagicAnimate]."""
    overlap: int = Field(4, ge=1)
    """Frames that neighbours share with `overlap` [MagicAnimate 4, R's configuration 8]."""

    frames: int = Field(16, ge=1)
    """Frames a window; 16 as in the release's context and EasyAnimate V1's training [R, S]."""
    shift: int = Field(1, ge=0)
    """The window grid moves by this many frames every solver step, so that seams average out [R]."""


class AmplitudeConfig(Config):
    """Eq. 4."""

    formula: Literal["centred", "printed"] = "centred"
    """`printed` shears every frame for alpha other than 1; kept to document the paper's defect."""


class AnimateConfig(Config):
    """A portrait, drivers with a strength each, and how to sample; None means: see the field."""

    reference: Path | None = None
    """Portrait image."""
    driving: Path | None = None
    """Driving video."""
    audio: Path | None = None
    """Speech: a sound file, or a video file whose sound is used."""
    checkpoint: Path | None = None
    """Checkpoint folder. None: the embedded default."""
    output: Path | None = None
    """The mp4. None: outputs/<portrait>-<drivers>.mp4."""
    resume: bool = False
    """Go on with an interrupted run of the same settings; a finished one of these settings stays as it is."""
    overwrite: bool = False
    """Replace an existing file at `output` that this tool did not write."""

    audio_scale: float = Field(1.0, ge=0, le=10)
    """Weight of the audio attention's residual, eq. 3."""
    alpha: float = Field(1.0, ge=0, le=10)
    """Amplitude of the driving head motion, eq. 4: 0 still, 1 as it is."""
    regions: tuple[Region, ...] | None = None
    """Patches that drive. None: eyes with audio, eyes and mouth without."""
    mask_mode: MaskMode = "paper"
    """Eq. 2 while the mouth is not driven visually: `paper`, `strict` (every non-eye token) or `off`."""

    steps: int | None = Field(None, ge=1, le=1000)
    """Solver steps. None: the checkpoint's."""
    guidance: float | None = Field(None, ge=0, le=100)
    """Classifier-free guidance. None: the checkpoint's; 1 computes no unconditional rows."""
    guidance_interval: tuple[Share, Share] = (0.0, 1.0)
    """The part of the solver's steps that is guided, as shares of them from noise, 0, to picture, 1; the
    others compute no unconditional rows (Kynkaanniemi et al. 2024). 0 to 1 guides every step."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of the noise."""
    noise: NoiseKind | None = None
    """Noise that the frames start from: `independent` of each other, the first window's shuffled over the
    clip (`freenoise` [FreeNoise]), or the same for all (`shared`: what nothing drives stays still).
    None: the checkpoint's."""
    initial_latents: Literal["reference", "noise"] = "reference"
    """Start from the fully noised reference latent [R] or from pure noise."""

    fps: Rate = Fraction(25)
    """Frames per second of the output, exact: 25, 29.97 or 30000/1001."""
    size: int | None = Field(None, ge=SIZE_MULTIPLE_PX, le=2048)
    """Side of the output in pixels, a multiple of 32. None: the checkpoint's native size."""
    seconds: float | None = Field(None, gt=0)
    """Cut the output to at most this length."""
    driving_end: DrivingEnd = "pingpong"
    """Driving clip shorter than the output: play it back and forth, hold its last frame, or stop driving."""
    on_lost_face: LostFacePolicy = "hold"
    """Driving frame without a face: hold the last picture of it, interpolate its place, skip (so that nothing
    drives), or fail."""
    face: Literal["largest"] | Annotated[int, Field(ge=0)] = "largest"
    """Face to use where there are several: the largest, or the N-th by size counted from 0.
    It applies to each input that shows several."""
    landmarks: LandmarkBackEnd = "mediapipe"
    """Face detector: MediaPipe's, small and fast, or the paper's, which wants the extra `dwpose`."""
    smoothing_seconds: float = Field(0.0, ge=0, le=2)
    """Steady the driver's landmarks over about this time, without lag: 0.04 to 0.12 calms jitter; 0 is off.
    Off unless asked for: the paper does not smooth, and smoothing flattens quick nods."""

    window: WindowConfig = WindowConfig()
    window_batch: int | None = Field(None, ge=1)
    """Windows denoised at once; memory grows with it, results do not change. None: as many as free memory
    holds on a GPU, one on a CPU."""
    decode_batch: int = Field(4, ge=1)
    """Frames decoded at once; memory grows with it, results do not change."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto: bfloat16 on CUDA, else float32. float16 is refused on a CPU."""
    deterministic: bool = False
    """Use only algorithms that give the same bits each time on one machine, and one window at a time unless
    `window_batch` says otherwise: slower on a GPU."""
    compile: bool = False
    """Compile the denoiser's blocks (torch.compile): a wait at the first step for faster ones after it, and
    sums that are rounded otherwise."""
    offload: Offload = "off"
    """Keep the parts that do not work in the CPU's memory, for a GPU with little: whole `parts`, or the
    `blocks` of the transformers too, whose weights then travel at every step. Results do not change."""
    decode_tile: int | None = Field(None, ge=256, multiple_of=64)
    """Decode in overlapping tiles of so many pixels, by the public autoencoder: less memory for large
    pictures, at a change of the picture. None: whole."""

    quality: Literal["high", "lossless"] = "high"
    """Coding of the video: `high` is visually lossless and plays everywhere; `lossless` keeps every pixel for
    measuring, in a profile that browsers do not play."""
    compare: bool = False
    """Also write <output>.compare.mp4: portrait, driver and result side by side."""
    contact_sheet: bool = False
    """Also write <output>.sheet.png: driver, driving patches and result over time."""

    badge: BadgePlacement = "start"
    """A visible "AI GENERATED" in the top right corner: for the first seconds, always, or off. The choice is
    recorded in the video."""
    badge_seconds: float = Field(3.0, gt=0)
    """How long `start` shows the badge; at most the whole video."""
    provenance: bool = True
    """Sign the videos: a C2PA manifest says how they were made, and a change of the file breaks it."""
    c2pa_cert: Path | None = None
    """Certificate chain (PEM, leaf first) to sign with. None: a key of this user's own, made on first use."""
    c2pa_key: Path | None = None
    """Private key (PEM) of that certificate."""

    crop: CropConfig = CropConfig()
    box: BoxConfig = BoxConfig()
    amplitude: AmplitudeConfig = AmplitudeConfig()
    limits: MediaLimits = MediaLimits()

    @model_validator(mode="before")
    @classmethod
    def _fix_what_free_memory_would_choose(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("deterministic") is True:
            return values | {"window_batch": values.get("window_batch") or 1}
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.size is not None and self.size % SIZE_MULTIPLE_PX:
            low = self.size // SIZE_MULTIPLE_PX * SIZE_MULTIPLE_PX
            raise ValueError(
                f"size = {self.size} is not a multiple of {SIZE_MULTIPLE_PX}; "
                f"use {low} or {low + SIZE_MULTIPLE_PX}"
            )
        first, last = self.guidance_interval
        if first >= last:
            raise ValueError(f"guidance_interval = [{first:g}, {last:g}] holds no step; give a rising pair")
        if self.compile and self.offload == "blocks":
            raise ValueError("compile cannot go with offload = blocks, whose weights come and go; use parts")
        if self.window.scheme == "overlap" and self.window.overlap >= self.window.frames:
            raise ValueError(
                f"window.overlap = {self.window.overlap} must be below window.frames = {self.window.frames}"
            )
        if self.regions is not None and not self.regions:
            raise ValueError("regions is empty; leave --driving out to use no visual driver")
        if (self.c2pa_cert is None) != (self.c2pa_key is None):
            raise ValueError("c2pa_cert and c2pa_key belong together; one of them is missing")
        if self.c2pa_cert is not None and not self.provenance:
            raise ValueError("c2pa_cert is given, but provenance is off; leave one of them out")
        return self
