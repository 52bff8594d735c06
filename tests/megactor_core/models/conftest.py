"""Small models with every weight drawn, so that no branch is silent, and PixArt-alpha as published."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import PixArtTransformer2DModel
from torch import Tensor, nn

from megactor_core.config.model import ModelConfig


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def nano() -> ModelConfig:
    return ModelConfig.preset("nano")


@pytest.fixture
def randomised() -> Callable[[nn.Module], nn.Module]:
    """Draw all parameters, the zero-initialised ones too, at a scale that keeps activations near one."""

    def randomise(module: nn.Module) -> nn.Module:
        with torch.no_grad():
            for parameter in module.parameters():
                fan_in = parameter[0].numel() if parameter.ndim > 1 else 25
                parameter.normal_(std=fan_in**-0.5)
        return module.eval()

    return randomise


CAPTION_WIDTH = 48
# authors' layer -> diffusers' layers, stacked
ORIGINAL_TRUNK = {
    "x_embedder.proj": "pos_embed.proj",
    "t_embedder.mlp.0": "adaln_single.emb.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "adaln_single.emb.timestep_embedder.linear_2",
    "t_block.1": "adaln_single.linear",
    "final_layer.linear": "proj_out",
    "y_embedder.y_proj.fc1": "caption_projection.linear_1",
    "y_embedder.y_proj.fc2": "caption_projection.linear_2",
}
ORIGINAL_BLOCK = {
    "attn.qkv": ("attn1.to_q", "attn1.to_k", "attn1.to_v"),
    "attn.proj": ("attn1.to_out.0",),
    "cross_attn.q_linear": ("attn2.to_q",),
    "cross_attn.kv_linear": ("attn2.to_k", "attn2.to_v"),
    "cross_attn.proj": ("attn2.to_out.0",),
    "mlp.fc1": ("ff.net.0.proj",),
    "mlp.fc2": ("ff.net.2",),
}


@pytest.fixture
def pixart(randomised: Callable[[nn.Module], Any]) -> Callable[[ModelConfig], Any]:
    """PixArt-alpha with captions, text attention, 4 channels in and 8 out, at the size of a configuration."""

    def make(config: ModelConfig) -> Any:
        network = PixArtTransformer2DModel(
            num_attention_heads=config.heads,
            attention_head_dim=config.hidden // config.heads,
            num_layers=config.depth,
            cross_attention_dim=config.hidden,
            caption_channels=CAPTION_WIDTH,
            sample_size=config.native_px // 8,
            interpolation_scale=1,
        )
        assert (network.config.in_channels, network.config.out_channels) == (4, 8)
        return randomised(network)

    return make


@pytest.fixture
def as_original() -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """diffusers' tensors as PixArt-alpha's authors publish them: the inverse of our map, written by hand."""

    def rename(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
        width = theirs["scale_shift_table"].shape[1]
        out = {
            "pos_embed": torch.zeros(1, 16, width),
            "y_embedder.y_embedding": torch.zeros(120, CAPTION_WIDTH),
            "final_layer.scale_shift_table": theirs["scale_shift_table"],
        }
        depth = sum(name.endswith("attn1.to_q.weight") for name in theirs)
        for i in range(depth):
            block = f"transformer_blocks.{i}"
            out[f"blocks.{i}.scale_shift_table"] = theirs[f"{block}.scale_shift_table"]
            for original, names in ORIGINAL_BLOCK.items():
                for kind in ("weight", "bias"):
                    parts = [theirs[f"{block}.{name}.{kind}"] for name in names]
                    out[f"blocks.{i}.{original}.{kind}"] = torch.cat(parts)
        for original, name in ORIGINAL_TRUNK.items():
            out |= {f"{original}.{kind}": theirs[f"{name}.{kind}"] for kind in ("weight", "bias")}
        return out

    return rename
