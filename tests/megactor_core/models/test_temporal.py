"""The temporal module: identity at the start, time order only through positions, exact regrouping."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.attention import FeedForward
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from megactor_core.config.model import ModelConfig
from megactor_core.models import temporal
from megactor_core.models.temporal import GatedMlp, TemporalModule, frame_waves, from_cells, to_cells

FRAMES, GRID = 3, (4, 6)
TOKENS = GRID[0] * GRID[1]

Randomise = Callable[[nn.Module], Any]
CHOICES = [(grid, norm) for grid in (1, 2) for norm in ("group", "layer")]


def make(nano: ModelConfig, **temporal_choices: object) -> TemporalModule:
    return TemporalModule(nano.updated(temporal=temporal_choices))


def tokens(*, rows: int = FRAMES, width: int = 64) -> Tensor:
    return torch.randn(rows, TOKENS, width, dtype=torch.float64)


def cells_by_loop(x: Tensor, *, frames: int, grid: tuple[int, int], side: int) -> list[list[tuple[int, int]]]:
    """(row, token) of every member of every sequence; sequences by clip and cell, members by frame."""
    h, w = grid
    return [
        [
            (clip * frames + frame, (top + p) * w + left + q)
            for frame in range(frames)
            for p in range(side)
            for q in range(side)
        ]
        for clip in range(x.shape[0] // frames)
        for top in range(0, h, side)
        for left in range(0, w, side)
    ]


@pytest.mark.parametrize(("grid", "norm"), CHOICES)
@torch.no_grad()
def test_zero_start_is_exactly_the_identity(nano: ModelConfig, grid: int, norm: str) -> None:
    module = make(nano, grid=grid, norm=norm)
    module.init_zero()
    x = torch.randn(2 * FRAMES, TOKENS, nano.hidden)
    assert torch.equal(module(x, frames=FRAMES, grid=GRID), x)


def test_zero_start_learns(nano: ModelConfig) -> None:
    module = make(nano)
    module.init_zero()
    x = torch.randn(FRAMES, TOKENS, nano.hidden)
    module(x, frames=FRAMES, grid=GRID).square().sum().backward()
    assert module.proj_out.weight.grad is not None
    assert module.proj_out.weight.grad.abs().max() > 0


@pytest.mark.parametrize(("grid", "norm"), CHOICES)
@torch.no_grad()
def test_permuted_frames_without_positions(
    nano: ModelConfig, randomised: Randomise, monkeypatch: pytest.MonkeyPatch, grid: int, norm: str
) -> None:
    """Positions alone tell frames apart: without them permuting frames permutes outputs."""
    module = randomised(make(nano, grid=grid, norm=norm)).double()
    x, order = tokens(), [2, 0, 1]
    with_positions = module(x, frames=FRAMES, grid=GRID)
    assert (module(x[order], frames=FRAMES, grid=GRID) - with_positions[order]).abs().max() > 1e-3
    monkeypatch.setattr(temporal, "frame_waves", lambda frames, channels: torch.zeros(frames, channels))
    without = module(x, frames=FRAMES, grid=GRID)
    assert (without - x).abs().max() > 0.1
    permuted = module(x[order], frames=FRAMES, grid=GRID)
    torch.testing.assert_close(permuted, without[order], rtol=0, atol=1e-12)


@torch.no_grad()
def test_single_frame_and_clips_do_not_mix(nano: ModelConfig, randomised: Randomise) -> None:
    module = randomised(make(nano)).double()
    x = tokens(rows=2 * FRAMES)
    together = module(x, frames=FRAMES, grid=GRID)
    for clip in (slice(0, FRAMES), slice(FRAMES, None)):
        alone = module(x[clip], frames=FRAMES, grid=GRID)
        torch.testing.assert_close(alone, together[clip], rtol=0, atol=1e-12)
    still = module(x[:1], frames=1, grid=GRID)
    assert still.shape == (1, TOKENS, nano.hidden)
    assert torch.isfinite(still).all()
    assert (module(x, frames=1, grid=GRID)[:1] - still).abs().max() < 1e-12


@pytest.mark.parametrize(("grid", "reached"), [(1, 1), (2, 4)])
@torch.no_grad()
def test_a_token_reaches_its_cell_in_all_frames(
    nano: ModelConfig, randomised: Randomise, grid: int, reached: int
) -> None:
    """With LayerNorm a change stays in its cell; GroupNorm spreads it over its own frame."""
    x = tokens()
    changed = x.clone()
    changed[1, 0, ::2] += 1

    def touched(norm: str) -> Tensor:
        module = randomised(make(nano, grid=grid, norm=norm)).double()
        moved = module(changed, frames=FRAMES, grid=GRID) - module(x, frames=FRAMES, grid=GRID)
        return (moved.abs().amax(-1) > 1e-9).sum(1)

    assert touched("layer").tolist() == [reached] * FRAMES
    assert touched("group").tolist() == [TOKENS] * FRAMES


@given(
    clips=st.integers(1, 3), frames=st.integers(1, 4), rows=st.integers(1, 3), columns=st.integers(1, 3),
    side=st.sampled_from([1, 2]),
)  # fmt: skip
def test_cells_round_trip_and_follow_the_loop(
    clips: int, frames: int, rows: int, columns: int, side: int
) -> None:
    grid = (rows * side, columns * side)
    x = torch.arange(clips * frames * grid[0] * grid[1] * 2.0).view(clips * frames, -1, 2)
    cells = to_cells(x, frames=frames, grid=grid, side=side)
    assert torch.equal(from_cells(cells, frames=frames, grid=grid, side=side), x)
    members = cells_by_loop(x, frames=frames, grid=grid, side=side)
    assert torch.equal(cells, torch.stack([torch.stack([x[at] for at in cell]) for cell in members]))


def test_frame_waves_golden() -> None:
    """Sine on even channels, cosine on odd ones; EasyAnimate's positions at width 8."""
    waves = frame_waves(3, 8)
    expected = [0.909297, -0.416147, 0.198669, 0.980067, 0.019999, 0.999800, 0.002000, 0.999998]
    assert waves[0].tolist() == [0, 1] * 4
    torch.testing.assert_close(waves[2], torch.tensor(expected), rtol=0, atol=1e-6)


