"""Sampling: the predicted half, guidance, and noise that belongs to a frame."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.diffusion.sampler import frame_noise, guide, split_prediction


def test_split_prediction_drops_the_variance() -> None:
    output = torch.randn(1, 2, 8, 6, 6)
    assert torch.equal(split_prediction(output, channels=4), output[:, :, :4])
    assert torch.equal(split_prediction(output[:, :, :4], channels=4), output[:, :, :4])


# Guidance


@given(scale=st.floats(0, 10))
def test_guidance_is_a_line_through_both(scale: float) -> None:
    conditional, null = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(guide(conditional, null, scale=1.0), conditional, rtol=0, atol=1e-12)
    assert torch.equal(guide(conditional, null, scale=0.0), null)
    expected = (1 - scale) * null + scale * conditional
    torch.testing.assert_close(guide(conditional, null, scale=scale), expected, rtol=0, atol=1e-10)


def test_guidance_between_equals_changes_nothing() -> None:
    x = torch.randn(3, 4)
    assert torch.equal(guide(x, x, scale=4.5), x)


# Noise


def test_noise_golden() -> None:
    """A run from years ago can be repeated: the numbers for seed 0, frame 0 are part of the format."""
    expected = torch.tensor([0.059911035, 0.0155596342, -1.16443849, -0.132647127])
    torch.testing.assert_close(frame_noise([0], (4,), seed=0)[0], expected, rtol=0, atol=1e-7)


@given(cut=st.integers(1, 9), seed=st.integers(0, 2**63 - 1))
def test_noise_does_not_depend_on_grouping(cut: int, seed: int) -> None:
    whole = frame_noise(range(10), (4, 3, 3), seed=seed)
    parts = [frame_noise(range(cut), (4, 3, 3), seed=seed), frame_noise(range(cut, 10), (4, 3, 3), seed=seed)]
    assert torch.equal(whole, torch.cat(parts))
    shuffled = frame_noise([7, 2], (4, 3, 3), seed=seed)
    assert torch.equal(shuffled, whole[[7, 2]])


@given(
    a=st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 10**6)),
    b=st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 10**6)),
)
def test_noise_differs_by_seed_and_frame(a: tuple[int, int], b: tuple[int, int]) -> None:
    same = torch.equal(frame_noise([a[1]], (16,), seed=a[0]), frame_noise([b[1]], (16,), seed=b[0]))
    assert same == (a == b)


def test_noise_is_standard_normal_and_uncorrelated() -> None:
    noise = frame_noise(range(64), (4, 32, 32), seed=0).flatten(1)
    assert noise.dtype == torch.float32
    assert abs(noise.mean().item()) < 4 / noise.numel() ** 0.5
    assert noise.var().item() == pytest.approx(1, abs=4 * (2 / noise.numel()) ** 0.5)
    assert (noise**4).mean().item() == pytest.approx(3, abs=0.1)
    between = torch.corrcoef(noise) - torch.eye(64)
    assert between.abs().max() < 6 / 4096**0.5


def test_noise_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    frame_noise([0, 1], (4,), seed=5)
    assert torch.equal(torch.get_rng_state(), before)
