"""CPU time of the denoiser against diffusers' transformer: python tests/benchmarks/denoiser.py

`small`, 16 frames of 256 px, 50 audio tokens a frame, random weights. Without reference and temporal modules
both do the same work (asserted); then what reference, audio and temporal modules cost beside their share of
the counted work. Exit code 1 where the control pair says that the machine was too noisy.
"""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from diffusers import PixArtTransformer2DModel
from measure import CONTROL_TOLERANCE, interleaved, ratio, spread
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from megactor_core.config.model import LATENT_STRIDE_PX, ModelConfig
from megactor_core.models.dit import Denoiser
from megactor_core.models.flops import count_denoiser
from megactor_core.models.layers import KeysValues

FRAMES = 16
CONFIG = ModelConfig.preset("small").updated(audio={"tokens": 50})
TIMESTEP_FLOPS = 2 * (256 * CONFIG.hidden + 7 * CONFIG.hidden**2)


Module = TypeVar("Module", bound=torch.nn.Module)


def drawn(module: Module) -> Module:
    """All weights drawn: no branch is a zero that the other side does not have."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.02)
    return module.eval()


def diffusers_transformer() -> PixArtTransformer2DModel:
    """PixArt-alpha's transformer with audio in place of the caption: our denoiser frame by frame."""
    return PixArtTransformer2DModel(
        num_attention_heads=CONFIG.heads,
        attention_head_dim=CONFIG.hidden // CONFIG.heads,
        num_layers=CONFIG.depth,
        in_channels=CONFIG.latent_channels + CONFIG.driven.out_channels,
        out_channels=CONFIG.out_channels,
        cross_attention_dim=CONFIG.audio.width,
        caption_channels=None,
        sample_size=CONFIG.native_px // LATENT_STRIDE_PX,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        attention_bias=True,
        use_additional_conditions=False,
        interpolation_scale=1,
    )


class Inputs:
    """One window's inputs for both."""

    def __init__(self) -> None:
        side, audio = CONFIG.native_px // LATENT_STRIDE_PX, CONFIG.audio
        self.latents = torch.randn(1, FRAMES, CONFIG.latent_channels, side, side)
        self.motion = torch.randn(1, FRAMES, CONFIG.driven.out_channels, side, side)
        self.audio = torch.randn(1, FRAMES, audio.tokens, audio.width)
        self.t = torch.tensor([437])
        self.joined = torch.cat([self.latents, self.motion], dim=2)[0]
        head_width = CONFIG.hidden // CONFIG.heads
        shape = (1, CONFIG.heads, CONFIG.base_tokens**2, head_width)
        readers = CONFIG.depth - CONFIG.reference_start
        self.reference = [KeysValues(torch.randn(shape), torch.randn(shape)) for _ in range(readers)]

    def ours(self, denoiser: Denoiser, *, reference: bool = False, audio_scale: float = 1.0) -> Tensor:
        return denoiser(
            self.latents,
            self.t,
            motion=self.motion,
            audio=self.audio,
            reference=self.reference if reference else None,
            audio_scale=audio_scale,
        )

    def theirs(self, transformer: PixArtTransformer2DModel) -> Tensor:
        no_size = {"resolution": None, "aspect_ratio": None}
        return transformer(
            self.joined,
            encoder_hidden_states=self.audio[0],
            timestep=self.t.expand(FRAMES),
            added_cond_kwargs=no_size,
        ).sample


def works() -> dict[str, Callable[[], Tensor]]:
    inputs, transformer = Inputs(), drawn(diffusers_transformer())
    whole, plain = drawn(Denoiser(CONFIG)), drawn(Denoiser(CONFIG))
    for block in plain.blocks:
        block.temporal = None  # frame by frame, as theirs
    return {
        "ours": lambda: inputs.ours(plain),
        "diffusers": lambda: inputs.theirs(transformer),
        "control": lambda: inputs.ours(plain),
        "without audio": lambda: inputs.ours(plain, audio_scale=0.0),
        "with reference": lambda: inputs.ours(plain, reference=True),
        "with temporal": lambda: inputs.ours(whole),
    }


def counted(work: Callable[[], Tensor]) -> int:
    fused = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _sdpa_flops}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=fused) as counter:
        work()
    return counter.get_total_flops()


def _sdpa_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def require_equal_work(pair: dict[str, Callable[[], Tensor]]) -> None:
    """diffusers embeds the time step once a frame, we once a clip; the rest is equal to the last product."""
    ours, theirs = counted(pair["ours"]), counted(pair["diffusers"])
    assert theirs == ours + (FRAMES - 1) * TIMESTEP_FLOPS, (ours, theirs)
    sys.stdout.write(f"work: ours {ours / 1e9:.2f} GFLOP, diffusers {theirs / 1e9:.2f}\n")


def compare_with_diffusers(pair: dict[str, Callable[[], Tensor]]) -> float:
    """Print the ratio; returns how far the control is from one."""
    seconds = interleaved(pair, rounds=15)
    against = ratio(seconds["ours"], seconds["diffusers"])
    control = ratio(seconds["control"], seconds["ours"])
    quartiles = spread(seconds["ours"], seconds["diffusers"])
    sys.stdout.write(f"ours / diffusers: {against:.3f} (quartiles {quartiles})\n")
    sys.stdout.write(f"control of equals: {control:.3f}\n\n")
    return abs(control - 1)


def compare_parts(parts: dict[str, Callable[[], Tensor]]) -> None:
    """Print what each part adds to the frame-wise denoiser without it, in time and in counted work."""
    seconds = interleaved(parts)
    work = count_denoiser(CONFIG, frames=FRAMES, size_px=CONFIG.native_px)
    plain = work["spatial"] + work["audio attention"]
    sys.stdout.write("| part | CPU time | counted work |\n|---|---|---|\n")
    for part, above, below in (
        ("audio attention", "ours", "without audio"),
        ("reference attention", "with reference", "ours"),
        ("temporal", "with temporal", "ours"),
    ):
        differences = [a - b for a, b in zip(seconds[above], seconds[below], strict=True)]
        share = ratio(differences, seconds["ours"])
        sys.stdout.write(f"| {part} | {100 * share:.1f} % | {100 * work[part] / plain:.1f} % |\n")


def main() -> int:
    every = works()
    pair = {name: every[name] for name in ("ours", "diffusers", "control")}
    require_equal_work(pair)
    error = compare_with_diffusers(pair)
    compare_parts({name: every[name] for name in every if name not in ("diffusers", "control")})
    return 0 if error <= CONTROL_TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
