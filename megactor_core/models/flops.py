"""The work of the model from shapes alone, in floating-point operations: two for each multiply-add.

Counted is what torch's FlopCounterMode counts: matrix products and convolutions. Norms, softmax, activations,
sums and the sound's Fourier transform are left out. Eq. 2 in its `exclude` form costs no extra products.

Letters:  N tokens of a frame   R reference tokens (= N)   D width   S audio tokens a frame   E audio width
"""

import math

from megactor_core.config.model import (
    LATENT_STRIDE_PX,
    PATCH,
    TOKEN_STRIDE_PX,
    AutoencoderConfig,
    ModelConfig,
)
from megactor_core.models.audio import (
    CHUNK_MARGIN_SECONDS,
    MEL_BANDS,
    WHISPER_HZ,
    WHISPER_SECONDS,
    WHISPER_STATES,
)
from megactor_core.models.layers import TIMESTEP_WAVES

KL_WIDTHS = (128, 256, 512, 512)
"""Channels of AutoencoderKL's four levels [S Stable Diffusion]."""
KL_RESIDUALS = 2
"""Residual blocks a level of AutoencoderKL's encoder; its decoder has one more [S Stable Diffusion]."""
WHISPER_MLP_RATIO = 4
"""Width of the MLP of a Whisper layer over the layer's [S Whisper]."""

Work = dict[str, int]
"""FLOPs of each part."""


def count_step(config: ModelConfig, *, frames: int, size_px: int, guidance: bool) -> Work:
    """FLOPs of one solver step of one window of `frames` frames, by part; the parts add up to the step.

    `guidance` adds the evaluation of the unconditional rows. The parts `reference` and `reference keys` are
    spent once a step, however many windows it has; with `reference.timestep = zero` once a clip.
    """
    evaluations = [count_denoiser(config, frames=frames, size_px=size_px)]
    if guidance:
        evaluations.append(count_denoiser(config, frames=frames, size_px=size_px, reference=False))
    return {
        **{part: sum(work[part] for work in evaluations) for part in evaluations[0]},
        "reference": count_reference(config, size_px=size_px),
        "reference keys": count_reference_keys(config, size_px=size_px),
    }


def count_clip(
    config: ModelConfig, *, frames: int, driving_frames: int, sound_seconds: float, size_px: int
) -> Work:
    """FLOPs that a clip with a visual driver and sound takes once, whatever the steps and windows, by part.

    The Driven Encoder sees one picture more than there are driving frames: the one where nothing drives.
    """
    return {
        "driven encoder": count_driven_encoder(config, pictures=driving_frames + 1, size_px=size_px),
        "audio encoder": count_audio_encoder(config, frames=frames, sound_seconds=sound_seconds),
        "encode": count_encode(config.autoencoder, pictures=1, size_px=size_px),
        "decode": count_decode(config.autoencoder, pictures=frames, size_px=size_px),
    }


# The transformers


def count_denoiser(config: ModelConfig, *, frames: int, size_px: int, reference: bool = True) -> Work:
    """FLOPs of one evaluation of the Denoising Transformer over one window, by part.

    `spatial` is everything frame-wise but audio, without reference keys; `reference attention` is what the
    queries spend on those keys, zero for unconditional rows (reference = False).
    """
    tokens = tokens_of(size_px)
    readers = config.depth - config.reference_start if reference else 0
    spatial = _backbone(
        config,
        frames=frames,
        tokens=tokens,
        blocks=config.depth,
        channels=config.latent_channels + config.driven.out_channels,
        head=True,
    )
    return {
        "spatial": spatial,
        "reference attention": readers * frames * attention_flops(tokens, tokens, config.hidden),
        "audio attention": config.depth * frames * _audio_attention(config, tokens=tokens),
        "temporal": len(config.temporal_blocks) * _temporal(config, frames=frames, tokens=tokens),
    }


def count_reference(config: ModelConfig, *, size_px: int) -> int:
    """FLOPs of one forward of the Reference Transformer for one portrait.

    Its last block stops at the attention's input, because nothing reads what comes after.
    """
    return _backbone(
        config,
        frames=1,
        tokens=tokens_of(size_px),
        blocks=config.depth - 1,
        channels=config.latent_channels,
        head=False,
    )


def count_reference_keys(config: ModelConfig, *, size_px: int) -> int:
    """FLOPs of projecting the reference's states to keys and values in every block that reads them."""
    readers = config.depth - config.reference_start
    return readers * 2 * linear_flops(tokens_of(size_px), config.hidden, config.hidden)


