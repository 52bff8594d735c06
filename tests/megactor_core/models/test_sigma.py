"""Sizes, zero starts and the flow of information of the whole model."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from megactor_core.config.model import AudioConfig, MaskConfig, ModelConfig, TemporalConfig
from megactor_core.models.layers import KeysValues, grid_positions, timestep_waves
from megactor_core.models.masks import region_mask
from megactor_core.models.sigma import Sigma

Randomise = Callable[[nn.Module], nn.Module]
FRAMES, GRID = 4, 8


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def inputs(config: ModelConfig, *, frames: int = FRAMES, rows: int = 1) -> dict[str, Tensor]:
    channels, px = config.latent_channels, config.native_px
    return {
        "latents": torch.randn(rows, frames, channels, GRID, GRID),
        "t": torch.full((rows,), 437),
        "reference_latent": torch.randn(rows, channels, GRID, GRID),
        "driving": torch.rand(rows, frames, 3, px, px),
        "audio": torch.randn(rows, frames, config.audio.tokens, config.audio.width),
    }


def silence_temporal(sigma: Sigma) -> None:
    for block in sigma.denoiser.blocks:
        if block.temporal is not None:
            nn.init.zeros_(block.temporal.proj_out.weight)
            nn.init.zeros_(block.temporal.proj_out.bias)


def test_parameters_at_paper_size() -> None:
    with torch.device("meta"):
        sigma = Sigma(ModelConfig.preset("paper"))
    assert count(sigma) == 1_420_576_248
    assert count(sigma.reference) == 456_043_424
    assert count(sigma.driven_encoder) == 164_792
    assert count(sigma.denoiser.blocks[1].temporal) == 29_220_480
    assert count(sigma.denoiser.blocks[0].audio_attention) == 3_543_552
    assert sum(p.numel() for p in sigma.reference.dead_parameters()) == 15_974_816
    assert [i for i, b in enumerate(sigma.denoiser.blocks) if b.temporal is not None] == list(range(1, 28, 2))


@pytest.mark.parametrize(("preset", "millions"), [("nano", 0.74), ("tiny", 4.01), ("small", 71.7)])
def test_parameters_of_small_presets(preset: str, millions: float) -> None:
    with torch.device("meta"):
        assert count(Sigma(ModelConfig.preset(preset))) == pytest.approx(millions * 1e6, rel=0.01)


def test_timestep_embedding_golden() -> None:
    e = timestep_waves(torch.tensor([500]))[0]
    expected = [-0.883849, 0.945946, 0.998557, -0.467772, 0.324325, 0.053705]
    torch.testing.assert_close(e[[0, 1, 127, 128, 129, 255]], torch.tensor(expected), rtol=0, atol=2e-5)


def test_position_golden() -> None:
    positions = grid_positions(32, 32, base=32, channels=1152)
    columns = [0, 288, 576, 864]
    torch.testing.assert_close(
        positions[[1, 32]][:, columns],
        torch.tensor([[0.841471, 0.540302, 0, 1], [0, 1, 0.841471, 0.540302]]),
        rtol=0,
        atol=1e-6,
    )
    twice = grid_positions(64, 64, base=32, channels=1152)
    torch.testing.assert_close(twice[4], positions[2], rtol=0, atol=1e-6)


@torch.no_grad()
def test_conv_in_widening_starts_blind_to_motion(nano: ModelConfig) -> None:
    sigma = Sigma(nano).eval()
    nn.init.normal_(sigma.denoiser.head.weight)
    x = inputs(nano)
    other = {**x, "driving": torch.rand_like(x["driving"])}
    assert torch.equal(sigma(**x), sigma(**other))


def test_motion_channels_get_a_gradient_and_move(nano: ModelConfig) -> None:
    sigma = Sigma(nano)
    nn.init.normal_(sigma.denoiser.head.weight, std=0.1)
    extra = sigma.denoiser.patch_embed.weight
    sigma(**inputs(nano)).square().mean().backward()
    assert extra.grad is not None
    assert extra.grad[:, nano.latent_channels :].abs().max() > 0
    torch.optim.SGD(sigma.parameters(), lr=0.1).step()
    sigma.zero_grad()
    sigma(**inputs(nano)).square().mean().backward()
    assert sigma.driven_encoder.layers[0].weight.grad.abs().max() > 0


@torch.no_grad()
def test_audio_starts_silent(nano: ModelConfig) -> None:
    sigma = Sigma(nano).eval()
    nn.init.normal_(sigma.denoiser.head.weight)
    x = inputs(nano)
    assert torch.equal(sigma(**x), sigma(**x, audio_scale=0.0))


@torch.no_grad()
def test_temporal_starts_as_identity(nano: ModelConfig) -> None:
    sigma = Sigma(nano).eval()
    nn.init.normal_(sigma.denoiser.head.weight)
    x = inputs(nano)
    together = sigma(**x)
    for f in range(FRAMES):
        alone = {k: v[:, f : f + 1] if k in ("latents", "driving", "audio") else v for k, v in x.items()}
        torch.testing.assert_close(sigma(**alone), together[:, f : f + 1], rtol=0, atol=1e-5)
    for block in sigma.denoiser.blocks:
        block.temporal = None
    assert torch.equal(sigma(**x), together)


@torch.no_grad()
def test_audio_scale_zero_is_no_audio(nano: ModelConfig, randomised: Randomise) -> None:
    sigma = randomised(Sigma(nano))
    x = inputs(nano)
    other = {**x, "audio": torch.randn_like(x["audio"])}
    assert torch.equal(sigma(**x, audio_scale=0.0), sigma(**other, audio_scale=0.0))
    assert not torch.equal(sigma(**x), sigma(**other))
    for block in sigma.denoiser.blocks:
        nn.init.zeros_(block.audio_attention.attention.to_out.weight)
        nn.init.zeros_(block.audio_attention.attention.to_out.bias)
    assert torch.equal(sigma(**x), sigma(**x, audio_scale=0.0))


@torch.no_grad()
def test_audio_residual_is_affine_in_audio_scale(nano: ModelConfig, randomised: Randomise) -> None:
    block = randomised(Sigma(nano)).denoiser.blocks[0]
    x, audio = torch.randn(2, 16, nano.hidden), torch.randn(2, nano.audio.tokens, nano.audio.width)
    seen: list[Tensor] = []
    block.feed_forward = lambda x, m: seen.append(x) or x
    common = {"frames": 2, "grid": (4, 4), "audio": audio, "reference": None, "mask": None}
    for scale in (0.0, 1.0, 2.5):
        block(x, torch.zeros(2, 6, nano.hidden), audio_scale=scale, **common)
    torch.testing.assert_close(seen[2], seen[0] + 2.5 * (seen[1] - seen[0]))
    torch.testing.assert_close(seen[1] - seen[0], block.audio_attention(seen[0], audio))


@torch.no_grad()
def test_audio_of_a_frame_stays_in_the_frame_without_time(nano: ModelConfig, randomised: Randomise) -> None:
    sigma = randomised(Sigma(nano))
    silence_temporal(sigma)
    x = inputs(nano)
    changed = x["audio"].clone()
    changed[:, 2] += 1
    difference = (sigma(**{**x, "audio": changed}) - sigma(**x)).abs().amax(dim=(0, 2, 3, 4))
    assert (difference > 0).tolist() == [False, False, True, False]


@torch.no_grad()
def test_reference_reaches_the_last_blocks_only(nano: ModelConfig, randomised: Randomise) -> None:
    sigma = randomised(Sigma(nano))
    entering: list[list[Tensor]] = []

    def run(x: dict[str, Tensor]) -> None:
        entering.append([])
        handles = [
            block.register_forward_pre_hook(lambda _, args: entering[-1].append(args[0]))
            for block in sigma.denoiser.blocks
        ]
        sigma(**x)
        for handle in handles:
            handle.remove()

    x = inputs(nano)
    run(x)
    run({**x, "reference_latent": torch.randn_like(x["reference_latent"])})
    same = [torch.equal(a, b) for a, b in zip(*entering, strict=True)]
    assert nano.reference_start == 2
    assert same == [True, True, True, False]


@torch.no_grad()
def test_reference_keys_once_equal_keys_per_frame(nano: ModelConfig, randomised: Randomise) -> None:
    """Projected once and shared by frames and rows == concatenated to each frame's tokens."""
    attention = randomised(Sigma(nano)).denoiser.blocks[3].self_attention
    n, r = torch.randn(6, 16, nano.hidden), torch.randn(2, 20, nano.hidden)
    shared = attention(n, reference=attention.keys_values(r))
    naive = attention(n, source=torch.cat([n, r.repeat_interleave(3, dim=0)], dim=1))
    torch.testing.assert_close(shared, naive, rtol=0, atol=1e-5)


