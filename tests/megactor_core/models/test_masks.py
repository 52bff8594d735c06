"""Eq. 2: what the masks keep apart exactly, and the paths that they leave open (T1 to T4)."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from megactor_core.config.model import ModelConfig
from megactor_core.models.layers import Attention
from megactor_core.models.masks import MaskMode, RegionMask, region_mask
from megactor_core.models.sigma import Sigma

Randomise = Callable[[nn.Module], Any]
WIDTH = 32
SIDE = 16  # tokens along one side of the 256 px pictures below
FRAMES = 2
EYE_BOX = (2, 6, 4, 12)  # rows and columns in tokens, half open
MOUTH_BOX = (10, 14, 5, 11)  # two tokens and more below the eyes grown by two


def box(top: int, bottom: int, left: int, right: int, *, side: int = SIDE) -> Tensor:
    """A boolean picture (side, side) with one box."""
    picture = torch.zeros(side, side, dtype=torch.bool)
    picture[top:bottom, left:right] = True
    return picture


def grown(region: Tensor, *, tokens: int) -> Tensor:
    return F.max_pool2d(region[None, None].float(), 2 * tokens + 1, stride=1, padding=tokens)[0, 0].bool()


def magnified(region: Tensor, *, factor: int) -> Tensor:
    return region.repeat_interleave(factor, dim=0).repeat_interleave(factor, dim=1)


EYES, MOUTH = grown(box(*EYE_BOX), tokens=2), box(*MOUTH_BOX)


# One attention


def test_region_mask_modes() -> None:
    mouth, eyes = torch.tensor([[1, 1, 0, 0, 0]]).bool(), torch.tensor([[0, 0, 0, 1, 1]]).bool()
    paper = region_mask(mouth=mouth, eyes=eyes, mode="paper")
    strict = region_mask(mouth=mouth, eyes=eyes, mode="strict")
    assert paper is not None
    assert strict is not None
    assert paper.rows.tolist() == [[True, True, False, False, False]]
    assert strict.rows.tolist() == [[True, True, True, False, False]]
    assert paper.hidden.tolist() == strict.hidden.tolist() == [[False, False, False, True, True]]
    assert region_mask(mouth=mouth, eyes=eyes, mode="off") is None


def test_allowed_is_eq_2_with_the_reference_always_visible() -> None:
    mask = RegionMask(rows=torch.tensor([[1, 0, 0]]).bool(), hidden=torch.tensor([[0, 0, 1]]).bool())
    expected = [[1, 1, 0, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]]
    assert mask.allowed(reference_tokens=2).tolist() == [[[[bool(x) for x in row] for row in expected]]]


@given(active=st.lists(st.booleans(), min_size=1, max_size=4), mode=st.sampled_from(["paper", "strict"]))
def test_inactive_rows_are_left_alone(active: list[bool], mode: MaskMode) -> None:
    mouth = torch.rand(len(active), 9) < 0.5
    eyes = torch.rand(len(active), 9) < 0.5
    mask = region_mask(mouth=mouth, eyes=eyes, mode=mode, active=torch.tensor(active))
    everywhere = region_mask(mouth=mouth, eyes=eyes, mode=mode)
    assert mask is not None
    assert everywhere is not None
    for row, is_active in enumerate(active):
        expected = everywhere.rows[row] if is_active else torch.zeros(9, dtype=torch.bool)
        assert torch.equal(mask.rows[row], expected)
        assert torch.equal(mask.hidden[row], eyes[row])


@torch.no_grad()
@pytest.mark.parametrize("reference_tokens", [0, 5])
def test_masked_rows_attend_to_the_gathered_rest(reference_tokens: int) -> None:
    attention = Attention(WIDTH, heads=4).double()
    x, r = torch.randn(1, 9, WIDTH).double(), torch.randn(1, reference_tokens, WIDTH).double()
    rows, hidden = torch.zeros(2, 1, 9, dtype=torch.bool)
    rows[0, [0, 3, 8]], hidden[0, [1, 2, 5]] = True, True
    reference = attention.keys_values(r)
    masked = attention(x, reference=reference, mask=RegionMask(rows, hidden))
    kept = torch.cat([x[:, ~hidden[0]], r], dim=1)
    gathered = attention(x[:, rows[0]], source=kept)
    torch.testing.assert_close(masked[:, rows[0]], gathered, rtol=0, atol=1e-12)
    assert torch.equal(masked[:, ~rows[0]], attention(x, reference=reference)[:, ~rows[0]])


@pytest.mark.parametrize("form", ["exclude", "literal"])
def test_t1_masked_outputs_have_no_gradient_to_hidden_tokens(form: Any) -> None:
    attention = Attention(WIDTH, heads=4).double()
    x, source = torch.randn(2, 1, 9, WIDTH).double().requires_grad_()
    rows, hidden = torch.zeros(2, 1, 9, dtype=torch.bool)
    rows[0, [0, 3]], hidden[0, [5, 6]] = True, True
    out = attention(x, source=source, mask=RegionMask(rows, hidden, form=form))
    gradient = torch.autograd.grad(out[rows].sum(), source, retain_graph=True)[0]
    assert gradient[hidden].abs().max() == 0
    assert (gradient[~hidden].abs().amax(-1) > 0).all()
    others = torch.autograd.grad(out[~rows].sum(), source)[0]
    assert (others[hidden].abs().amax(-1) > 0).all()


@torch.no_grad()
def test_mask_rows_belong_to_their_frame() -> None:
    """Each row of the fold has its own regions, also when one reference serves them all."""
    attention = Attention(WIDTH, heads=4).double()
    x, r = torch.randn(3, 6, WIDTH).double(), torch.randn(1, 4, WIDTH).double()
    reference = attention.keys_values(r)
    rows, hidden = torch.rand(2, 3, 6) < 0.5
    together = attention(x, reference=reference, mask=RegionMask(rows, hidden))
    for i in range(3):
        one = RegionMask(rows[i : i + 1], hidden[i : i + 1])
        alone = attention(x[i : i + 1], reference=reference, mask=one)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-12)


# The whole model: gradient of the mouth's prediction with respect to the eyes' driving pixels


def model(nano: ModelConfig, randomise: Randomise, *, depth: int, temporal: str | None) -> Any:
    """A float64 model for 256 px pictures; `temporal` names the norm, None silences the module."""
    config = nano.updated(native_px=16 * SIDE, depth=depth, temporal={"norm": temporal or "group"})
    sigma = randomise(Sigma(config)).double()
    for block in sigma.denoiser.blocks:
        if temporal is None:
            block.temporal = None
    return sigma


def leak(sigma: Any, *, mode: MaskMode, eyes: Tensor = EYES) -> float:
    """Largest |d mouth latents / d eye pixels| for random weights on the mouth's outputs."""
    config = sigma.config
    pixels, latent = 16 * SIDE, 2 * SIDE
    driving = torch.rand(1, FRAMES, 3, pixels, pixels, dtype=torch.float64, requires_grad=True)
    fold = (FRAMES, SIDE * SIDE)
    out = sigma(
        torch.randn(1, FRAMES, config.latent_channels, latent, latent).double(),
        torch.tensor([437]),
        reference_latent=torch.randn(1, config.latent_channels, latent, latent).double(),
        driving=driving,
        audio=torch.randn(1, FRAMES, config.audio.tokens, config.audio.width).double(),
        mask=region_mask(mouth=MOUTH.flatten().expand(fold), eyes=eyes.flatten().expand(fold), mode=mode),
    )
    mouth = out[..., magnified(MOUTH, factor=2)]
    gradient = torch.autograd.grad((mouth * torch.randn_like(mouth)).sum(), driving)[0]
    assert gradient[..., magnified(MOUTH, factor=16)].abs().max() > 1e-6
    return gradient[..., magnified(box(*EYE_BOX), factor=16)].abs().max().item()


