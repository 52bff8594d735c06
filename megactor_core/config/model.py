"""The model's configuration: every size and every choice that the paper leaves open is a named field here.

Sources: [P] the paper (arXiv 2408.14975), [R] its authors' public release, [S] the public model that the
paper builds on (PixArt-alpha, EasyAnimate V1, Whisper). A default without a source is ours.
"""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from megactor_core.config.base import Config, nearest
from megactor_core.errors import ConfigError

PATCH = 2
"""Latent pixels along one side of a token [S PixArt-alpha]."""
LATENT_STRIDE_PX = 8
"""Image pixels along one side of a latent pixel, for every autoencoder here [S Stable Diffusion]."""
TOKEN_STRIDE_PX = PATCH * LATENT_STRIDE_PX
"""Image pixels along one side of a token."""
SIZE_MULTIPLE_PX = 2 * TOKEN_STRIDE_PX
"""Sides are multiples of this, so that the token grid splits into the temporal module's 2 x 2 cells."""

BLOCK_WAVES = 16
"""Waves in the basis of the `patch` autoencoder, so its most latent channels."""

MOST_LAYERS, MOST_CHANNELS = 256, 16_384
"""Of any network (ours): what is read from a file must not ask for a machine's whole memory."""
Width = Annotated[int, Field(ge=1, le=MOST_CHANNELS)]
NoiseKind = Literal["independent", "freenoise", "shared"]
PresetName = Literal["nano", "tiny", "small", "paper"]


class ReferenceConfig(Config):
    """Reference Transformer and the blocks that read it."""

    start_block: int | None = Field(None, ge=0)
    """First block with reference keys. None: the share of the paper's "last sixteen" of 28 blocks [P]."""
    timestep: Literal["same", "zero"] = "same"
    """Time step that the reference runs at: the denoiser's [R], or 0 once per clip [AnimateAnyone]."""


class DrivenConfig(Config):
    """Driven Encoder: four 2D conv stages [P]."""

    widths: tuple[Width, Width, Width, Width] = (16, 32, 64, 128)
    """Channels after each stage [R]."""
    out_channels: int = Field(4, ge=1, le=MOST_CHANNELS)
    """Motion channels joined to the noise latents [R]."""


class AudioConfig(Config):
    """Audio features and the audio attention of every block."""

    encoder: Literal["whisper", "log-mel"] = "whisper"
    """`whisper`: frozen states of Whisper [P]. `log-mel`: convolutions trained with the model (ours)."""
    whisper: str = "whisper-tiny"
    """Registry name or folder of the Whisper encoder; tiny fits the paper's 1.4 B count [R]."""
    width: int = Field(384, ge=1, le=MOST_CHANNELS)
    """Width of an audio token, the attention's key/value input ("different hidden dimension" [P])."""
    tokens: int = Field(50, ge=1, le=MOST_CHANNELS)
    """Audio tokens a frame: 10 time steps x 5 states for Whisper [R]; free for `log-mel`."""
    inner_width: int | None = Field(None, ge=1, le=MOST_CHANNELS)
    """Width inside the attention. None: the model's (the reading of [R]); 384 is the other reading of [P]."""
    prenorm: bool = False
    """LayerNorm before the attention, as in the UNet release [R]; PixArt has none [S]."""
    learned_positions: bool = False
    """Learned embedding of the tokens' order; the paper names none."""
    edges: Literal["clamp", "zeros"] = "clamp"
    """Whisper steps beyond the clip: repeat the edge [R] or zeros [MuseTalk 1.5]."""


class TemporalConfig(Config):
    """Temporal modules of EasyAnimate V1 in the odd blocks [P]."""

    grid: Literal[1, 2] = 2
    """Side of the cell of tokens that one sequence spans: 2 as in EasyAnimate V1 [S], 1 as in [R]."""
    norm: Literal["group", "layer"] = "group"
    """First norm: GroupNorm over the frame [S]; LayerNorm keeps the strict mask exact (ours)."""
    heads: int = Field(8, ge=1, le=MOST_CHANNELS)
    attentions: int = Field(2, ge=1, le=MOST_LAYERS)
    """Self-attentions a module [S]."""
    max_frames: int = Field(4096, ge=1, le=1_000_000)
    """Frames that the position table covers [S]."""
    place: Literal["after-self-attention", "after-block"] = "after-self-attention"
    """Where in the block: [P] and EasyAnimate, or the early PixArt experiment [R]."""


