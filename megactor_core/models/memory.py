"""The memory of `animate` from shapes alone, in bytes: what the tensors hold that are alive at once.

Counted is the largest moment of each part, in the order in which the code makes tensors and drops them. Left
out: buffers inside of kernels (convolution libraries, cuBLAS), what an allocator keeps or cannot fit, the
device's context, Python and its libraries, the file's pages while a checkpoint loads, and what stays below
these moments with the settings of every preset: the portrait's encoding, the Driven Encoder, Whisper.

Letters:  F frames of a window   N tokens of a frame   R reference tokens (= N)   D width   r MLP ratio
          U one tensor of tokens, F N D numbers   C latent channels   P pixels of all pictures together
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from megactor_core.config.model import LATENT_STRIDE_PX, AutoencoderConfig, ModelConfig
from megactor_core.models.audio import MEL_BANDS, WHISPER_HZ, WHISPER_SECONDS, WHISPER_STATES, LogMelEncoder
from megactor_core.models.autoencoder import PatchAutoencoder
from megactor_core.models.flops import KL_RESIDUALS, KL_WIDTHS, WHISPER_MLP_RATIO, tokens_of
from megactor_core.models.sigma import Sigma
from megactor_core.models.undrawn import undrawn

FLOAT32_BYTES = 4
BFLOAT16_BYTES = 2

_WHISPER_VOCABULARY, _WHISPER_TEXT_POSITIONS = 51_865, 448  # [S Whisper]
_MODULATIONS = 1 + 6 + 6  # rows of width D a frame: the time step's embedding, the shared six, a block's six


@dataclass(frozen=True, slots=True)
class Weights:
    """Numbers in the weights of each network."""

    sigma: int
    autoencoder: int
    audio_encoder: int


@dataclass(frozen=True, slots=True)
class AnimateMemory:
    """Bytes of one clip's `animate` by part; a clip's length does not change them."""

    sigma: int
    autoencoder: int
    audio_encoder: int
    reference_keys: int
    """The reference's keys and values, which all windows of a step read."""
    reference_step: int
    """The largest moment of making them: states, new and old keys."""
    window: int
    """The largest moment of denoising a window, its inputs included, with guidance where it is used."""
    window_unguided: int
    """The same without guidance."""
    decode: int
    """The largest moment of decoding a batch of frames."""

    @property
    def weights(self) -> int:
        return self.sigma + self.autoencoder + self.audio_encoder

    @property
    def step(self) -> int:
        """The largest moment of a solver step, without weights."""
        return max(self.reference_keys + self.window, self.reference_step)

    @property
    def denoising(self) -> int:
        """Weights and the largest moment of a solver step."""
        return self.weights + self.step

    @property
    def decoding(self) -> int:
        """Weights and the largest moment of writing frames; the denoiser's keys are gone by then."""
        return self.weights + self.decode

    @property
    def total(self) -> int:
        """The largest moment of all."""
        return max(self.denoising, self.decoding)

    @property
    def total_in_parts(self) -> int:
        """The same on a device that holds only the parts that work (`offload=parts`)."""
        return max(self.sigma + self.step, self.autoencoder + self.decode)


def count_animate(
    config: ModelConfig,
    *,
    item_bytes: int,
    size_px: int,
    frames: int,
    guidance: bool,
    decode_batch: int,
    weights: Weights | None = None,
) -> AnimateMemory:
    """Bytes of `animate` with windows of `frames` frames, one at a time, Sigma's numbers of `item_bytes`.

    `weights`: those of `config`, where they have been counted already.
    """
    weights = weights or count_weights(config)
    unguided = window_bytes(config, frames=frames, size_px=size_px, item_bytes=item_bytes)
    kept = prediction_bytes(config, frames=frames, size_px=size_px, item_bytes=item_bytes) if guidance else 0
    return AnimateMemory(
        sigma=item_bytes * weights.sigma,
        autoencoder=FLOAT32_BYTES * weights.autoencoder,
        audio_encoder=item_bytes * weights.audio_encoder,
        reference_keys=reference_keys_bytes(config, size_px=size_px, item_bytes=item_bytes),
        reference_step=reference_step_bytes(config, size_px=size_px, item_bytes=item_bytes),
        window=unguided + kept,
        window_unguided=unguided,
        decode=decode_bytes(config.autoencoder, pictures=decode_batch, size_px=size_px),
    )


# Weights


def count_weights(config: ModelConfig) -> Weights:
    """Numbers in the weights; modules of this project are built without numbers, public ones counted."""
    autoencoder, audio = config.autoencoder, config.audio
    with undrawn():
        sigma = _numbers(Sigma(config))
        patch = 0 if autoencoder.kind == "kl" else _numbers(PatchAutoencoder(autoencoder))
        log_mel = 0 if audio.encoder == "whisper" else _numbers(LogMelEncoder(config))
    return Weights(
        sigma=sigma,
        autoencoder=patch or kl_numbers(autoencoder.latent_channels),
        audio_encoder=log_mel or whisper_numbers(audio.width),
    )


