"""The layers that every part of the model shares: embeddings, modulation, attention, MLP.

Shape legend:
    B rows (clips, or clips x frames folded)   N tokens   S source tokens   D width   E source width
    H heads   d head width   h, w token grid
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from megactor_core.models.masks import RegionMask

NORM_EPS = 1e-6  # PixArt-alpha
TIMESTEP_WAVES = 256  # PixArt-alpha: channels of the sinusoidal time step embedding


# Embeddings


def timestep_waves(t: Tensor) -> Tensor:
    """Sinusoidal embedding of time steps, cosines first (PixArt-alpha): (B,) -> (B, 256) float32."""
    half = TIMESTEP_WAVES // 2
    frequencies = torch.exp(-math.log(1e4) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t.float()[:, None] * frequencies  # (B, 128)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


@lru_cache(maxsize=32)
def grid_positions(height: int, width: int, *, base: int, channels: int) -> Tensor:
    """Fixed sine-cosine embedding of a token grid (PixArt-alpha): (h * w, D) float32.

    `base` is the grid's side at the native size: positions are whole numbers there and are stretched to the
    same range at other sizes. The first half of the channels encodes x, the second y.
    """
    x = torch.arange(width, dtype=torch.float64, device="cpu") / (width / base)
    y = torch.arange(height, dtype=torch.float64, device="cpu") / (height / base)
    y, x = torch.meshgrid(y, x, indexing="ij")
    half = channels // 2
    return torch.cat([axis_waves(x.flatten(), half), axis_waves(y.flatten(), half)], dim=1).float()


def axis_waves(positions: Tensor, channels: int) -> Tensor:
    """Sines, then cosines, of positions along one axis: (N,) float64 -> (N, channels) float64."""
    count = channels // 2
    omega = 1e4 ** (-torch.arange(count, dtype=torch.float64, device="cpu") / count)
    angles = positions[:, None] * omega
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class TimestepModulation(nn.Module):
    """AdaLN-single of PixArt-alpha: one embedding and six shared modulations a time step."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp_in = nn.Linear(TIMESTEP_WAVES, width)
        self.mlp_out = nn.Linear(width, width)
        self.six = nn.Linear(width, 6 * width)

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Time steps (B,) -> embedding (B, D) for the head, modulations (B, 6, D) for all blocks."""
        waves = timestep_waves(t).to(self.mlp_in.weight.dtype)
        embedding = self.mlp_out(F.silu(self.mlp_in(waves)))
        six = rearrange(self.six(F.silu(embedding)), "b (six d) -> b six d", six=6)
        return embedding, six


@dataclass(frozen=True, slots=True)
class Modulation:
    """Shift, scale and gate of a block's attention and MLP, each (B, 1, D)."""

    attention_shift: Tensor
    attention_scale: Tensor
    attention_gate: Tensor
    mlp_shift: Tensor
    mlp_scale: Tensor
    mlp_gate: Tensor


def modulate(x: Tensor, *, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm without affine, then scale and shift: (B, N, D) with (B, 1, D) -> (B, N, D)."""
    return F.layer_norm(x, x.shape[-1:], eps=NORM_EPS) * (1 + scale) + shift


def modulation_table(rows: int, width: int) -> nn.Parameter:
    """A trained table of shifts, scales and gates, drawn as PixArt-alpha's, std 1 / sqrt(D): (rows, D)."""
    return nn.Parameter(nn.init.normal_(torch.empty(rows, width), std=width**-0.5))


# Attention and MLP


class KeysValues(NamedTuple):
    """Projected keys and values, (B, H, S, d) each."""

    keys: Tensor
    values: Tensor


class Attention(nn.Module):
    """Multi-head attention from `width` to itself or to a source of `source_width`."""

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        source_width: int | None = None,
        inner_width: int | None = None,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__()
        inner = inner_width or width
        self.heads = heads
        self.to_q = nn.Linear(width, inner, bias=qkv_bias)
        self.to_k = nn.Linear(source_width or width, inner, bias=qkv_bias)
        self.to_v = nn.Linear(source_width or width, inner, bias=qkv_bias)
        self.to_out = nn.Linear(inner, width)

    def keys_values(self, source: Tensor) -> KeysValues:
        """Project a source (B, S, E) once, for any number of queries."""
        return KeysValues(self._split(self.to_k(source)), self._split(self.to_v(source)))

    def forward(
        self,
        x: Tensor,
        *,
        source: Tensor | None = None,
        reference: KeysValues | None = None,
        mask: RegionMask | None = None,
    ) -> Tensor:
        """Attend from x (B, N, D) to `source` (B, S, E), or to x itself joined by `reference`.

        `reference` holds keys and values of B / F rows; each serves F consecutive rows of x. `mask` (eq. 2)
        speaks of x's own tokens; reference tokens are always visible. Returns (B, N, D).
        """
        q = self._split(self.to_q(x))
        own = self.keys_values(x if source is None else source)
        if mask is None:
            out = F.scaled_dot_product_attention(q, *_join(own, reference))
        else:
            out = _masked_attention(q, own, reference, mask)
        return self.to_out(rearrange(out, "b head n d -> b n (head d)"))

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n (head d) -> b head n d", head=self.heads)


def _masked_attention(q: Tensor, own: KeysValues, reference: KeysValues | None, mask: RegionMask) -> Tensor:
    """Eq. 2 as exclusion from the softmax, or literally: eye keys and values times zero for mouth rows."""
    tokens = 0 if reference is None else reference.keys.shape[2]
    if mask.form == "exclude":
        allowed = mask.allowed(reference_tokens=tokens)
        return F.scaled_dot_product_attention(q, *_join(own, reference), attn_mask=allowed)
    keep = ~mask.hidden[:, None, :, None]  # (B, 1, N, 1)
    zeroed = KeysValues(own.keys * keep, own.values * keep)
    seen = None if mask.reads_reference is None else mask.reading_only().allowed(reference_tokens=tokens)
    full = F.scaled_dot_product_attention(q, *_join(own, reference), attn_mask=seen)
    mouth = F.scaled_dot_product_attention(q, *_join(zeroed, reference), attn_mask=seen)
    return torch.where(mask.rows[:, None, :, None], mouth, full)


def _join(own: KeysValues, reference: KeysValues | None) -> KeysValues:
    """Append the reference's keys and values to each row's own; one projection serves all frames."""
    if reference is None:
        return own
    frames = own.keys.shape[0] // reference.keys.shape[0]

    def joined(mine: Tensor, shared: Tensor) -> Tensor:
        mine = rearrange(mine, "(b f) head n d -> b f head n d", f=frames)
        shared = shared[:, None].expand(-1, frames, -1, -1, -1)  # a view, not a copy
        return torch.cat([mine, shared], dim=3).flatten(0, 1)

    return KeysValues(joined(own.keys, reference.keys), joined(own.values, reference.values))


class Mlp(nn.Module):
    """D -> ratio * D -> D with tanh-approximated GELU (PixArt-alpha)."""

    def __init__(self, width: int, *, ratio: int) -> None:
        super().__init__()
        self.fc_in = nn.Linear(width, ratio * width)
        self.fc_out = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc_out(F.gelu(self.fc_in(x), approximate="tanh"))


def init_linears(module: nn.Module) -> None:
    """Xavier weights and zero biases in every Linear below `module` (PixArt-alpha's start from scratch)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
