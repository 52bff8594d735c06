"""Pictures to latents and back: Stable Diffusion's AutoencoderKL, or the small one of this project.

Shape legend:  B pictures   h, w picture height and width   C latent channels   H = h / 8, W = w / 8
Pictures are in [0, 1] at this border; scaling happens here and nowhere else.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from megactor_core.config.model import LATENT_STRIDE_PX, AutoencoderConfig
from megactor_core.errors import ConfigError
from megactor_core.models.pretrained import load_pretrained

_NO_LOG_VARIANCE = -30.0


class Autoencoder(nn.Module):
    """The border that the rest of the project sees, around either network."""

    def __init__(self, network: nn.Module, *, scaling_factor: float) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.scaling_factor = scaling_factor

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Scaled mean latents of pictures (B, 3, h, w) in [0, 1]: (B, C, H, W)."""
        latents: Any = self.network.encode(2 * pictures - 1)  # type: ignore[operator]
        if not isinstance(latents, Tensor):
            latents = latents.latent_dist.mode()
        return latents * self.scaling_factor

    @torch.no_grad()
    def moments(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the unscaled latents of pictures (B, 3, h, w): (B, C, H, W) each.

        A network without a variance has the lowest that diffusers' distribution knows.
        """
        latents: Any = self.network.encode(2 * pictures - 1)  # type: ignore[operator]
        if isinstance(latents, Tensor):
            return latents, torch.full_like(latents, _NO_LOG_VARIANCE)
        return latents.latent_dist.mean, latents.latent_dist.logvar

    def decode_in_tiles(self, side_px: int) -> None:
        """Decode by overlapping tiles of so many pixels from now on, blended at their borders [S diffusers].

        Each tile is normed by itself, so that pictures change. Raises ConfigError for the small autoencoder.
        """
        enable: Any = getattr(self.network, "enable_tiling", None)
        if enable is None:
            raise ConfigError(
                f"decode_tile = {side_px}, but the autoencoder of this checkpoint has no tiles.",
                fix="Leave decode_tile out; decode_batch=1 takes the least memory.",
            )
        enable()
        self.network.tile_sample_min_size = side_px  # type: ignore[assignment]
        self.network.tile_latent_min_size = side_px // LATENT_STRIDE_PX  # type: ignore[assignment]

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Pictures in [0, 1] of scaled latents (B, C, H, W): (B, 3, h, w)."""
        pictures: Any = self.network.decode(latents / self.scaling_factor)  # type: ignore[operator]
        if not isinstance(pictures, Tensor):
            pictures = pictures.sample
        return (pictures / 2 + 0.5).clamp(0, 1)


def load_kl(folder: Path) -> nn.Module:
    """Read an AutoencoderKL (config.json, safetensors) from a folder; raises WeightsError."""
    from diffusers import AutoencoderKL

    return load_pretrained(AutoencoderKL, folder)


class PatchAutoencoder(nn.Module):
    """A linear map of 8 x 8 blocks plus a small residual convolution network (ours).

    The linear path alone is a coarse codec: it starts from a fixed basis, so that an untrained network
    decodes to a picture. The residual networks start at zero and add what blocks cannot say.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        stride, channels = LATENT_STRIDE_PX, config.latent_channels
        self.encode_linear = nn.Conv2d(3, channels, stride, stride=stride, bias=False)
        self.decode_linear = nn.ConvTranspose2d(channels, 3, stride, stride=stride, bias=False)
        self.encode_residual = _encoder(channels, config.widths)
        self.decode_residual = _decoder(channels, config.widths)
        self._init_linear(channels)

    def _init_linear(self, channels: int) -> None:
        basis = block_basis(channels, side=LATENT_STRIDE_PX)  # (C, 3, 8, 8)
        inverse = np.linalg.pinv(basis.reshape(channels, -1)).T.reshape(basis.shape)
        with torch.no_grad():
            self.encode_linear.weight.copy_(torch.from_numpy(basis))
            self.decode_linear.weight.copy_(torch.from_numpy(inverse))
            for network in (self.encode_residual, self.decode_residual):
                last = [layer for layer in network if isinstance(layer, nn.Conv2d)][-1]
                last.weight.zero_()
                assert last.bias is not None
                last.bias.zero_()

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, h, w) in [-1, 1] -> latents (B, C, H, W)."""
        return self.encode_linear(pictures) + self.encode_residual(pictures)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, H, W) -> pictures (B, 3, h, w)."""
        return self.decode_linear(latents) + self.decode_residual(latents)


class Residual(nn.Module):
    """x + conv(silu(conv(silu(x)))) at one width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(width, width, 3, padding=1)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_out(F.silu(self.conv_in(F.silu(x))))