@torch.no_grad()
def test_empty_and_own_reference_are_plain_attention(nano: ModelConfig, randomised: Randomise) -> None:
    attention = randomised(Sigma(nano)).denoiser.blocks[3].self_attention
    n = torch.randn(2, 16, nano.hidden)
    plain = attention(n)
    empty = attention.keys_values(n[:, :0])
    torch.testing.assert_close(attention(n, reference=empty), plain, rtol=0, atol=0)
    torch.testing.assert_close(attention(n, reference=attention.keys_values(n)), plain, rtol=0, atol=1e-5)


@torch.no_grad()
def test_reference_time(nano: ModelConfig) -> None:
    zero = nano.updated(reference={"timestep": "zero"})
    t = torch.tensor([7, 900])
    assert torch.equal(Sigma(nano).reference_time(t), t)
    assert torch.equal(Sigma(zero).reference_time(t), torch.zeros(2, dtype=t.dtype))


@torch.no_grad()
@pytest.mark.parametrize(
    "changes",
    [
        {"audio": AudioConfig(encoder="log-mel", width=32, tokens=12, inner_width=32)},
        {"audio": AudioConfig(encoder="log-mel", width=32, tokens=12, prenorm=True, learned_positions=True)},
        {"temporal": TemporalConfig(grid=1, norm="layer", attentions=1)},
        {"temporal": TemporalConfig(place="after-block")},
        {"mask": MaskConfig(blocks="reference", form="literal")},
        {"reference": {"start_block": 0}},
        {"mlp_ratio": 2, "depth": 5},
    ],
)
def test_every_open_choice_builds_and_runs(
    nano: ModelConfig, changes: dict[str, object], randomised: Randomise
) -> None:
    default, config = randomised(Sigma(nano)), nano.updated(**changes)
    sigma = randomised(Sigma(config))
    x = inputs(config)
    eyes, mouth = torch.zeros(2, FRAMES, 16, dtype=torch.bool)
    eyes[:, 4:6], mouth[:, 12:14] = True, True
    mask = region_mask(mouth=mouth, eyes=eyes, mode="paper", form=config.mask.form)
    out = sigma(**x, mask=mask)
    assert out.shape == (1, FRAMES, config.out_channels, GRID, GRID)
    assert torch.isfinite(out).all()
    assert count(sigma) != count(default) or not torch.equal(out, default(**x, mask=mask))


@torch.no_grad()
def test_rows_do_not_mix(nano: ModelConfig, randomised: Randomise) -> None:
    """Two clips in a batch give what each gives alone."""
    sigma = randomised(Sigma(nano))
    x = inputs(nano, rows=2)
    both = sigma(**x)
    for row in range(2):
        alone = sigma(**{k: v[row : row + 1] for k, v in x.items()})
        torch.testing.assert_close(alone, both[row : row + 1], rtol=0, atol=1e-5)


def test_keys_and_values_are_named() -> None:
    assert KeysValues._fields == ("keys", "values")
