"""The Denoising Transformer: PixArt-alpha's blocks with reference, temporal and audio attention.

Shape legend:
    B clips   F frames   BF clips x frames folded   C latent channels   M motion channels
    H, W latent height and width   h, w token grid (H / 2, W / 2)   N = h * w tokens   D width
    S audio tokens a frame   E audio width   R reference tokens
"""

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from megactor_core.config.model import PATCH, ModelConfig
from megactor_core.models.audio import AudioAttention
from megactor_core.models.layers import (
    Attention,
    KeysValues,
    Mlp,
    Modulation,
    TimestepModulation,
    grid_positions,
    init_linears,
    modulate,
    modulation_table,
)
from megactor_core.models.masks import RegionMask
from megactor_core.models.temporal import TemporalModule


class Block(nn.Module):
    """A PixArt-alpha block without its text cross-attention: modulated self-attention and MLP."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.hidden
        self.scale_shift_table = modulation_table(6, width)
        self.self_attention = Attention(width, heads=config.heads)
        self.mlp = Mlp(width, ratio=config.mlp_ratio)

    def modulation(self, six: Tensor) -> Modulation:
        """The block's own table added to the shared modulations: (B, 6, D) -> six of (B, 1, D)."""
        return Modulation(*(self.scale_shift_table + six).chunk(6, dim=1))

    def attention_input(self, x: Tensor, m: Modulation) -> Tensor:
        """Normed and modulated tokens: what self-attention sees and what the reference hands over."""
        return modulate(x, shift=m.attention_shift, scale=m.attention_scale)

    def attend(
        self,
        x: Tensor,
        n: Tensor,
        m: Modulation,
        *,
        reference: KeysValues | None = None,
        mask: RegionMask | None = None,
    ) -> Tensor:
        """x plus gated self-attention of its normed form n, over n's own and the reference's tokens."""
        return x + m.attention_gate * self.self_attention(n, reference=reference, mask=mask)

    def feed_forward(self, x: Tensor, m: Modulation) -> Tensor:
        return x + m.mlp_gate * self.mlp(modulate(x, shift=m.mlp_shift, scale=m.mlp_scale))


class DenoiserBlock(Block):
    """Block order of figure 3: spatial attention, temporal module (odd blocks), audio attention, MLP."""

    def __init__(self, config: ModelConfig, *, index: int) -> None:
        super().__init__(config)
        self.temporal = TemporalModule(config) if index in config.temporal_blocks else None
        self.temporal_first = config.temporal.place == "after-self-attention"
        self.audio_attention = AudioAttention(config)

    def reference_keys(self, state: Tensor) -> KeysValues:
        """Keys and values of a reference state (B, R, D), by this block's own projections."""
        return self.self_attention.keys_values(state)

    def forward(
        self,
        x: Tensor,
        six: Tensor,
        *,
        frames: int,
        grid: tuple[int, int],
        audio: Tensor,
        audio_scale: float,
        reference: KeysValues | None,
        mask: RegionMask | None,
        use_temporal: bool = True,
    ) -> Tensor:
        """x (BF, N, D), six (BF, 6, D), audio (BF, S, E) -> (BF, N, D)."""
        m = self.modulation(six)
        n = self.attention_input(x, m)
        x = self.attend(x, n, m, reference=reference, mask=mask)  # spatial attention
        if use_temporal and self.temporal is not None and self.temporal_first:
            x = self.temporal(x, frames=frames, grid=grid)
        if audio_scale != 0:  # eq. 3; zero is exactly "no audio attention"
            x = x + audio_scale * self.audio_attention(x, audio)
        x = self.feed_forward(x, m)
        if use_temporal and self.temporal is not None and not self.temporal_first:
            x = self.temporal(x, frames=frames, grid=grid)
        return x