def _backbone(
    config: ModelConfig, *, frames: int, tokens: int, blocks: int, channels: int, head: bool
) -> int:
    """Patches, time step, blocks of self-attention and MLP, and the head where it runs."""
    width = config.hidden
    patches = conv_flops(tokens, PATCH, channels, width)
    timestep = (
        linear_flops(1, TIMESTEP_WAVES, width)
        + linear_flops(1, width, width)
        + linear_flops(1, width, 6 * width)
    )
    block = (
        4 * linear_flops(tokens, width, width)
        + attention_flops(tokens, tokens, width)
        + 2 * linear_flops(tokens, width, config.mlp_ratio * width)
    )
    outputs = linear_flops(tokens, width, PATCH**2 * config.out_channels) if head else 0
    return timestep + frames * (patches + blocks * block + outputs)


def _audio_attention(config: ModelConfig, *, tokens: int) -> int:
    """One audio attention of one frame: N queries, S keys."""
    width, audio = config.hidden, config.audio
    inner = audio.inner_width or width
    keys_values = 2 * linear_flops(audio.tokens, audio.width, inner)
    queries_out = linear_flops(tokens, width, inner) + linear_flops(tokens, inner, width)
    return keys_values + queries_out + attention_flops(tokens, audio.tokens, inner)


def _temporal(config: ModelConfig, *, frames: int, tokens: int) -> int:
    """One temporal module over a window: N / g^2 sequences of g^2 x frames tokens, and a gated MLP."""
    width, temporal = config.hidden, config.temporal
    cell = temporal.grid**2
    square = linear_flops(frames * tokens, width, width)
    attention = 4 * square + tokens // cell * attention_flops(cell * frames, cell * frames, width)
    mlp = 3 * config.mlp_ratio * square  # two halves in, one out
    return 2 * square + temporal.attentions * attention + mlp


# What surrounds them


