"""What eq. 2 keeps apart and what it does not, for docs/paper.md: python tests/benchmarks/leaks.py

A leak is the gradient of the mouth's prediction with respect to what drives the eyes, relative to the same
gradient with respect to what drives the mouth: float64, a nano model with all weights drawn, the median of
several draws. Zero means exactly zero: no path.
"""

import statistics
import sys
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from megactor_core.config.model import LATENT_STRIDE_PX, PATCH, TOKEN_STRIDE_PX, ModelConfig
from megactor_core.models.masks import MaskMode, RegionMask, region_mask
from megactor_core.models.sigma import Sigma

SIDE = 16  # tokens along one side of a 256 px picture
FRAMES = 2
DRAWS = 5
MODES: tuple[MaskMode, ...] = ("off", "paper", "strict")
Box = tuple[int, int, int, int]
"""Rows and columns in tokens, half open: top, bottom, left, right."""
EYES: Box = (2, 6, 4, 12)
MOUTH: Box = (10, 14, 5, 11)
TOUCHING_MOUTH: Box = (6, 10, 5, 11)


@dataclass(frozen=True)
class Case:
    """One entry of the table."""

    depth: int
    mode: MaskMode = "off"
    temporal: Literal["group", "layer"] | None = None
    """First norm of the temporal module; None: without the module."""
    grid: int = 2
    driver: Literal["channels", "pixels"] = "channels"
    """The gradient is that of the eyes' motion channels, or of their pixels before the Driven Encoder."""
    dilation_tokens: int = 0
    """Growth of the masked eye region."""
    mouth: Box = MOUTH


def leak(case: Case, *, seed: int) -> float:
    """The leak of one draw of weights and inputs."""
    torch.manual_seed(seed)
    sigma = _drawn(case)
    driver, motion = _driver(sigma, case)
    config, latent_side = sigma.config, PATCH * SIDE
    prediction = sigma.denoiser(
        torch.randn(1, FRAMES, config.latent_channels, latent_side, latent_side).double(),
        torch.tensor([437]),
        motion=motion,
        audio=torch.randn(1, FRAMES, config.audio.tokens, config.audio.width).double(),
        mask=_mask(case),
    )
    mouth = prediction[..., _magnified(_box(case.mouth), PATCH)]
    gradient = torch.autograd.grad((mouth * torch.randn_like(mouth)).sum(), driver)[0]
    factor = PATCH if case.driver == "channels" else TOKEN_STRIDE_PX
    eyes, own = (gradient[..., _magnified(_box(box), factor)].norm() for box in (EYES, case.mouth))
    return (eyes / own).item()


def _drawn(case: Case) -> Sigma:
    """A float64 model of `depth` blocks, each weight drawn with variance one over its fan-in."""
    config = ModelConfig.preset("nano").updated(
        depth=max(2, case.depth),
        native_px=TOKEN_STRIDE_PX * SIDE,
        temporal={"norm": case.temporal or "group", "grid": case.grid},
    )
    sigma = Sigma(config).double().eval()
    with torch.no_grad():
        for parameter in sigma.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 25
            parameter.normal_(std=fan_in**-0.5)
    sigma.denoiser.blocks = sigma.denoiser.blocks[: case.depth]
    if case.temporal is None:
        for block in sigma.denoiser.blocks:
            block.temporal = None
    return sigma


def _driver(sigma: Sigma, case: Case) -> tuple[Tensor, Tensor]:
    """What the gradient is taken of, and the motion features that come from it: (1, F, M, H, W)."""
    side = SIDE * TOKEN_STRIDE_PX
    if case.driver == "pixels":
        pixels = torch.rand(1, FRAMES, 3, side, side, dtype=torch.float64, requires_grad=True)
        return pixels, sigma.driven_encoder(pixels.flatten(0, 1)).unflatten(0, (1, FRAMES))
    latent_side, channels = side // LATENT_STRIDE_PX, sigma.config.driven.out_channels
    motion = torch.randn(1, FRAMES, channels, latent_side, latent_side, dtype=torch.float64)
    motion.requires_grad_()
    return motion, motion


def _mask(case: Case) -> RegionMask | None:
    top, bottom, left, right = EYES
    grown = case.dilation_tokens
    eyes = _box((top - grown, bottom + grown, left - grown, right + grown))
    mouth = _box(case.mouth)
    fold = (FRAMES, SIDE * SIDE)
    return region_mask(mouth=mouth.flatten().expand(fold), eyes=eyes.flatten().expand(fold), mode=case.mode)


def _box(box: Box) -> Tensor:
    top, bottom, left, right = box
    picture = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    picture[top:bottom, left:right] = True
    return picture


def _magnified(region: Tensor, factor: int) -> Tensor:
    return region.repeat_interleave(factor, dim=0).repeat_interleave(factor, dim=1)


TABLES: dict[str, dict[str, Case]] = {
    "eyes' motion channels, no temporal modules": {
        f"{depth} block{'s' * (depth > 1)}": Case(depth) for depth in (1, 2, 8)
    },
    "eyes' motion channels, 8 blocks with temporal modules": {
        "GroupNorm": Case(8, temporal="group"),
        "LayerNorm": Case(8, temporal="layer"),
        "LayerNorm, eye region across the 2 x 2 cells": Case(8, temporal="layer", dilation_tokens=1),
        "LayerNorm, the same with cells of 1 x 1": Case(8, temporal="layer", dilation_tokens=1, grid=1),
    },
    "eyes' pixels through the Driven Encoder, 1 block": {
        **{
            f"eye region grown on each side by {n} x 16 px": Case(1, driver="pixels", dilation_tokens=n)
            for n in (0, 1, 2)
        },
        "by 2 x 16 px, mouth box touching the eyes'": Case(
            1, driver="pixels", dilation_tokens=2, mouth=TOUCHING_MOUTH
        ),
    },
}
"""Title of each table, and its rows; the mask's modes are the columns."""


def main() -> None:
    for title, rows in TABLES.items():
        sys.stdout.write(f"\n| {title} | {' | '.join(MODES)} |\n|---|---|---|---|\n")
        for name, case in rows.items():
            cells = [_median(replace(case, mode=mode)) for mode in MODES]
            sys.stdout.write(f"| {name} | {' | '.join(cells)} |\n")


def _median(case: Case) -> str:
    leaks = [leak(case, seed=seed) for seed in range(DRAWS)]
    return f"{statistics.median(leaks):.1e}" if any(leaks) else "**0**"


if __name__ == "__main__":
    main()