def _numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def kl_numbers(latent_channels: int, *, widths: Sequence[int] = KL_WIDTHS) -> int:
    """Numbers of an AutoencoderKL with levels of these widths [S Stable Diffusion]."""
    moments = 2 * latent_channels
    top = widths[-1]
    middle = 2 * _kl_residual(top, top) + 2 * top + 4 * (top * top + top)
    encoder, channels = _conv(3, 3, widths[0]), widths[0]
    for level, width in enumerate(widths):
        encoder += _conv(3, channels, channels) if level else 0
        encoder += _kl_residual(channels, width) + (KL_RESIDUALS - 1) * _kl_residual(width, width)
        channels = width
    encoder += middle + 2 * top + _conv(3, top, moments)
    decoder, channels = _conv(3, latent_channels, top) + middle, top
    for level, width in enumerate(reversed(widths)):
        decoder += _conv(3, channels, channels) if level else 0
        decoder += _kl_residual(channels, width) + KL_RESIDUALS * _kl_residual(width, width)
        channels = width
    decoder += 2 * channels + _conv(3, channels, 3)
    return encoder + decoder + _conv(1, moments, moments) + _conv(1, latent_channels, latent_channels)


def _kl_residual(channels: int, width: int) -> int:
    shortcut = _conv(1, channels, width) if channels != width else 0
    return 2 * channels + _conv(3, channels, width) + 2 * width + _conv(3, width, width) + shortcut


def _conv(kernel: int, channels_in: int, channels_out: int) -> int:
    return kernel**2 * channels_in * channels_out + channels_out


def whisper_numbers(width: int) -> int:
    """Numbers of Whisper's encoder without its closing norm [S Whisper]."""
    attention, mlp, norm = _whisper_layer(width)
    convolutions = 3 * MEL_BANDS * width + width + 3 * width * width + width
    positions = WHISPER_SECONDS * WHISPER_HZ * width
    return convolutions + positions + (WHISPER_STATES - 1) * (attention + mlp + 2 * norm)


def whisper_file_numbers(width: int) -> int:
    """Numbers in Whisper's file: the decoder, which nothing here runs, lies in it too [S Whisper]."""
    attention, mlp, norm = _whisper_layer(width)
    tokens = (_WHISPER_VOCABULARY + _WHISPER_TEXT_POSITIONS) * width
    decoder = tokens + (WHISPER_STATES - 1) * (2 * attention + mlp + 3 * norm) + norm
    return whisper_numbers(width) + norm + decoder


def _whisper_layer(width: int) -> tuple[int, int, int]:
    """Attention (its keys have no bias), MLP and norm."""
    inner = WHISPER_MLP_RATIO * width
    return 4 * width * width + 3 * width, 2 * width * inner + inner + width, 2 * width


# Denoising


def window_bytes(
    config: ModelConfig,
    *,
    frames: int,
    size_px: int,
    item_bytes: int,
    reference: bool = True,
    temporal: bool = True,
) -> int:
    """The largest moment of one evaluation of the denoiser over one window, its inputs included.

    A block holds its input, the normed input and its own tokens throughout. On top of these 3 U:

        MLP                   the modulated tokens, two of r wide            (1 + 2 r) U
        temporal module       its tokens, normed, the gate's 2 r and r, r    (2 + 4 r) U
        spatial attention     q, k, v, output, projection, and one less held 4 U
          reading a reference keys and values joined, before the projection  6 U
          under eq. 2's mask  who may read whom, and as the kernel wants it  F N (N + R) (1 + item) bytes more

    Eq. 2's mask is counted as if it always acted (`reference`: the null branch has neither).
    """
    tokens = tokens_of(size_px)
    unit = item_bytes * frames * tokens * config.hidden
    moments = [(4 + 2 * config.mlp_ratio) * unit]
    moments.append(_attention_bytes(config, unit, frames, tokens, item_bytes, reference=reference))
    if temporal:
        moments.append((5 + 4 * config.mlp_ratio) * unit)
    return max(moments) + _inputs_bytes(config, frames=frames, size_px=size_px, item_bytes=item_bytes)


def _attention_bytes(
    config: ModelConfig, unit: int, frames: int, tokens: int, item_bytes: int, *, reference: bool
) -> int:
    """Block input, normed input, q, k, v, the heads' output; its projection, or before it the reference's."""
    heads = 6 * unit
    if not reference:
        return heads + unit
    joined = heads + 4 * unit
    if config.mask.form == "literal":
        return joined + 3 * unit  # keys and values times zero, and the output before the last
    return joined + frames * tokens * 2 * tokens * (1 + item_bytes)


