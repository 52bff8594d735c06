"""The work of one training sample from shapes alone, in floating-point operations, forward and backward.

A product y = x W costs the same three times: y itself, the gradient of x where anything before it learns,
and the gradient of W where W learns. So what a stage freezes, and what lies before its first trained layer,
costs less. Not counted: blocks that gradient checkpointing runs twice, and the optimiser.

Letters:  N tokens of a frame   D width
"""

from dataclasses import dataclass

from megactor_core.config.model import LATENT_STRIDE_PX, PATCH, AutoencoderConfig, ModelConfig
from megactor_core.models.audio import MEL_BANDS
from megactor_core.models.flops import (
    attention_flops,
    conv_1d_flops,
    conv_flops,
    count_audio_encoder,
    count_decode,
    count_driven_encoder,
    count_encode,
    linear_flops,
    tokens_of,
)
from megactor_core.models.layers import TIMESTEP_WAVES
from megactor_core.training.stages import Stage


@dataclass(frozen=True, slots=True)
class SampleWork:
    """FLOPs of one sample; `encode` is the frozen autoencoder's part, 0 where the data hold latents."""

    forward: int
    backward: int
    encode: int = 0

    @property
    def total(self) -> int:
        return self.forward + self.backward + self.encode


def count_sample(
    config: ModelConfig, stage: Stage, *, frames: int, holds_latents: bool, times: int = 1
) -> SampleWork:
    """One sample of a stage: a reference, and a target of `frames` frames at the model's native size.

    `times`: time steps that the denoiser is told, one for a clip or one a frame.
    """
    tally = _Tally()
    _Sigma(config, stage, frames, tally).count(times)
    pictures = 0 if holds_latents else 1 + frames
    encode = count_encode(config.autoencoder, pictures=pictures, size_px=config.native_px)
    return SampleWork(tally.forward, tally.backward, encode)


