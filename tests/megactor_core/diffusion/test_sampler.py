"""Sampling: the steps, recovery of a known picture, guidance, and noise that belongs to a frame."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from megactor_core.config.model import DiffusionConfig
from megactor_core.diffusion.sampler import frame_noise, guide, split_prediction
from megactor_core.diffusion.schedule import add_noise, make_schedule, velocity
from megactor_core.diffusion.solver import make_scheduler

EPS = DiffusionConfig.build({}, source="defaults")
V = EPS.updated(prediction="v")
SCHEDULE = make_schedule(EPS)
LATENTS = (1, 2, 4, 6, 6)


def sample(solver: Any, start: Tensor, predict: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    x = start
    for t in solver.timesteps:
        x = solver.step(predict(x, t), t, x).prev_sample
    return x


def oracle(x0: Tensor, config: DiffusionConfig) -> Callable[[Tensor, Tensor], Tensor]:
    """The network that knows the answer: the noise (or velocity) that leads from x0 to what it is shown."""

    def predict(x: Tensor, t: Tensor) -> Tensor:
        alpha_bar = SCHEDULE.alpha_bar[t]
        eps = (x - alpha_bar.sqrt() * x0) / (1 - alpha_bar).sqrt()
        return eps if config.prediction == "eps" else velocity(SCHEDULE, x0, eps, t.view(1))

    return predict


# Steps


def test_twenty_steps_are_pixarts() -> None:
    steps = make_scheduler(EPS, steps=20).timesteps.tolist()
    assert steps == list(range(999, 500, -50)) + list(range(500, 0, -50))


@given(steps=st.integers(1, 100))
@settings(max_examples=25)
def test_steps_fall_from_the_noisiest(steps: int) -> None:
    timesteps = make_scheduler(EPS, steps=steps).timesteps.tolist()
    assert len(timesteps) == steps
    assert timesteps[0] == 999
    assert all(a > b >= 0 for a, b in pairwise(timesteps))


def test_short_schedules_scale() -> None:
    solver = make_scheduler(EPS.updated(train_steps=100), steps=4)
    assert solver.timesteps.tolist()[0] == 99


# Recovery


@pytest.mark.parametrize("config", [EPS, V], ids=["eps", "v"])
@pytest.mark.parametrize("steps", [4, 20])
def test_oracle_recovers_x0(config: DiffusionConfig, steps: int) -> None:
    x0 = torch.randn(LATENTS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = torch.randn(LATENTS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    start = add_noise(SCHEDULE, x0, noise, torch.tensor([999]))
    found = sample(make_scheduler(config, steps=steps), start, oracle(x0, config))
    torch.testing.assert_close(found, x0, rtol=0, atol=1e-4)


def test_wrong_kind_of_prediction_does_not_recover_x0() -> None:
    """The solver and the network must agree on what is predicted; the test above can tell."""
    x0 = torch.full(LATENTS, 0.5, dtype=torch.float64)
    start = add_noise(SCHEDULE, x0, torch.ones_like(x0), torch.tensor([999]))
    found = sample(make_scheduler(V, steps=20), start, oracle(x0, EPS))
    assert (found - x0).abs().max() > 0.01


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
