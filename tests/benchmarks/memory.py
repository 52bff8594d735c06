"""What the process grows by in a window and in a decode, beside the count: python tests/benchmarks/memory.py

Each case runs in a process of its own, with weights of zeros; the growth of its resident memory at its height
holds what kernels and the allocator take too, which `megactor_core/models/memory.py` leaves out. Linux only.
`paper` is cut to four of its 28 blocks: a block's moments do not depend on their number.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from megactor_core.config.model import LATENT_STRIDE_PX, AutoencoderConfig, ModelConfig
from megactor_core.models.dit import Denoiser
from megactor_core.models.memory import decode_bytes, window_bytes

CASES = {
    "small, window of 16, float32": ("window", "small", 16, "float32"),
    "small, window of 16, bfloat16": ("window", "small", 16, "bfloat16"),
    "paper, window of 4, float32": ("window", "paper", 4, "float32"),
    "paper, window of 16, bfloat16": ("window", "paper", 16, "bfloat16"),
    "decode 1 frame, 512 px": ("decode", "paper", 1, "float32"),
    "decode 4 frames, 256 px": ("decode", "small", 4, "float32"),
}
BLOCKS = 4


def resident(name: str) -> int:
    """VmRSS, the resident bytes now, or VmHWM, their height."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def zeroed(module: nn.Module) -> nn.Module:
    """A module made on the meta device, without the garbage that drawing its weights would leave."""
    module = module.to_empty(device="cpu").eval()
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def window(preset: str, frames: int, dtype: torch.dtype) -> tuple[Callable[[], Tensor], int]:
    config = ModelConfig.preset(preset).updated(depth=BLOCKS)
    with torch.device("meta"):
        denoiser = Denoiser(config).to(dtype)
    denoiser, side = zeroed(denoiser), config.native_px // LATENT_STRIDE_PX

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(1, frames, *shape)

    def work() -> Tensor:
        motion, audio = (
            zeros(config.driven.out_channels, side, side),
            zeros(config.audio.tokens, config.audio.width),
        )
        return denoiser(
            zeros(config.latent_channels, side, side).to(dtype),
            torch.tensor([437]),
            motion=motion.to(dtype),
            audio=audio.to(dtype),
        )

    item_bytes = torch.empty(0, dtype=dtype).element_size()
    counted = window_bytes(config, frames=frames, size_px=config.native_px, item_bytes=item_bytes)
    return work, counted


def decode(preset: str, pictures: int) -> tuple[Callable[[], Tensor], int]:
    from diffusers import AutoencoderKL

    from megactor_core.models.autoencoder import Autoencoder

    size_px = ModelConfig.preset(preset).native_px
    with torch.device("meta"):
        network = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
        )
    autoencoder, side = Autoencoder(zeroed(network), scaling_factor=0.2), size_px // LATENT_STRIDE_PX
    counted = decode_bytes(AutoencoderConfig(), pictures=pictures, size_px=size_px)
    return lambda: autoencoder.decode(torch.zeros(pictures, 4, side, side)), counted


def measure(kind: str, preset: str, count: int, dtype: str) -> tuple[int, int]:
    """Counted bytes, and those that the process grew by."""
    torch.set_num_threads(1)
    work, counted = (
        window(preset, count, getattr(torch, dtype)) if kind == "window" else decode(preset, count)
    )
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the height begins anew
    before = resident("VmRSS")
    with torch.no_grad():
        work()
    return counted, resident("VmHWM") - before


def main(case: str = "") -> None:
    if case:
        counted, grown = measure(*CASES[case])
        sys.stdout.write(f"| {case} | {counted / 1e6:,.0f} | {grown / 1e6:,.0f} | {grown / counted:.2f} |\n")
        return
    sys.stdout.write("| | counted, MB | grown, MB | ratio |\n|---|---|---|---|\n")
    for name in CASES:
        sys.stdout.flush()
        subprocess.run([sys.executable, __file__, name], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