def _encoder(channels: int, widths: tuple[int, int, int]) -> nn.Sequential:
    low, mid, high = widths
    return nn.Sequential(
        nn.PixelUnshuffle(2),
        nn.Conv2d(12, low, 3, padding=1),
        Residual(low),
        nn.Conv2d(low, mid, 4, stride=2, padding=1),
        Residual(mid),
        nn.Conv2d(mid, high, 4, stride=2, padding=1),
        Residual(high),
        nn.SiLU(),
        nn.Conv2d(high, channels, 3, padding=1),
    )


def _decoder(channels: int, widths: tuple[int, int, int]) -> nn.Sequential:
    low, mid, high = widths
    return nn.Sequential(
        nn.Conv2d(channels, high, 3, padding=1),
        Residual(high),
        nn.Conv2d(high, 4 * mid, 3, padding=1),
        nn.PixelShuffle(2),
        Residual(mid),
        nn.Conv2d(mid, 4 * low, 3, padding=1),
        nn.PixelShuffle(2),
        Residual(low),
        nn.SiLU(),
        nn.Conv2d(low, 12, 3, padding=1),
        nn.PixelShuffle(2),
    )


# Colour axes in the order of their energy in pictures: luma, blue against yellow, red against green
# (BT.601 directions, orthonormalised), and the order in which cosine waves enter the basis: the mean colour
# first, then the slowest luma waves.
_COLOURS = np.array(
    [[0.577350, 0.577350, 0.577350], [-0.408248, -0.408248, 0.816497], [0.707107, -0.707107, 0.0]]
)
_WAVES = [(0, 0, 0), (1, 0, 0), (2, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (0, 2, 0), (0, 0, 2)]
_WAVES += [(1, 1, 0), (1, 0, 1), (2, 1, 0), (2, 0, 1), (0, 2, 1), (0, 1, 2), (0, 3, 0), (0, 0, 3)]
# Standard deviation of these coefficients falls off with frequency; dividing by it gives latents of about
# unit variance. Fitted to talking-head frames in [-1, 1]: 1 / (1 + 6 * frequency), colour 0.15 of luma.
_MEAN_STD = 8 * 0.9


def block_basis(channels: int, *, side: int) -> np.ndarray:
    """A fixed linear code of RGB blocks: (C, 3, side, side), the first `channels` colour-cosine waves."""
    if channels > len(_WAVES):
        raise ValueError(
            f"the block basis has {len(_WAVES)} waves, but {channels} latent channels are asked for"
        )
    return np.stack([_wave(*wave, side=side) for wave in _WAVES[:channels]])


def _wave(colour: int, u: int, v: int, *, side: int) -> np.ndarray:
    """One orthonormal wave over its expected standard deviation: (3, side, side)."""
    wave = _COLOURS[colour][:, None, None] * _cosine(u, side)[None, :, None] * _cosine(v, side)[None, None, :]
    std = _MEAN_STD / (1 + 6 * math.hypot(u, v)) * (1.0 if colour == 0 else 0.15)
    return wave / std


def _cosine(frequency: int, side: int) -> np.ndarray:
    positions = (np.arange(side) + 0.5) * math.pi * frequency / side
    return np.cos(positions) * math.sqrt((1 if frequency == 0 else 2) / side)