def count_picture(config: AutoencoderConfig, *, size_px: int) -> SampleWork:
    """One picture through the small autoencoder in training; its first layers pass no gradient on."""
    encode = count_encode(config, pictures=1, size_px=size_px)
    forward = encode + count_decode(config, pictures=1, size_px=size_px)
    linear = conv_flops((size_px // LATENT_STRIDE_PX) ** 2, LATENT_STRIDE_PX, 3, config.latent_channels)
    first = conv_flops((size_px // 2) ** 2, 3, 12, config.widths[0])
    return SampleWork(forward, 2 * forward - linear - first)


@dataclass(slots=True)
class _Tally:
    """Forward and backward FLOPs so far."""

    forward: int = 0
    backward: int = 0

    def layer(self, flops: int, *, passes: bool, learns: bool) -> None:
        """A product with weights; `passes`: its input needs a gradient, `learns`: its weights do."""
        self.forward += flops
        self.backward += flops * (passes + learns)

    def attention(self, flops: int, *, queries: bool, sources: bool) -> None:
        """Scores and weighted sum, half of `flops` each; whether queries, or keys and values, learn."""
        self.forward += flops
        self.backward += flops // 2 * (queries + sources + (queries or sources) + sources)


class _Sigma:
    """The model in one stage; counted part by part, in the order of the forward pass."""

    def __init__(self, config: ModelConfig, stage: Stage, frames: int, tally: _Tally) -> None:
        self._config, self._stage, self._frames, self._tally = config, stage, frames, tally
        self._tokens, self._width = tokens_of(config.native_px), config.hidden
        self._spatial = stage.trains_spatial
        self._own_audio = stage.uses_audio and config.audio.encoder == "log-mel"
        self._audio_passes = self._own_audio and stage.trains_audio_encoder
        temporal = config.temporal_blocks if stage.uses_temporal else ()
        self._first = 0 if self._spatial else min(temporal, default=config.depth)
        """The first block in which anything learns."""

    def count(self, times: int) -> None:
        config = self._config
        self._ends(self._tokens, times=1, channels=config.latent_channels, passes=False)
        for _ in range(config.depth - 1):  # the last block stops at the attention's input
            self._self_attention(1, keys=self._tokens, passes=self._spatial)
            self._mlp(1, passes=self._spatial)
        readers = config.depth - config.reference_start
        keys = readers * 2 * linear_flops(self._tokens, self._width, self._width)
        self._tally.layer(keys, passes=self._spatial, learns=self._spatial)
        self._driven_encoder()
        self._audio_encoder()
        channels = config.latent_channels + config.driven.out_channels
        self._ends(self._frames * self._tokens, times=times, channels=channels, passes=self._spatial)
        for index in range(config.depth):
            self._block(index)
        head = linear_flops(self._frames * self._tokens, self._width, PATCH**2 * config.out_channels)
        self._tally.layer(head, passes=True, learns=self._spatial)

    def _ends(self, tokens: int, *, times: int, channels: int, passes: bool) -> None:
        """Patches, and the time step's three layers."""
        learns, width = self._spatial, self._width
        self._tally.layer(conv_flops(tokens, PATCH, channels, width), passes=passes, learns=learns)
        self._tally.layer(linear_flops(times, TIMESTEP_WAVES, width), passes=False, learns=learns)
        self._tally.layer(7 * linear_flops(times, width, width), passes=learns, learns=learns)

    def _block(self, index: int) -> None:
        config = self._config
        before = self._spatial or index > self._first
        """Whether something learns before this block."""
        is_first = index == self._first and not self._spatial
        temporal = self._stage.uses_temporal and index in config.temporal_blocks
        after = before or (is_first and config.temporal.place == "after-self-attention")
        reads = index >= config.reference_start
        self._self_attention(self._frames, keys=self._tokens * (2 if reads else 1), passes=before)
        if temporal:
            self._temporal()
        if self._stage.uses_audio:
            self._audio_attention(passes=after)
        self._mlp(self._frames, passes=after)

    def _self_attention(self, frames: int, *, keys: int, passes: bool) -> None:
        square = linear_flops(frames * self._tokens, self._width, self._width)
        self._tally.layer(4 * square, passes=passes, learns=self._spatial)
        work = frames * attention_flops(self._tokens, keys, self._width)
        self._tally.attention(work, queries=passes, sources=passes)

    def _mlp(self, frames: int, *, passes: bool) -> None:
        wide = linear_flops(frames * self._tokens, self._width, self._config.mlp_ratio * self._width)
        self._tally.layer(2 * wide, passes=passes, learns=self._spatial)

    def _temporal(self) -> None:
        """All of it learns, beginning with the norm before its first product."""
        config, learns = self._config.temporal, not self._spatial
        square = linear_flops(self._frames * self._tokens, self._width, self._width)
        squares = 2 + 4 * config.attentions + 3 * self._config.mlp_ratio
        self._tally.layer(squares * square, passes=True, learns=learns)
        length = config.grid**2 * self._frames
        sequences = self._tokens // config.grid**2
        work = config.attentions * sequences * attention_flops(length, length, self._width)
        self._tally.attention(work, queries=True, sources=True)

    def _audio_attention(self, *, passes: bool) -> None:
        audio, learns = self._config.audio, self._spatial
        inner = audio.inner_width or self._width
        rows = self._frames * self._tokens
        self._tally.layer(linear_flops(rows, self._width, inner), passes=passes, learns=learns)
        sounds = 2 * linear_flops(self._frames * audio.tokens, audio.width, inner)
        self._tally.layer(sounds, passes=self._audio_passes, learns=learns)
        work = self._frames * attention_flops(self._tokens, audio.tokens, inner)
        self._tally.attention(work, queries=passes or learns, sources=learns or self._audio_passes)
        self._tally.layer(linear_flops(rows, inner, self._width), passes=passes or learns, learns=learns)

    def _driven_encoder(self) -> None:
        size_px, learns = self._config.native_px, self._spatial
        first = self._frames * conv_flops(size_px**2, 3, 3, 3)
        rest = count_driven_encoder(self._config, pictures=self._frames, size_px=size_px) - first
        self._tally.layer(first, passes=False, learns=learns)
        self._tally.layer(rest, passes=learns, learns=learns)

    def _audio_encoder(self) -> None:
        """Whisper's states lie in the data."""
        if not self._own_audio:
            return
        audio, learns = self._config.audio, self._stage.trains_audio_encoder
        first = self._frames * conv_1d_flops(2 * audio.tokens, MEL_BANDS, audio.width)
        rest = count_audio_encoder(self._config, frames=self._frames, sound_seconds=0) - first
        self._tally.layer(first, passes=False, learns=learns)
        self._tally.layer(rest, passes=learns, learns=learns)
