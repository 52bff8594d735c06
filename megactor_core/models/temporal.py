"""The temporal module of EasyAnimate V1: attention between frames.

Shape legend:
    B clips   F frames   N = h * w tokens of a frame   D width
    g side of a grid cell   cell = (h / g) * (w / g) cells   L = g * g * F tokens of a sequence
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from megactor_core.config.model import ModelConfig
from megactor_core.models.layers import NORM_EPS, Attention, init_linears

NORM_GROUPS = 32  # EasyAnimate V1


class TemporalModule(nn.Module):
    """norm -> linear -> [norm, + frame position, self-attention] x 2 -> gated MLP -> zero linear, residual.

    29,220,480 parameters at the paper's size. Each sequence holds a cell of g x g tokens over all frames.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, temporal = config.hidden, config.temporal
        self.grid_side = temporal.grid
        self.max_frames = temporal.max_frames
        self.norm: nn.Module
        if temporal.norm == "group":
            self.norm = nn.GroupNorm(NORM_GROUPS, width, eps=NORM_EPS)
        else:
            self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.proj_in = nn.Linear(width, width)
        self.attention_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(temporal.attentions))
        self.attentions = nn.ModuleList(
            Attention(width, heads=temporal.heads, qkv_bias=False) for _ in range(temporal.attentions)
        )
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = GatedMlp(width, ratio=config.mlp_ratio)
        self.proj_out = nn.Linear(width, width)

    def init_zero(self) -> None:
        """Start as the identity."""
        init_linears(self)
        nn.init.zeros_(self.proj_out.weight)

    def forward(self, x: Tensor, *, frames: int, grid: tuple[int, int]) -> Tensor:
        """(B F, N, D) -> (B F, N, D); frames are numbered from 0 within the call (the window)."""
        if frames > self.max_frames:
            raise ValueError(f"{frames} frames in one window, but temporal.max_frames = {self.max_frames}")
        s = self.proj_in(self._normed(x))
        s = to_cells(s, frames=frames, grid=grid, side=self.grid_side)  # (B cell, L, D)
        position = frame_waves(frames, x.shape[-1]).repeat_interleave(self.grid_side**2, dim=0).to(s)
        for norm, attention in zip(self.attention_norms, self.attentions, strict=True):
            s = s + attention(norm(s) + position)
        s = s + self.mlp(self.mlp_norm(s))
        s = from_cells(s, frames=frames, grid=grid, side=self.grid_side)  # (B F, N, D)
        return x + self.proj_out(s)

    def _normed(self, x: Tensor) -> Tensor:
        if isinstance(self.norm, nn.GroupNorm):  # statistics over (D / 32, h, w) of each frame
            return rearrange(self.norm(rearrange(x, "b n d -> b d n")), "b d n -> b n d")
        return self.norm(x)


class GatedMlp(nn.Module):
    """GEGLU: D -> 2 * ratio * D, half of it gates the other half, -> D."""

    def __init__(self, width: int, *, ratio: int) -> None:
        super().__init__()
        self.fc_in = nn.Linear(width, 2 * ratio * width)
        self.fc_out = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.fc_in(x).chunk(2, dim=-1)
        return self.fc_out(value * F.gelu(gate))


def to_cells(x: Tensor, *, frames: int, grid: tuple[int, int], side: int) -> Tensor:
    """Regroup (B F, h w, D) so that one sequence is a side x side cell over all frames: (B cell, L, D)."""
    h, w = grid
    return rearrange(
        x,
        "(b f) (h p w q) d -> (b h w) (f p q) d",
        f=frames, h=h // side, p=side, w=w // side, q=side,
    )  # fmt: skip


def from_cells(x: Tensor, *, frames: int, grid: tuple[int, int], side: int) -> Tensor:
    """The inverse of `to_cells`."""
    h, w = grid
    return rearrange(
        x,
        "(b h w) (f p q) d -> (b f) (h p w q) d",
        f=frames, h=h // side, p=side, w=w // side, q=side,
    )  # fmt: skip


def frame_waves(frames: int, channels: int) -> Tensor:
    """Sine and cosine of the frame number, interleaved (sine on even channels): (F, D) float32."""
    omega = 1e4 ** (-torch.arange(0, channels, 2, dtype=torch.float64) / channels)
    angles = torch.arange(frames, dtype=torch.float64)[:, None] * omega
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()
