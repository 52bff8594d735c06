"""The configuration of the training data reader: what a training sample is drawn as.

The defaults are stage 2's; `DataConfig.for_stage` gives each stage's. Sources: [P] the paper, [R] its
authors' release; no mark = ours.
"""

from typing import Literal, Self, TypeVar

from pydantic import Field, model_validator

from megactor_core.config.base import Config
from megactor_core.config.splits import Split
from megactor_core.errors import ConfigError

_SUM_TOLERANCE = 1e-6

AnyConfig = TypeVar("AnyConfig", bound=Config)


def _require_sum(config: AnyConfig) -> AnyConfig:
    shares = config.model_dump()
    if abs(sum(shares.values()) - 1) > _SUM_TOLERANCE:
        terms = " + ".join(f"{name} {share:g}" for name, share in shares.items())
        raise ValueError(f"the shares {terms} sum to {sum(shares.values()):g}, but must sum to 1")
    return config


def _require_order(config: AnyConfig, low: str, high: str) -> AnyConfig:
    least, most = getattr(config, low), getattr(config, high)
    if least > most:
        raise ValueError(f"{low} = {least:g} is above {high} = {most:g}")
    return config


class MixConfig(Config):
    """Shares of the modes; they sum to 1 [P: 10 % visual, 20 % audio, 70 % mixed in stages 2 and 3]."""

    visual: float = Field(0.1, ge=0, le=1)
    """Driven by patches of the face alone, with face dropout."""
    audio: float = Field(0.2, ge=0, le=1)
    """Driven by sound alone."""
    mixed: float = Field(0.7, ge=0, le=1)
    """Sound, and the eyes' patches."""

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        return _require_sum(self)


class FaceDropoutConfig(Config):
    """Shares of eq. 1's M_driven in the visual mode; they sum to 1 (the paper gives the sets, no shares)."""

    nothing: float = Field(0.25, ge=0, le=1)
    eyes: float = Field(0.25, ge=0, le=1)
    mouth: float = Field(0.25, ge=0, le=1)
    both: float = Field(0.25, ge=0, le=1)

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        return _require_sum(self)


class PatchConfig(Config):
    """Eye and mouth patches that are cut for training."""

    shape: Literal["square", "tight"] = "square"
    """Square about the mean of the points, or the points' own box with a margin [R has both]."""
    divisor_min: int = Field(8, gt=2)
    divisor_max: int = Field(16, gt=2)
    """Half side of a square patch is the picture's side over a whole number drawn between the two [R]."""
    padding: float = Field(0.75, gt=0.5)
    """Half side of a tight patch in multiples of the points' box [R]."""
    per: Literal["frame", "clip"] = "clip"
    """The union over the frames of a sample [R], or a patch a frame as `animate` cuts them."""
    guard_padding: float = Field(0.6, gt=0.5)
    """Where the mouth does not drive, its region also covers its points' box, by this many times the box's
    sides to each side of the centre: small squares are narrower than a mouth, and would leave it in sight."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        return _require_order(self, "divisor_min", "divisor_max")


class AugmentConfig(Config):
    """Augmentation of the driving frames, the same for all frames of a sample [R]."""

    warp_rate: float = Field(0.75, ge=0, le=1)
    """Share of samples whose driver is stretched and scaled about the face, patches and all [R]."""
    aspect_min: float = Field(0.8, gt=0)
    aspect_max: float = Field(1.2, gt=0)
    """Width over height after the warp, of what was square [R]."""
    scale_min: float = Field(0.8, gt=0)
    scale_max: float = Field(1.2, gt=0)
    """Scale of the warp: the square root of the area's [R]."""
    grayscale_rate: float = Field(0.1, ge=0, le=1)
    """Share of samples that lose their colours [R]; before the jitter, since the driving picture is luma and
    would not show it after."""
    jitter_rate: float = Field(0.25, ge=0, le=1)
    """Share of samples with colour jitter [R]."""
    brightness: float = Field(0.4, ge=0, lt=1)
    """Brightness is multiplied by 1 - this ... 1 + this [R]; contrast and saturation alike."""
    contrast: float = Field(0.4, ge=0, lt=1)
    saturation: float = Field(0.4, ge=0, lt=1)
    hue: float = Field(0.3, ge=0, le=0.5)
    """Hue moves by up to this share of the colour circle [R]."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        _require_order(self, "aspect_min", "aspect_max")
        return _require_order(self, "scale_min", "scale_max")


class SubstituteConfig(Config):
    """Drivers that differ from the target in identity, so that it must come from the reference.

    The paper swaps faces and restyles with diffusion models [P]. A sample's own driver takes the place of the
    first; the rest are classical stand-ins, weaker against identity leakage. Each is drawn by itself and the
    same for all frames of a sample.
    """

    driver_rate: float = Field(1.0, ge=0, le=1)
    """Share of samples that use their own driver video where they have one [R: use_swap_rate 1]."""
    recolour_rate: float = Field(0.2, ge=0, le=1)
    """Share that takes the colour statistics (Lab) of a frame of another clip."""
    posterise_rate: float = Field(0.1, ge=0, le=1)
    """Share reduced to few levels."""
    posterise_levels: int = Field(6, ge=2, le=64)
    smooth_rate: float = Field(0.1, ge=0, le=1)
    """Share filtered to flat surfaces with kept edges."""
    elastic_rate: float = Field(0.3, ge=0, le=1)
    """Share whose face shape is bent by thin-plate splines; the landmarks that drive stay in place."""
    elastic_size: float = Field(0.12, ge=0, le=0.5)
    """Largest bend in units of the distance between the eyes."""
    degrade_rate: float = Field(0.1, ge=0, le=1)
    """Share turned grey, blurred and reduced in resolution."""
    degrade_factor_max: float = Field(3.0, ge=1, le=16)
    """Resolution is divided by 1 ... this."""


class SoundAugmentConfig(Config):
    """Augmentation of stored log-mel sound; the release's [R] other kinds need the waveform.

    Polarity does not change a power spectrum; filters, pitch and reverberation are left out. Whisper's stored
    states are never augmented.
    """

    gain_rate: float = Field(0.2, ge=0, le=1)
    """Share of samples that are made louder or softer [R]."""
    gain_db: float = Field(6.0, ge=0, le=40)
    """Largest change in decibels."""
    noise_rate: float = Field(0.3, ge=0, le=1)
    """Share with white noise [R]."""
    noise_db_min: float = Field(-60.0, ge=-80, le=0)
    noise_db_max: float = Field(-35.0, ge=-80, le=0)
    """Level of the noise in each mel band, in decibels of the log-mel scale."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        return _require_order(self, "noise_db_min", "noise_db_max")