def test_frames_are_numbered_from_zero_in_every_call(nano: ModelConfig) -> None:
    assert torch.equal(frame_waves(16, nano.hidden)[:5], frame_waves(5, nano.hidden))


def test_more_frames_than_positions_are_refused(nano: ModelConfig) -> None:
    module = make(nano, max_frames=2)
    with pytest.raises(ValueError, match=r"3 frames .*max_frames = 2"):
        module(torch.randn(FRAMES, TOKENS, nano.hidden), frames=FRAMES, grid=GRID)


def torch_attention(ours: Any, width: int, heads: int) -> nn.MultiheadAttention:
    oracle = nn.MultiheadAttention(width, heads, batch_first=True).double()
    with torch.no_grad():
        oracle.in_proj_weight.copy_(torch.cat([ours.to_q.weight, ours.to_k.weight, ours.to_v.weight]))
        assert oracle.in_proj_bias is not None
        oracle.in_proj_bias.zero_()
        oracle.out_proj.load_state_dict(ours.to_out.state_dict())
    return oracle


def diffusers_mlp(ours: Any, width: int) -> Any:
    oracle = FeedForward(width, mult=4, activation_fn="geglu").double()
    oracle.net[0].proj.load_state_dict(ours.fc_in.state_dict())
    oracle.net[2].load_state_dict(ours.fc_out.state_dict())
    return oracle


@torch.no_grad()
@pytest.mark.parametrize("side", [1, 2])
def test_module_parity_with_torch_and_diffusers(nano: ModelConfig, randomised: Randomise, side: int) -> None:
    """The whole module from PyTorch's GroupNorm and attention, diffusers' GEGLU and a loop over the cells."""
    ours = randomised(make(nano, grid=side)).double()
    width, x = nano.hidden, tokens(rows=2 * FRAMES)
    pictures = x.transpose(1, 2).reshape(2 * FRAMES, width, *GRID)
    s = ours.proj_in(ours.norm(pictures).flatten(2).transpose(1, 2))
    out = x.clone()
    for cell in cells_by_loop(x, frames=FRAMES, grid=GRID, side=side):
        sequence = torch.stack([s[at] for at in cell])[None]
        position = torch.stack([frame_waves(FRAMES, width)[row % FRAMES] for row, _ in cell]).double()
        for norm, attention in zip(ours.attention_norms, ours.attentions, strict=True):
            n = norm(sequence) + position
            sequence = sequence + torch_attention(attention, width, 8)(n, n, n, need_weights=False)[0]
        sequence = sequence + diffusers_mlp(ours.mlp, width)(ours.mlp_norm(sequence))
        for at, value in zip(cell, ours.proj_out(sequence)[0], strict=True):
            out[at] += value
    assert (out - x).std() > 0.1
    torch.testing.assert_close(ours(x, frames=FRAMES, grid=GRID), out, rtol=0, atol=1e-12)


@torch.no_grad()
def test_gated_mlp_parity_with_diffusers() -> None:
    ours = GatedMlp(32, ratio=4).double()
    x = torch.randn(2, 7, 32).double()
    torch.testing.assert_close(ours(x), diffusers_mlp(ours, 32)(x), rtol=0, atol=1e-12)
