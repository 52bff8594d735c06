"""What each way to be faster gives on this CPU, and by how much it changes the result.

python tests/benchmarks/techniques.py, 15 minutes, of which compiling takes some.

A window of `small`, 8 frames with reference and audio, random weights: as it is in float32; compiled; in
bfloat16; both; two windows at once against one after the other. Then channels_last in the small autoencoder,
and in Stable Diffusion's (random weights, 256 px). Each with its largest deviation from the first, as a share
of the largest number in that, and its CPU time, medians of interleaved rounds.
Exit code 1 where a deviation is too large or the control pair says that the machine was too noisy.
"""

import copy
import sys
import time
from collections.abc import Callable, Iterator

import torch
from diffusers import AutoencoderKL
from measure import CONTROL_TOLERANCE, interleaved, ratio, spread
from torch import Tensor

from megactor_core.config.model import LATENT_STRIDE_PX, ModelConfig
from megactor_core.models.checkpoint import EMBEDDED, load_checkpoint_autoencoder
from megactor_core.models.compiled import compile_blocks
from megactor_core.models.layers import KeysValues
from megactor_core.models.sigma import Sigma

FRAMES, DECODED_PX = 8, 256
MOST_EXACT, MOST_ROUNDED = 1e-5, 2e-2
"""Goals for what is the same in exact arithmetic, in float32, and for what is rounded otherwise."""

Work = Callable[[], Tensor]


def drawn_sigma() -> Sigma:
    """All weights drawn, so that no branch is a zero."""
    torch.manual_seed(0)
    sigma = Sigma(ModelConfig.preset("small")).eval()
    with torch.no_grad():
        for parameter in sigma.parameters():
            parameter.normal_(std=0.02)
    return sigma


class Window:
    """Inputs of so many windows."""

    def __init__(self, sigma: Sigma, count: int) -> None:
        config = sigma.config
        side, head_width = config.native_px // LATENT_STRIDE_PX, config.hidden // config.heads
        torch.manual_seed(1)
        self.latents = torch.randn(2, FRAMES, config.latent_channels, side, side)[:count]
        self.motion = torch.randn(2, FRAMES, config.driven.out_channels, side, side)[:count]
        self.audio = torch.randn(2, FRAMES, config.audio.tokens, config.audio.width)[:count]
        shape = (1, config.heads, config.base_tokens**2, head_width)
        readers = config.depth - config.reference_start
        self.reference = [KeysValues(torch.randn(shape), torch.randn(shape)) for _ in range(readers)]

    def through(self, sigma: Sigma, row: slice = slice(None)) -> Tensor:
        dtype = next(sigma.parameters()).dtype
        return sigma.denoiser(
            self.latents[row].to(dtype),
            torch.full((len(self.latents[row]),), 437),
            motion=self.motion[row].to(dtype),
            audio=self.audio[row].to(dtype),
            reference=[KeysValues(k.to(dtype), v.to(dtype)) for k, v in self.reference],
        ).float()


def compiled(sigma: Sigma) -> Sigma:
    twin = copy.deepcopy(sigma)
    compile_blocks(twin, torch.device("cpu"))
    return twin


def denoising() -> tuple[dict[str, Work], dict[str, float]]:
    """Works by name, the first the plain one, and their deviations' goals."""
    plain = drawn_sigma()
    half = copy.deepcopy(plain).bfloat16()
    fast, fast_half = compiled(plain), compiled(half)
    one = Window(plain, 1)
    works: dict[str, Work] = {
        "float32": lambda: one.through(plain),
        "control: the same": lambda: one.through(plain),
        "compiled, float32": lambda: one.through(fast),
        "bfloat16": lambda: one.through(half),
        "compiled, bfloat16": lambda: one.through(fast_half),
    }
    goals = dict.fromkeys(works, MOST_ROUNDED) | {"control: the same": 0.0}
    return works, goals


def batching() -> tuple[dict[str, Work], dict[str, float]]:
    plain = drawn_sigma()
    two = Window(plain, 2)
    works: dict[str, Work] = {
        "two windows, one after the other": lambda: torch.cat(
            [two.through(plain, slice(k, k + 1)) for k in (0, 1)]
        ),
        "two windows at once": lambda: two.through(plain),
    }
    return works, dict.fromkeys(works, MOST_EXACT)


def decoding() -> tuple[dict[str, Work], dict[str, float]]:
    torch.manual_seed(0)
    levels = 4
    plain = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        layers_per_block=2,
    ).eval()
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    side = DECODED_PX // LATENT_STRIDE_PX
    latent = torch.randn(1, 4, side, side)
    works: dict[str, Work] = {
        "decode": lambda: plain.decode(latent).sample,
        "decode, channels_last": lambda: last.decode(latent).sample,
    }
    return works, dict.fromkeys(works, MOST_ROUNDED)


def small_decoding() -> tuple[dict[str, Work], dict[str, float]]:
    """The embedded checkpoint's, which `animate` lays out so."""
    plain = load_checkpoint_autoencoder(EMBEDDED)
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.manual_seed(0)
    latents = torch.randn(4, 8, 16, 16)
    works: dict[str, Work] = {
        "the small autoencoder's decode": lambda: plain.decode(latents),
        "small decode, channels_last": lambda: last.decode(latents),
    }
    return works, dict.fromkeys(works, MOST_EXACT)


def lines(works: dict[str, Work], goals: dict[str, float]) -> Iterator[tuple[str, bool]]:
    """A line for each work, with whether its deviation is below its goal."""
    base = next(iter(works))
    with torch.no_grad():
        outputs, first_seconds = {}, {}
        for name, work in works.items():
            start = time.perf_counter()
            outputs[name] = work()
            first_seconds[name] = time.perf_counter() - start
    seconds = interleaved(works)
    for name in list(works)[1:]:
        scale = outputs[base].abs().max()
        deviation = float((outputs[name] - outputs[base]).abs().max() / scale)
        share = ratio(seconds[name], seconds[base])
        is_control = name.startswith("control")
        is_met = deviation <= goals[name] and (not is_control or abs(share - 1) <= CONTROL_TOLERANCE)
        said = f"{share:.3f} of it ({spread(seconds[name], seconds[base])}), deviation {deviation:.1e}"
        yield f"  {name:34} {said}; the first call took {first_seconds[name]:.0f} s", is_met


def main() -> int:
    torch.set_num_threads(1)
    is_good = True
    for part in (small_decoding, denoising, batching, decoding):
        works, goals = part()
        sys.stdout.write(f"{next(iter(works))}\n")
        for line, is_met in lines(works, goals):
            sys.stdout.write(f"{line}{'' if is_met else '  MISSED'}\n")
            sys.stdout.flush()
            is_good &= is_met
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
