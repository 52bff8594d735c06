"""Loaded from files in either layout, our transformers compute what diffusers' PixArt-alpha computes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from megactor_core.config.model import ModelConfig
from megactor_core.models.pixart import load_pixart
from megactor_core.models.sigma import Sigma

FRAMES, CAPTION_TOKENS = 2, 5


@pytest.fixture
def oracle(nano: ModelConfig, pixart: Callable[[ModelConfig], Any]) -> Any:
    return pixart(nano)


@pytest.fixture(params=["diffusers", "original"])
def sigma(
    nano: ModelConfig, oracle: Any, as_original: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> Sigma:
    """A new model that has loaded the oracle's weights from disk."""
    path = tmp_path / "transformer"
    if request.param == "original":
        path = tmp_path / "PixArt.pth"
        torch.save({"state_dict": as_original(oracle.state_dict())}, path)
    else:
        oracle.save_pretrained(path)
    model = Sigma(nano).eval()
    load_pixart(model, path)
    return model


def without_text(oracle: Any) -> Any:
    for block in oracle.transformer_blocks:
        nn.init.zeros_(block.attn2.to_out[0].weight)
        nn.init.zeros_(block.attn2.to_out[0].bias)
    return oracle


def oracle_output(oracle: Any, x: Tensor, t: Tensor) -> Tensor:
    no_size = {"resolution": None, "aspect_ratio": None}
    caption = torch.randn(x.shape[0], CAPTION_TOKENS, oracle.config.caption_channels)
    return oracle(x, encoder_hidden_states=caption, timestep=t, added_cond_kwargs=no_size).sample


@torch.no_grad()
@pytest.mark.parametrize("grid", [8, 16])
def test_loaded_denoiser_parity_with_pixart_without_text(
    nano: ModelConfig, oracle: Any, sigma: Sigma, grid: int
) -> None:
    """A new Sigma's audio and temporal layers add nothing, and its motion channels have zero weights."""
    latents = torch.randn(1, FRAMES, 4, grid, grid)
    ours = sigma.denoiser(
        latents,
        torch.tensor([437]),
        motion=10 * torch.randn(1, FRAMES, nano.driven.out_channels, grid, grid),
        audio=torch.randn(1, FRAMES, nano.audio.tokens, nano.audio.width),
    )[0]
    theirs = oracle_output(without_text(oracle), latents[0], torch.full((FRAMES,), 437))
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@torch.no_grad()
def test_loaded_denoiser_differs_from_pixart_with_text(nano: ModelConfig, oracle: Any, sigma: Sigma) -> None:
    """What dropping the text cross-attention costs at the start: the reports say so."""
    latents = torch.randn(1, FRAMES, 4, 8, 8)
    motion = torch.zeros(1, FRAMES, nano.driven.out_channels, 8, 8)
    audio = torch.zeros(1, FRAMES, nano.audio.tokens, nano.audio.width)
    ours = sigma.denoiser(latents, torch.tensor([437]), motion=motion, audio=audio)[0]
    theirs = oracle_output(oracle, latents[0], torch.full((FRAMES,), 437))
    assert (ours - theirs).abs().max() > 0.1


@torch.no_grad()
def test_loaded_reference_parity_with_pixarts_attention_inputs(
    nano: ModelConfig, oracle: Any, sigma: Sigma
) -> None:
    """The states that the reference hands over are what PixArt-alpha's self-attentions see."""
    seen: list[Tensor] = []
    for block in without_text(oracle).transformer_blocks:
        block.attn1.register_forward_pre_hook(lambda _module, args: seen.append(args[0].clone()))
    latent, t = torch.randn(FRAMES, 4, 8, 8), torch.full((FRAMES,), 437)
    oracle_output(oracle, latent, t)
    states = sigma.reference(latent, t)
    assert len(states) == nano.depth - nano.reference_start
    for ours, theirs in zip(states, seen[nano.reference_start :], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@torch.no_grad()
def test_loaded_head_parity_with_pixart(nano: ModelConfig, oracle: Any, sigma: Sigma) -> None:
    """The reference's own head leads nowhere, and is PixArt-alpha's all the same."""
    latent, t = torch.randn(FRAMES, 4, 8, 8), torch.full((FRAMES,), 437)
    reference = sigma.reference
    x, grid = reference.embed(latent)
    embedding, six = reference.timestep(t)
    for block in reference.blocks:
        m = block.modulation(six)
        x = block.feed_forward(block.attend(x, block.attention_input(x, m), m), m)
    ours = reference.unpatch(x, embedding, grid)
    theirs = oracle_output(without_text(oracle), latent, t)
    assert rearrange(ours, "f c h w -> f (c h w)").shape == (FRAMES, 8 * 64)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