def only_first_block(sigma: Any) -> Any:
    """Cut the model to one block, the first: it reads no reference."""
    sigma.denoiser.blocks = sigma.denoiser.blocks[:1]
    sigma.denoiser.reference_keys = lambda _: None
    return sigma


def test_t2_one_block_keeps_eye_pixels_from_the_mouth(nano: ModelConfig, randomised: Randomise) -> None:
    sigma = only_first_block(model(nano, randomised, depth=2, temporal=None))
    assert leak(sigma, mode="off") > 1e-6
    assert leak(sigma, mode="paper") == 0
    assert leak(sigma, mode="strict") == 0


def test_t2_needs_the_eyes_grown_by_the_receptive_field(nano: ModelConfig, randomised: Randomise) -> None:
    """The Driven Encoder carries eye pixels into tokens beside the eye box."""
    sigma = only_first_block(model(nano, randomised, depth=2, temporal=None))
    assert leak(sigma, mode="paper", eyes=box(*EYE_BOX)) > 1e-9


@pytest.mark.parametrize("depth", [2, 4])
def test_t3_the_papers_mask_is_one_hop(nano: ModelConfig, randomised: Randomise, depth: int) -> None:
    """Other tokens read the eyes, and the mouth reads those a block later: no isolation, as the docs say."""
    sigma = model(nano, randomised, depth=depth, temporal=None)
    assert leak(sigma, mode="paper") > 1e-9


def test_t4_the_strict_mask_holds_at_any_depth(nano: ModelConfig, randomised: Randomise) -> None:
    sigma = model(nano, randomised, depth=8, temporal=None)
    assert leak(sigma, mode="paper") > 1e-9
    assert leak(sigma, mode="strict") == 0


def test_t4_group_norm_in_time_defeats_the_strict_mask(nano: ModelConfig, randomised: Randomise) -> None:
    assert leak(model(nano, randomised, depth=8, temporal="group"), mode="strict") > 1e-9


def test_t4_layer_norm_in_time_keeps_the_strict_mask(nano: ModelConfig, randomised: Randomise) -> None:
    """Exact where the eye region fills whole 2 x 2 cells of the temporal module, not otherwise."""
    sigma = model(nano, randomised, depth=8, temporal="layer")
    assert all(edge % 2 == 0 for edge in EYE_BOX)
    assert leak(sigma, mode="strict", eyes=grown(box(*EYE_BOX), tokens=2)) == 0
    assert leak(sigma, mode="strict", eyes=grown(box(*EYE_BOX), tokens=3)) > 1e-9