class DataConfig(Config):
    """How samples are drawn. The defaults are stage 2's."""

    split: Split = "train"
    """Identities to read."""
    mix: MixConfig = MixConfig()
    face_dropout: FaceDropoutConfig = FaceDropoutConfig()
    null_rate: float = Field(0.1, ge=0, lt=1)
    """Share of samples with reference, driving and audio dropped together, for classifier-free guidance
    (PixArt-alpha's share of dropped captions; the release drops nothing)."""

    clip_frames: int = Field(1, ge=1)
    """Target frames of a sample: 1 in stages 1 and 2 [P], 16 in stage 3 [R: its context; EasyAnimate V1]."""
    frames_per_reference: int = Field(1, ge=1)
    """Target frames of a sample in stages 1 and 2: 1 is the paper's pair of frames [P]. More are drawn apart
    from each other, each with its own noise and time step, and share the work on the reference, which must
    not know the time step then (model.reference.timestep = zero)."""
    stride_min: int = Field(1, ge=1)
    stride_max: int = Field(2, ge=1)
    """Step between target frames, drawn once a sample; in a short clip at most what fits [R: 2]."""
    min_distance_frames: int = Field(1, ge=1)
    """Least distance between reference and target of a pair; where a clip is short, the largest there is."""

    latents: bool = True
    """Read stored latents instead of pictures where every clip has them."""
    patch: PatchConfig = PatchConfig()
    augment: AugmentConfig = AugmentConfig()
    substitute: SubstituteConfig = SubstituteConfig()
    sound: SoundAugmentConfig = SoundAugmentConfig()

    @model_validator(mode="after")
    def _check_frames(self) -> Self:
        if self.clip_frames > 1 and self.frames_per_reference > 1:
            raise ValueError(
                f"clip_frames = {self.clip_frames} and frames_per_reference = {self.frames_per_reference}: "
                "a sample is a clip or frames apart, not both"
            )
        return _require_order(self, "stride_min", "stride_max")

    @property
    def target_frames(self) -> int:
        """Target frames of a sample: a clip, or frames apart from each other."""
        return max(self.clip_frames, self.frames_per_reference)

    @property
    def frames_needed(self) -> int:
        """The fewest frames of a clip that can be a sample: the target at the least stride, or a pair."""
        return max(2, (self.clip_frames - 1) * self.stride_min + 1)

    @staticmethod
    def for_stage(stage: int) -> "DataConfig":
        """What the paper's training stage reads; raises ConfigError for another number than 1, 2 or 3."""
        if stage not in _STAGES:
            raise ConfigError(f"There is no training stage {stage}.", fix="The stages are 1, 2 and 3.")
        return _STAGES[stage]

    def without_augmentation(self) -> "DataConfig":
        """The same draws with the driver and the sound as they are stored, for validation."""
        groups = {
            "augment": self.augment.updated(warp_rate=0, grayscale_rate=0, jitter_rate=0),
            "substitute": self.substitute.updated(
                recolour_rate=0, posterise_rate=0, smooth_rate=0, elastic_rate=0, degrade_rate=0
            ),
            "sound": self.sound.updated(gain_rate=0, noise_rate=0),
        }
        return self.model_copy(update=groups)


# [P]: stage 1 is visual alone, stage 3 has stage 2's mix "without face dropout on the visual modality".
_STAGES: dict[int, DataConfig] = {
    1: DataConfig(mix=MixConfig(visual=1, audio=0, mixed=0)),
    2: DataConfig(),
    3: DataConfig(clip_frames=16, face_dropout=FaceDropoutConfig(nothing=0, eyes=0, mouth=0, both=1)),
}