class MaskConfig(Config):
    """Eq. 2: how mouth tokens are kept from eye tokens where the mouth is not driven visually."""

    form: Literal["exclude", "literal"] = "exclude"
    """`exclude` removes eye keys from the softmax; `literal` multiplies them by zero as printed."""
    blocks: Literal["all", "reference"] = "all"
    """Blocks that apply the mask; the paper says "within the spatial attention mechanism"."""
    eye_dilation_tokens: int = Field(0, ge=0)
    """Growth of the eye region in tokens; 2 covers the Driven Encoder's receptive field."""


class AutoencoderConfig(Config):
    """The image autoencoder; its stride is 8 px always."""

    kind: Literal["kl", "patch"] = "kl"
    """`kl`: Stable Diffusion's AutoencoderKL [P]; `patch`: the small one of this project."""
    name: str = "sd-vae-ft-mse"
    """Registry name or folder of a `kl` autoencoder [R]."""
    latent_channels: int = Field(4, ge=1, le=MOST_CHANNELS)
    scaling_factor: float = Field(0.18215, gt=0)
    """Latents are multiplied by this [S]."""
    widths: tuple[Width, Width, Width] = (24, 48, 96)
    """Channels of the `patch` autoencoder's three levels."""

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        if self.kind == "patch" and self.latent_channels > BLOCK_WAVES:
            raise ValueError(
                f"latent_channels = {self.latent_channels} is more than the {BLOCK_WAVES} of `patch`"
            )
        return self


class DiffusionConfig(Config):
    """Noise schedule and what the network predicts."""

    train_steps: int = Field(1000, ge=2, le=1_000_000)
    beta_start: float = Field(1e-4, gt=0, lt=1)
    beta_end: float = Field(0.02, gt=0, lt=1)
    """Linear betas [S PixArt-alpha]."""
    prediction: Literal["eps", "v"] = "eps"
    """eps for PixArt weights [P]; v trains faster from scratch at small sizes (ours)."""
    learned_variance: bool = True
    """Second half of the output interpolates the variance [P: "KL loss and MSE loss"]."""


class PortraitCropConfig(Config):
    """Square face crop of a portrait, in multiples of the larger side of the landmarks' box [R]."""

    left: float = Field(1.25, gt=0)
    right: float = Field(1.25, gt=0)
    top: float = Field(1.5, gt=0)
    bottom: float = Field(1.0, gt=0)


class SamplingConfig(Config):
    """What `animate` uses with this checkpoint where the user does not say."""

    steps: int = Field(20, ge=1, le=1000)
    """Solver steps [S PixArt-alpha]."""
    guidance: float = Field(4.5, ge=0)
    """Classifier-free guidance scale [S PixArt-alpha, R]; 1 computes no unconditional rows."""
    noise: NoiseKind = "independent"
    """See AnimateConfig.noise."""
    crop: PortraitCropConfig = PortraitCropConfig()
    """How large a face the checkpoint is used to."""


