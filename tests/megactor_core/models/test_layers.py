"""Shared layers against public implementations with the same weights; properties of the embeddings."""

import pytest
import torch
from diffusers.models.attention import FeedForward
from diffusers.models.normalization import AdaLayerNormSingle
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from megactor_core.models.layers import (
    Attention,
    KeysValues,
    Mlp,
    TimestepModulation,
    axis_waves,
    grid_positions,
    init_linears,
    modulate,
    timestep_waves,
)
from megactor_core.models.masks import RegionMask

WIDTH, HEADS = 32, 4


def torch_attention(ours: Attention, *, source_width: int = WIDTH) -> nn.MultiheadAttention:
    """PyTorch's own multi-head attention with the weights of ours."""
    oracle = nn.MultiheadAttention(
        WIDTH, HEADS, kdim=source_width, vdim=source_width, batch_first=True, bias=True
    ).eval()
    with torch.no_grad():
        assert oracle.in_proj_bias is not None
        oracle.in_proj_bias.copy_(torch.cat([ours.to_q.bias, ours.to_k.bias, ours.to_v.bias]))
        if source_width == WIDTH:
            weights = [ours.to_q.weight, ours.to_k.weight, ours.to_v.weight]
            oracle.in_proj_weight.copy_(torch.cat(weights))
        else:
            oracle.q_proj_weight.copy_(ours.to_q.weight)
            oracle.k_proj_weight.copy_(ours.to_k.weight)
            oracle.v_proj_weight.copy_(ours.to_v.weight)
        oracle.out_proj.load_state_dict(ours.to_out.state_dict())
    return oracle


def attend_by_hand(attention: Attention, x: Tensor, keys: Tensor) -> Tensor:
    """Softmax attention of x (N, D) to keys (S, E), head by head, from the formula."""
    out = []
    q, k, v = attention.to_q(x), attention.to_k(keys), attention.to_v(keys)
    for head in torch.arange(q.shape[1]).chunk(attention.heads):
        scores = q[:, head] @ k[:, head].T / len(head) ** 0.5
        out.append(scores.softmax(dim=1) @ v[:, head])
    return attention.to_out(torch.cat(out, dim=1))


@torch.no_grad()
def test_self_attention_parity_with_torch() -> None:
    ours = Attention(WIDTH, heads=HEADS)
    x = torch.randn(2, 7, WIDTH)
    theirs, _ = torch_attention(ours)(x, x, x, need_weights=False)
    torch.testing.assert_close(ours(x), theirs, rtol=0, atol=1e-6)


@torch.no_grad()
def test_cross_attention_parity_with_torch() -> None:
    ours = Attention(WIDTH, heads=HEADS, source_width=20)
    x, source = torch.randn(2, 7, WIDTH), torch.randn(2, 5, 20)
    theirs, _ = torch_attention(ours, source_width=20)(x, source, source, need_weights=False)
    torch.testing.assert_close(ours(x, source=source), theirs, rtol=0, atol=1e-6)


@torch.no_grad()
def test_narrow_inner_width_scales_by_its_own_head_width() -> None:
    attention = Attention(WIDTH, heads=HEADS, source_width=20, inner_width=16).double()
    x, source = torch.randn(1, 7, WIDTH).double(), torch.randn(1, 5, 20).double()
    by_hand = attend_by_hand(attention, x[0], source[0])
    torch.testing.assert_close(attention(x, source=source)[0], by_hand, rtol=0, atol=1e-12)
    assert attention.to_q.out_features == attention.to_out.in_features == 16