def count_driven_encoder(config: ModelConfig, *, pictures: int, size_px: int) -> int:
    """FLOPs of the Driven Encoder for `pictures` driving pictures."""
    side, channels, work = size_px, 3, 0
    for i, width in enumerate(config.driven.widths):
        work += conv_flops(side**2, 3, channels, channels)
        kernel, side = (4, side // 2) if i < 3 else (3, side)
        work += conv_flops(side**2, kernel, channels, width)
        channels = width
    return pictures * (work + conv_flops(side**2, 1, channels, config.driven.out_channels))


def count_audio_encoder(config: ModelConfig, *, frames: int, sound_seconds: float) -> int:
    """FLOPs of the audio encoder for one clip: a window a frame for `log-mel`, 30 s chunks for Whisper."""
    width, tokens = config.audio.width, config.audio.tokens
    if config.audio.encoder == "whisper":
        return _whisper_chunks(sound_seconds) * _whisper_chunk(width)
    convolutions = conv_1d_flops(2 * tokens, MEL_BANDS, width) + 2 * conv_1d_flops(tokens, width, width)
    return frames * convolutions


def _whisper_chunks(sound_seconds: float) -> int:
    """Chunks of 30 s; neighbours overlap by the margins that are thrown away."""
    steps_beyond_first = max(0, round(sound_seconds * WHISPER_HZ) - WHISPER_SECONDS * WHISPER_HZ)
    stride = (WHISPER_SECONDS - 2 * CHUNK_MARGIN_SECONDS) * WHISPER_HZ
    return 1 + math.ceil(steps_beyond_first / stride)


def _whisper_chunk(width: int) -> int:
    """Two convolutions, the second with stride 2, and one layer for each state but the first."""
    steps = WHISPER_SECONDS * WHISPER_HZ
    layer = (
        4 * linear_flops(steps, width, width)
        + attention_flops(steps, steps, width)
        + 2 * linear_flops(steps, width, WHISPER_MLP_RATIO * width)
    )
    return (
        conv_1d_flops(2 * steps, MEL_BANDS, width)
        + conv_1d_flops(steps, width, width)
        + (WHISPER_STATES - 1) * layer
    )


def count_encode(config: AutoencoderConfig, *, pictures: int, size_px: int) -> int:
    """FLOPs of encoding pictures of side `size_px`."""
    one = _kl_encode if config.kind == "kl" else _patch_encode
    return pictures * one(config, size_px)


def count_decode(config: AutoencoderConfig, *, pictures: int, size_px: int) -> int:
    """FLOPs of decoding pictures of side `size_px`."""
    one = _kl_decode if config.kind == "kl" else _patch_decode
    return pictures * one(config, size_px)


def _patch_encode(config: AutoencoderConfig, size_px: int) -> int:
    low, mid, high = config.widths
    half, quarter, eighth = ((size_px // factor) ** 2 for factor in (2, 4, 8))
    return (
        conv_flops(eighth, LATENT_STRIDE_PX, 3, config.latent_channels)
        + conv_flops(half, 3, 12, low) + 2 * conv_flops(half, 3, low, low)
        + conv_flops(quarter, 4, low, mid) + 2 * conv_flops(quarter, 3, mid, mid)
        + conv_flops(eighth, 4, mid, high) + 2 * conv_flops(eighth, 3, high, high)
        + conv_flops(eighth, 3, high, config.latent_channels)
    )  # fmt: skip


def _patch_decode(config: AutoencoderConfig, size_px: int) -> int:
    low, mid, high = config.widths
    half, quarter, eighth = ((size_px // factor) ** 2 for factor in (2, 4, 8))
    return (
        conv_flops(eighth, LATENT_STRIDE_PX, config.latent_channels, 3)
        + conv_flops(eighth, 3, config.latent_channels, high) + 2 * conv_flops(eighth, 3, high, high)
        + conv_flops(eighth, 3, high, 4 * mid) + 2 * conv_flops(quarter, 3, mid, mid)
        + conv_flops(quarter, 3, mid, 4 * low) + 2 * conv_flops(half, 3, low, low)
        + conv_flops(half, 3, low, 12)
    )  # fmt: skip


def _kl_encode(config: AutoencoderConfig, size_px: int) -> int:
    channels, pixels = KL_WIDTHS[0], size_px**2
    work = conv_flops(pixels, 3, 3, channels)
    for level, width in enumerate(KL_WIDTHS):
        if level:  # every level but the first begins with half the side
            pixels //= 4
            work += conv_flops(pixels, 3, channels, channels)
        for _ in range(KL_RESIDUALS):
            work += _kl_residual(pixels, channels, width)
            channels = width
    moments = 2 * config.latent_channels  # mean and log-variance
    out = conv_flops(pixels, 3, channels, moments) + conv_flops(pixels, 1, moments, moments)
    return work + _kl_middle(pixels) + out


def _kl_decode(config: AutoencoderConfig, size_px: int) -> int:
    channels, pixels = KL_WIDTHS[-1], (size_px // LATENT_STRIDE_PX) ** 2
    work = conv_flops(pixels, 1, config.latent_channels, config.latent_channels)
    work += conv_flops(pixels, 3, config.latent_channels, channels) + _kl_middle(pixels)
    for level, width in enumerate(reversed(KL_WIDTHS)):
        if level:  # every level but the first begins with twice the side
            pixels *= 4
            work += conv_flops(pixels, 3, channels, channels)
        for _ in range(KL_RESIDUALS + 1):
            work += _kl_residual(pixels, channels, width)
            channels = width
    return work + conv_flops(pixels, 3, channels, 3)


def _kl_residual(pixels: int, channels: int, width: int) -> int:
    shortcut = conv_flops(pixels, 1, channels, width) if channels != width else 0
    return conv_flops(pixels, 3, channels, width) + conv_flops(pixels, 3, width, width) + shortcut


def _kl_middle(pixels: int) -> int:
    """Residual block, self-attention over all latent pixels, residual block."""
    width = KL_WIDTHS[-1]
    attention = 4 * linear_flops(pixels, width, width) + attention_flops(pixels, pixels, width)
    return 2 * _kl_residual(pixels, width, width) + attention


# Operations


def tokens_of(size_px: int) -> int:
    """Tokens of a picture."""
    return (size_px // TOKEN_STRIDE_PX) ** 2


def linear_flops(rows: int, width_in: int, width_out: int) -> int:
    """A matrix product with a weight."""
    return 2 * rows * width_in * width_out


def attention_flops(queries: int, keys: int, width: int) -> int:
    """Scores and the weighted sum of values, over all heads together."""
    return 4 * queries * keys * width


def conv_flops(pixels: int, kernel: int, channels_in: int, channels_out: int) -> int:
    """A square kernel at `pixels` places: of the output, or of the input where it is transposed."""
    return 2 * pixels * kernel**2 * channels_in * channels_out


def conv_1d_flops(steps: int, channels_in: int, channels_out: int) -> int:
    """Three taps, as in every audio encoder here."""
    return 2 * steps * 3 * channels_in * channels_out