def _inputs_bytes(config: ModelConfig, *, frames: int, size_px: int, item_bytes: int) -> int:
    """What stays for the whole evaluation: latents, motion, audio, modulations and positions.

    Motion and audio are read in float32 and kept beside their copies where Sigma computes in another type.
    """
    pixels = (size_px // LATENT_STRIDE_PX) ** 2
    motion = frames * (config.driven.out_channels * pixels + config.audio.tokens * config.audio.width)
    latents = frames * config.latent_channels * pixels
    modulations = frames * _MODULATIONS * config.hidden
    as_read = FLOAT32_BYTES * motion if item_bytes != FLOAT32_BYTES else 0
    positions = FLOAT32_BYTES * tokens_of(size_px) * config.hidden
    return item_bytes * (latents + motion + modulations) + as_read + positions


def prediction_bytes(config: ModelConfig, *, frames: int, size_px: int, item_bytes: int) -> int:
    """The conditional prediction that guidance keeps while it makes the unconditional one, in float32.

    Where Sigma computes in float32 it is a view of the whole output, learned variance and all.
    """
    channels = config.out_channels if item_bytes == FLOAT32_BYTES else config.latent_channels
    return FLOAT32_BYTES * frames * channels * (size_px // LATENT_STRIDE_PX) ** 2


def reference_keys_bytes(config: ModelConfig, *, size_px: int, item_bytes: int) -> int:
    """Keys and values of the reference in every block that reads it: 2 R D each."""
    readers = config.depth - config.reference_start
    return readers * 2 * item_bytes * tokens_of(size_px) * config.hidden


def reference_step_bytes(config: ModelConfig, *, size_px: int, item_bytes: int) -> int:
    """The largest moment of the reference's own step, beside the keys of the step before where it has some.

    Either the last block's MLP beside all states but one, (readers + 2 + 2 r) U of one picture, its latents
    and modulations; or all states and the keys made of them, 3 readers U. Positions stay.
    """
    tokens, pixels = tokens_of(size_px), (size_px // LATENT_STRIDE_PX) ** 2
    unit = tokens * config.hidden
    readers = config.depth - config.reference_start
    before = 0 if config.reference.timestep == "zero" else 2 * readers * unit
    block = (readers + 2 + 2 * config.mlp_ratio) * unit
    block += config.latent_channels * pixels + _MODULATIONS * config.hidden
    return item_bytes * (before + max(block, 3 * readers * unit)) + FLOAT32_BYTES * unit


# Decoding


def decode_bytes(config: AutoencoderConfig, *, pictures: int, size_px: int) -> int:
    """The largest moment of decoding `pictures` pictures; both autoencoders compute in float32."""
    if config.kind == "kl":
        return kl_decode_bytes(config.latent_channels, pictures=pictures, size_px=size_px)
    return _patch_decode_bytes(config, pictures=pictures, size_px=size_px)


def kl_decode_bytes(
    latent_channels: int, *, pictures: int, size_px: int, widths: Sequence[int] = KL_WIDTHS
) -> int:
    """AutoencoderKL's decoder: the largest of these in any of its levels [S Stable Diffusion].

        norm and activation of a residual block    the level's input, the block's input, two as wide
        sum of a residual block                    the level's input, short cut, branch, sum, scaled sum
        doubling the side                          the level's input and last tokens, doubled and convolved

    The first residual block's input is the level's. The middle, at the smallest side, stays below. With the
    published widths the last level's first block decides: 3 x 256 numbers a pixel.
    """
    places = pictures * (size_px // LATENT_STRIDE_PX) ** 2
    latents = 3 * places * latent_channels  # as given, divided by their scale, and convolved
    largest, channels = 0, widths[-1]
    for level, width in enumerate(reversed(widths)):
        entering, own = channels * places, width * places
        largest = max(largest, 3 * entering, entering + 4 * own)
        if level < len(widths) - 1:
            largest = max(largest, entering + own + 2 * 4 * own)
            places *= 4
        channels = width
    return FLOAT32_BYTES * (latents + largest)


def _patch_decode_bytes(config: AutoencoderConfig, *, pictures: int, size_px: int) -> int:
    """The small autoencoder's decoder: the linear path's picture, and three of the widest tensors at half
    the side, those of its last residual block."""
    pixels = pictures * size_px**2
    latents = 2 * config.latent_channels * pixels // LATENT_STRIDE_PX**2
    return FLOAT32_BYTES * (latents + 3 * pixels + 3 * config.widths[0] * pixels // 4)