class Backbone(nn.Module):
    """What the Denoising and the Reference Transformer share: patches, positions, time step, head.

    `recompute` trades time for memory in training: a block keeps its input only and runs again backwards.
    """

    blocks: nn.ModuleList

    def __init__(self, config: ModelConfig, *, in_channels: int) -> None:
        super().__init__()
        self.config = config
        self.recompute = False
        self.patch_embed = nn.Conv2d(in_channels, config.hidden, PATCH, stride=PATCH)
        self.timestep = TimestepModulation(config.hidden)
        self.head_table = modulation_table(2, config.hidden)
        self.head = nn.Linear(config.hidden, PATCH * PATCH * config.out_channels)

    def embed(self, latents: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Latent pictures (BF, C, H, W) -> tokens with positions (BF, N, D) and their grid (h, w)."""
        patches = self.patch_embed(latents)  # (BF, D, h, w)
        grid = (patches.shape[2], patches.shape[3])
        positions = grid_positions(*grid, base=self.config.base_tokens, channels=self.config.hidden)
        # Sums keep the layout of their first term: one copy here spares one at every layer that reads x.
        tokens = rearrange(patches, "b d h w -> b (h w) d").contiguous()
        return tokens + positions.to(patches), grid

    def unpatch(self, x: Tensor, embedding: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens (BF, N, D) and time step embedding (BF, D) -> prediction (BF, C_out, H, W)."""
        shift, scale = (self.head_table + embedding[:, None]).chunk(2, dim=1)
        patches = self.head(modulate(x, shift=shift, scale=scale))
        h, w = grid
        return rearrange(patches, "b (h w) (p q c) -> b c (h p) (w q)", h=h, w=w, p=PATCH, q=PATCH)

    def run_block(self, run: Callable[..., Tensor], *inputs: Any, **named: Any) -> Tensor:
        """`run(*inputs, **named)`, recomputed in the backward pass where `recompute` asks for it."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(run, *inputs, use_reentrant=False, **named)
        return run(*inputs, **named)

    def init_backbone(self) -> None:
        """PixArt-alpha's start from scratch: Xavier, time step layers std 0.02, zero head."""
        init_linears(self)
        nn.init.xavier_uniform_(self.patch_embed.weight.flatten(1))
        assert self.patch_embed.bias is not None
        nn.init.zeros_(self.patch_embed.bias)
        for layer in (self.timestep.mlp_in, self.timestep.mlp_out, self.timestep.six):
            nn.init.normal_(layer.weight, std=0.02)
        nn.init.zeros_(self.head.weight)


class Denoiser(Backbone):
    """The Denoising Transformer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, in_channels=config.latent_channels + config.driven.out_channels)
        self.blocks = nn.ModuleList(DenoiserBlock(config, index=i) for i in range(config.depth))
        self.init_backbone()
        self._init_additions()

    def _init_additions(self) -> None:
        """Start as if motion, audio and time were absent: their last layers are zero."""
        nn.init.zeros_(self.patch_embed.weight[:, self.config.latent_channels :])
        for block in self._blocks():
            block.audio_attention.init_zero()
            if block.temporal is not None:
                block.temporal.init_zero()

    def _blocks(self) -> list[DenoiserBlock]:
        return [block for block in self.blocks if isinstance(block, DenoiserBlock)]

    def reference_keys(self, states: list[Tensor]) -> list[KeysValues]:
        """Reference states, one (B, R, D) a reading block, projected by that block's own W_k and W_v.

        They do not depend on the frame: computed once a step, used by every window and frame.
        """
        readers = self._blocks()[self.config.reference_start :]
        return [block.reference_keys(state) for block, state in zip(readers, states, strict=True)]

    def forward(
        self,
        latents: Tensor,
        t: Tensor,
        *,
        motion: Tensor,
        audio: Tensor,
        reference: list[KeysValues] | None = None,
        mask: RegionMask | None = None,
        audio_scale: float = 1.0,
        use_temporal: bool = True,
    ) -> Tensor:
        """Predict noise (or velocity) and, where learned, variance.

        latents (B, F, C, H, W), t (B,) or a time step a frame (B, F), motion (B, F, M, H, W),
        audio (B, F, S, E),
        reference: keys and values of B rows for each reading block, None = the null branch without reference,
        mask: eq. 2 over BF rows. `use_temporal` False leaves the temporal modules out, which are the identity
        until they are trained. Returns (B, F, C_out, H, W).
        """
        frames = latents.shape[1]
        x, grid = self.embed(rearrange(torch.cat([latents, motion], dim=2), "b f c h w -> (b f) c h w"))
        embedding, six = self.timestep(t.flatten())  # (B, D), (B, 6, D), or BF of them
        if t.ndim == 1:
            embedding = repeat(embedding, "b d -> (b f) d", f=frames)
            six = repeat(six, "b six d -> (b f) six d", f=frames)
        audio = rearrange(audio, "b f s e -> (b f) s e")

        start = self.config.reference_start
        for i, block in enumerate(self.blocks):
            reads = i >= start
            x = self.run_block(  # (BF, N, D)
                block,
                x,
                six,
                frames=frames,
                grid=grid,
                audio=audio,
                audio_scale=audio_scale,
                reference=reference[i - start] if reference is not None and reads else None,
                mask=mask if reads or self.config.mask.blocks == "all" else None,
                use_temporal=use_temporal,
            )
        return rearrange(self.unpatch(x, embedding, grid), "(b f) c h w -> b f c h w", f=frames)