@torch.no_grad()
def test_reference_serves_consecutive_rows() -> None:
    """Rows 0-2 read the first clip's reference, rows 3-5 the second's."""
    attention = Attention(WIDTH, heads=HEADS).double()
    x, r = torch.randn(6, 7, WIDTH).double(), torch.randn(2, 5, WIDTH).double()
    out = attention(x, reference=attention.keys_values(r))
    for row in range(6):
        by_hand = attend_by_hand(attention, x[row], torch.cat([x[row], r[row // 3]]))
        torch.testing.assert_close(out[row], by_hand, rtol=0, atol=1e-12)


def test_attention_without_query_bias_has_an_output_bias() -> None:
    attention = Attention(WIDTH, heads=HEADS, qkv_bias=False)
    assert sorted(dict(attention.named_parameters())) == [
        "to_k.weight", "to_out.bias", "to_out.weight", "to_q.weight", "to_v.weight",
    ]  # fmt: skip


@torch.no_grad()
def test_literal_mask_multiplies_keys_and_values() -> None:
    """With values of one, a row's sum is the weight that is left: below one where keys were zeroed."""
    attention = Attention(WIDTH, heads=HEADS).double()
    attention.to_v.weight.zero_()
    attention.to_v.bias.fill_(1.0)
    attention.to_out.weight.copy_(torch.eye(WIDTH))
    attention.to_out.bias.zero_()
    rows, hidden = torch.zeros(2, 1, 7, dtype=torch.bool)
    rows[0, :2], hidden[0, 4:] = True, True
    x = torch.randn(1, 7, WIDTH).double()

    def row_sums(form: str) -> Tensor:
        return attention(x, mask=RegionMask(rows, hidden, form=form))[0, :, 0]  # type: ignore[arg-type]

    torch.testing.assert_close(row_sums("exclude"), torch.ones(7).double(), rtol=0, atol=1e-12)
    assert (row_sums("literal")[:2] < 0.99).all()
    torch.testing.assert_close(row_sums("literal")[2:], torch.ones(5).double(), rtol=0, atol=1e-12)


@torch.no_grad()
def test_mlp_parity_with_diffusers() -> None:
    ours = Mlp(WIDTH, ratio=4)
    theirs = FeedForward(WIDTH, mult=4, activation_fn="gelu-approximate")
    theirs.net[0].proj.load_state_dict(ours.fc_in.state_dict())
    theirs.net[2].load_state_dict(ours.fc_out.state_dict())
    x = torch.randn(2, 7, WIDTH)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-6)


@torch.no_grad()
def test_timestep_modulation_parity_with_diffusers() -> None:
    ours = TimestepModulation(WIDTH)
    theirs = AdaLayerNormSingle(WIDTH, use_additional_conditions=False)
    theirs.emb.timestep_embedder.linear_1.load_state_dict(ours.mlp_in.state_dict())
    theirs.emb.timestep_embedder.linear_2.load_state_dict(ours.mlp_out.state_dict())
    theirs.linear.load_state_dict(ours.six.state_dict())
    t = torch.tensor([0, 1, 500, 999])
    embedding, six = ours(t)
    no_size = {"resolution": None, "aspect_ratio": None}
    their_six, their_embedding = theirs(
        t, added_cond_kwargs=no_size, batch_size=4, hidden_dtype=torch.float32
    )
    torch.testing.assert_close(embedding, their_embedding, rtol=0, atol=1e-6)
    torch.testing.assert_close(six.flatten(1), their_six, rtol=0, atol=1e-6)


@torch.no_grad()
def test_modulate_norms_each_token() -> None:
    x = torch.randn(2, 7, WIDTH) * 5 + 3
    plain = modulate(x, shift=torch.zeros(2, 1, WIDTH), scale=torch.zeros(2, 1, WIDTH))
    torch.testing.assert_close(plain.mean(-1), torch.zeros(2, 7), rtol=0, atol=1e-6)
    torch.testing.assert_close(plain.std(-1, correction=0), torch.ones(2, 7), rtol=0, atol=1e-4)
    shift, scale = torch.randn(2, 2, 1, WIDTH)
    torch.testing.assert_close(modulate(x, shift=shift, scale=scale), plain * (1 + scale) + shift)


@given(t=st.integers(0, 999))
def test_timestep_waves_lie_on_circles(t: int) -> None:
    cosine, sine = timestep_waves(torch.tensor([t])).double().chunk(2, dim=1)
    torch.testing.assert_close(cosine**2 + sine**2, torch.ones(1, 128).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(
        torch.atan2(sine, cosine)[0, -1].item(), t * 1e-4 ** (127 / 128), rtol=1e-4, atol=1e-6
    )


@given(h=st.integers(1, 12), w=st.integers(1, 12))
def test_positions_separate_x_from_y(h: int, w: int) -> None:
    """The first half of the channels depends on the column only, the second on the row only."""
    grid = grid_positions(h, w, base=8, channels=16).unflatten(0, (h, w))
    x_half, y_half = grid.chunk(2, dim=-1)
    assert torch.equal(x_half, x_half[:1].expand_as(x_half))
    assert torch.equal(y_half, y_half[:, :1].expand_as(y_half))


@pytest.mark.parametrize("side", [8, 16, 24])
def test_positions_span_the_native_range_at_any_size(side: int) -> None:
    stretched = grid_positions(side, side, base=8, channels=16)[:side, :8]
    expected = axis_waves(torch.arange(side, dtype=torch.float64) * 8 / side, 8).float()
    torch.testing.assert_close(stretched, expected, rtol=0, atol=1e-6)


def test_positions_made_at_inference_serve_training() -> None:
    """The table is cached: made first under inference mode, it must still take part in a backward pass."""
    with torch.inference_mode():
        grid_positions(7, 9, base=4, channels=16)
    tokens = torch.randn(63, 16, requires_grad=True)
    (tokens + grid_positions(7, 9, base=4, channels=16)).square().sum().backward()
    assert tokens.grad is not None


def test_positions_under_the_meta_device_hold_numbers() -> None:
    """Checkpoints are read into modules made on the meta device; the cached table must not be one."""
    with torch.device("meta"):
        positions = grid_positions(3, 5, base=4, channels=16)
    assert positions.device.type == "cpu"
    assert torch.isfinite(positions).all()


@torch.no_grad()
def test_init_linears_is_xavier_with_zero_bias() -> None:
    outer, norm, inner = nn.Linear(400, 600), nn.LayerNorm(600), nn.Linear(600, 200)
    nn.init.constant_(norm.weight, 3.0)
    init_linears(nn.Sequential(outer, norm, nn.Sequential(inner)))
    for layer, fan_sum in ((outer, 1000), (inner, 800)):
        bound = (6 / fan_sum) ** 0.5
        assert layer.bias.abs().max() == 0
        assert 0.98 * bound < layer.weight.abs().max() <= bound
    assert norm.weight.min() == norm.weight.max() == 3


def test_keys_values_pair_is_what_attention_reads() -> None:
    attention = Attention(WIDTH, heads=HEADS)
    own = attention.keys_values(torch.randn(2, 5, WIDTH))
    assert isinstance(own, KeysValues)
    assert own.keys.shape == own.values.shape == (2, HEADS, 5, WIDTH // HEADS)