class ModelConfig(Config):
    """MegActor-Sigma at any size. The defaults are the paper's model: 1,420,576,248 parameters."""

    depth: int = Field(28, ge=2, le=MOST_LAYERS)
    hidden: int = Field(1152, ge=32, le=MOST_CHANNELS)
    heads: int = Field(16, ge=1, le=MOST_CHANNELS)
    mlp_ratio: int = Field(4, ge=1, le=64)
    native_px: int = Field(512, ge=SIZE_MULTIPLE_PX, le=4096)
    """Side of the picture that the positions are made for; other sizes stretch them [S]."""
    reference: ReferenceConfig = ReferenceConfig()
    driven: DrivenConfig = DrivenConfig()
    audio: AudioConfig = AudioConfig()
    temporal: TemporalConfig = TemporalConfig()
    mask: MaskConfig = MaskConfig()
    autoencoder: AutoencoderConfig = AutoencoderConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    sampling: SamplingConfig = SamplingConfig()

    @model_validator(mode="after")
    def _check_divisibility(self) -> Self:
        for divisor, reason in (
            (32, "the temporal GroupNorm's groups"),
            (self.heads, "heads"),
            (self.temporal.heads, "temporal.heads"),
        ):
            if self.hidden % divisor:
                raise ValueError(f"hidden = {self.hidden} is not a multiple of {divisor} ({reason})")
        inner = self.audio.inner_width or self.hidden
        if inner % self.heads:
            raise ValueError(f"audio.inner_width = {inner} is not a multiple of heads = {self.heads}")
        if self.native_px % SIZE_MULTIPLE_PX:
            raise ValueError(f"native_px = {self.native_px} is not a multiple of {SIZE_MULTIPLE_PX}")
        if not 0 <= self.reference_start < self.depth:
            raise ValueError(
                f"reference.start_block = {self.reference_start} is not below depth = {self.depth}"
            )
        if self.audio.encoder == "whisper" and self.audio.tokens != 50:
            raise ValueError(
                f"audio.tokens = {self.audio.tokens}, but Whisper gives 10 steps x 5 states = 50"
            )
        return self

    @property
    def reference_start(self) -> int:
        """First block that reads the reference: 12 of 28 [P], the same share at other depths."""
        if self.reference.start_block is not None:
            return self.reference.start_block
        return math.ceil(12 / 28 * self.depth)

    @property
    def temporal_blocks(self) -> tuple[int, ...]:
        """Blocks with a temporal module: the odd ones [P]."""
        return tuple(range(1, self.depth, 2))

    @property
    def latent_channels(self) -> int:
        return self.autoencoder.latent_channels

    @property
    def out_channels(self) -> int:
        """Channels that the denoiser predicts: prediction and, where learned, variance."""
        return self.latent_channels * (2 if self.diffusion.learned_variance else 1)

    @property
    def base_tokens(self) -> int:
        """Tokens along one side of the picture at the native size."""
        return self.native_px // TOKEN_STRIDE_PX

    @staticmethod
    def preset(name: str) -> "ModelConfig":
        """A preset by name; raises ConfigError with the nearest name for an unknown one."""
        if name not in _PRESETS:
            raise ConfigError(f"There is no preset '{name}';", fix=nearest(name, list(_PRESETS)))
        return _PRESETS[name]


# Small sizes train from scratch, so they take what trains best from scratch, not what PixArt weights need:
# v-prediction without learned variance, eight latent channels, a narrow driven encoder, LayerNorm and one
# attention in the temporal module, audio tokens from convolutions that train with the model, few solver
# steps from one noise for all frames, no guidance, and faces as large as in their training samples.
_FROM_SCRATCH = DiffusionConfig(prediction="v", learned_variance=False)
# As `preprocess` cuts clips: about all boxes of a clip, which are some 6 % wider together than one.
_AS_TRAINED = PortraitCropConfig(left=0.95, right=0.95, top=1.05, bottom=0.85)
_FEW_STEPS = SamplingConfig(steps=4, guidance=1.0, noise="shared", crop=_AS_TRAINED)
_LIGHT_TEMPORAL = TemporalConfig(norm="layer", attentions=1)

_PRESETS: dict[str, ModelConfig] = {
    "nano": ModelConfig(  # unit tests: the paper's choices at the smallest size
        depth=4,
        hidden=64,
        heads=4,
        native_px=64,
        driven=DrivenConfig(widths=(4, 8, 8, 16)),
        audio=AudioConfig(encoder="log-mel", width=32, tokens=12),
        autoencoder=AutoencoderConfig(kind="patch", widths=(8, 16, 32), scaling_factor=1.0),
    ),
    "tiny": ModelConfig(  # the embedded default, trained on a CPU
        depth=6,
        hidden=128,
        heads=4,
        native_px=128,
        reference=ReferenceConfig(timestep="zero"),  # one pass of it serves many frames, also in training
        driven=DrivenConfig(widths=(4, 12, 24, 48), out_channels=8),
        audio=AudioConfig(encoder="log-mel", width=128, tokens=12),
        temporal=_LIGHT_TEMPORAL,
        autoencoder=AutoencoderConfig(kind="patch", latent_channels=8, scaling_factor=1.0),
        diffusion=_FROM_SCRATCH,
        sampling=_FEW_STEPS,
    ),
    "small": ModelConfig(  # one GPU
        depth=12,
        hidden=384,
        heads=6,
        native_px=256,
        audio=AudioConfig(encoder="log-mel", width=384, tokens=12),
        autoencoder=AutoencoderConfig(
            kind="patch", latent_channels=8, scaling_factor=1.0, widths=(32, 64, 128)
        ),
        diffusion=_FROM_SCRATCH,
        sampling=_FEW_STEPS,
    ),
    "paper": ModelConfig(),
}
