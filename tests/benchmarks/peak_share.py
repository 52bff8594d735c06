"""What share of the matrix product's pace a step and a decode reach: python tests/benchmarks/peak_share.py

Counted work over process CPU time of one thread, against that of square products of the side that
`training.throughput.measure_peak` takes; rounds interleaved, medians. `megactor doctor --preset` estimates
times with these shares (`megactor_core/doctor/estimate.py`). The paper's blocks are four of its 28 at full
width. Exit code 1 where the control pair says that the machine was too noisy.
"""

import statistics
import sys
from collections.abc import Callable

import torch
from diffusers import AutoencoderKL
from measure import CONTROL_TOLERANCE, interleaved, ratio
from torch import Tensor

from megactor_core.config.model import LATENT_STRIDE_PX, AutoencoderConfig, ModelConfig
from megactor_core.models.dit import Denoiser
from megactor_core.models.flops import count_decode, count_denoiser

SIDE, PRODUCTS = 1024, 20
DECODED_PX = 192
SIZES = {"small, 8 frames": ("small", 12, 8), "paper, 4 blocks, 1 frame": ("paper", 4, 1)}
"""Preset, blocks and frames of a window."""

Work = Callable[[], object]


def products(dtype: torch.dtype) -> tuple[Work, int]:
    left, right = (torch.ones(SIDE, SIDE, dtype=dtype) for _ in range(2))
    out = torch.empty_like(left)

    def work() -> None:
        for _ in range(PRODUCTS):
            torch.mm(left, right, out=out)

    return work, PRODUCTS * 2 * SIDE**3


def step(preset: str, blocks: int, frames: int, dtype: torch.dtype) -> tuple[Work, int]:
    """A window without reference, whose attention is a few per cent of the work."""
    config = ModelConfig.preset(preset).updated(depth=blocks)
    denoiser = Denoiser(config).eval().to(dtype)
    side = config.native_px // LATENT_STRIDE_PX

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(1, frames, *shape, dtype=dtype)

    def work() -> Tensor:
        return denoiser(
            zeros(config.latent_channels, side, side),
            torch.tensor([437]),
            motion=zeros(config.driven.out_channels, side, side),
            audio=zeros(config.audio.tokens, config.audio.width),
        )

    counted = count_denoiser(config, frames=frames, size_px=config.native_px, reference=False)
    return work, sum(counted.values())


def decode() -> tuple[Work, int]:
    """Stable Diffusion's autoencoder at its full width on a small picture."""
    network = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
    ).eval()
    side = DECODED_PX // LATENT_STRIDE_PX
    latents = torch.zeros(1, 4, side, side)
    return lambda: network.decode(latents), count_decode(AutoencoderConfig(), pictures=1, size_px=DECODED_PX)


def compare(dtype: torch.dtype, *, decoded: bool) -> float:
    """Print the shares; returns how far the control is from one."""
    works = {"product": products(dtype), "control": products(dtype)}
    works |= {name: step(*size, dtype) for name, size in SIZES.items()}
    if decoded:
        works["decode"] = decode()
    seconds = interleaved({name: work for name, (work, _) in works.items()})
    peak = works["product"][1]
    for name, (_, flops) in works.items():
        if name not in ("product", "control"):
            ratios = [flops / peak * a / b for a, b in zip(seconds["product"], seconds[name], strict=True)]
            low, share, high = statistics.quantiles(ratios, n=4)
            sys.stdout.write(
                f"| {name} | {dtype} | {100 * share:.0f} % | {100 * low:.0f} to {100 * high:.0f} |\n"
            )
    control = ratio(seconds["control"], seconds["product"])
    pace = peak / statistics.median(seconds["product"]) / 1e9
    sys.stdout.write(f"control of equals, {dtype}: {control:.3f}; product: {pace:.0f} GFLOP a CPU second\n")
    return abs(control - 1)


def main() -> int:
    errors = [compare(torch.float32, decoded=True), compare(torch.bfloat16, decoded=False)]
    return 0 if max(errors) <= CONTROL_TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
