"""The frame-wise denoiser is diffusers' PixArtTransformer2DModel with audio in place of the caption."""

from collections.abc import Callable

import pytest
import torch
from diffusers import PixArtTransformer2DModel
from torch import Tensor, nn

from megactor_core.config.model import ModelConfig
from megactor_core.models.dit import Denoiser
from megactor_core.models.pixart import diffusers_names


def oracle_of(config: ModelConfig) -> PixArtTransformer2DModel:
    return PixArtTransformer2DModel(
        num_attention_heads=config.heads,
        attention_head_dim=config.hidden // config.heads,
        num_layers=config.depth,
        in_channels=config.latent_channels + config.driven.out_channels,
        out_channels=config.out_channels,
        cross_attention_dim=config.audio.width,
        caption_channels=None,
        sample_size=config.native_px // 8,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        attention_bias=True,
        use_additional_conditions=False,
        interpolation_scale=1,
    ).eval()


def oracle_output(oracle: PixArtTransformer2DModel, x: Tensor, t: Tensor, audio: Tensor) -> Tensor:
    no_size = {"resolution": None, "aspect_ratio": None}
    return oracle(x, encoder_hidden_states=audio, timestep=t, added_cond_kwargs=no_size).sample


@pytest.fixture
def pair(
    nano: ModelConfig, randomised: Callable[[nn.Module], nn.Module]
) -> tuple[Denoiser, PixArtTransformer2DModel, ModelConfig]:
    """Our denoiser without temporal modules and the oracle, with the same drawn weights."""
    oracle = randomised(oracle_of(nano))
    denoiser = Denoiser(nano).eval()
    for block in denoiser.blocks:
        block.temporal = None
    names = diffusers_names(denoiser)
    denoiser.load_state_dict({names[name]: value for name, value in oracle.state_dict().items()})
    return denoiser, oracle, nano


def inputs(config: ModelConfig, *, frames: int = 3, grid: int = 8) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    latents = torch.randn(1, frames, config.latent_channels, grid, grid)
    motion = torch.randn(1, frames, config.driven.out_channels, grid, grid)
    audio = torch.randn(1, frames, config.audio.tokens, config.audio.width)
    return latents, motion, audio, torch.tensor([437])


@torch.no_grad()
@pytest.mark.parametrize("grid", [8, 16])
def test_parity_with_pixart(pair: tuple[Denoiser, PixArtTransformer2DModel, ModelConfig], grid: int) -> None:
    denoiser, oracle, config = pair
    latents, motion, audio, t = inputs(config, grid=grid)
    ours = denoiser(latents, t, motion=motion, audio=audio)[0]
    theirs = oracle_output(oracle, torch.cat([latents, motion], dim=2)[0], t.expand(3), audio[0])
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@torch.no_grad()
def test_parity_without_audio(pair: tuple[Denoiser, PixArtTransformer2DModel, ModelConfig]) -> None:
    denoiser, oracle, config = pair
    latents, motion, audio, t = inputs(config)
    for block in oracle.transformer_blocks:
        nn.init.zeros_(block.attn2.to_out[0].weight)
        nn.init.zeros_(block.attn2.to_out[0].bias)
    ours = denoiser(latents, t, motion=motion, audio=audio, audio_scale=0.0)[0]
    theirs = oracle_output(oracle, torch.cat([latents, motion], dim=2)[0], t.expand(3), audio[0])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@torch.no_grad()
def test_parity_in_bfloat16(pair: tuple[Denoiser, PixArtTransformer2DModel, ModelConfig]) -> None:
    denoiser, _, config = pair
    latents, motion, audio, t = inputs(config)
    full = denoiser(latents, t, motion=motion, audio=audio)
    half = denoiser.bfloat16()(latents.bfloat16(), t, motion=motion.bfloat16(), audio=audio.bfloat16())
    relative = (half.float() - full).norm() / full.norm()
    assert 0 < relative < 2e-2
