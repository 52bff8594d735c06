"""The noise schedule's tables and the arithmetic between x0, noise and velocity."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from megactor_core.config.model import DiffusionConfig
from megactor_core.diffusion.schedule import (
    Schedule,
    add_noise,
    eps_of_velocity,
    lookup,
    make_schedule,
    velocity,
    x0_of_eps,
)

SCHEDULE = make_schedule(DiffusionConfig.build({}, source="defaults"))


def drawn(seed: int, *, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(2, 1, 2, 3, 4, 4, generator=generator, dtype=dtype)
    return x0, eps


@pytest.mark.parametrize(
    ("t", "alpha_bar"),
    [(0, 0.9999), (1, 0.9997800921), (100, 0.8951415909), (500, 0.07779665837), (999, 4.035829765e-5)],
)
def test_alpha_bar_golden(t: int, alpha_bar: float) -> None:
    assert SCHEDULE.alpha_bar[t].item() == pytest.approx(alpha_bar, rel=1e-9)


@pytest.mark.parametrize(("t", "log_variance"), [(0, -9.816725135), (1, -9.816725135), (999, -3.912023829)])
def test_posterior_log_variance_golden(t: int, log_variance: float) -> None:
    """The first entry would be minus infinity and repeats the second."""
    assert SCHEDULE.posterior_log_variance[t].item() == pytest.approx(log_variance, rel=1e-9)


def test_betas_are_linear() -> None:
    assert SCHEDULE.steps == 1000
    np.testing.assert_allclose(SCHEDULE.betas.numpy(), np.linspace(1e-4, 0.02, 1000), rtol=1e-12)


@given(
    steps=st.integers(2, 50),
    start=st.floats(1e-5, 0.3),
    end=st.floats(1e-5, 0.5),
)
def test_tables_follow_ddpm(steps: int, start: float, end: float) -> None:
    """Posterior mean and variance by Bayes' rule for two normals, term by term."""
    values = {"train_steps": steps, "beta_start": start, "beta_end": end}
    schedule = make_schedule(DiffusionConfig.build(values, source="test"))
    betas = schedule.betas.tolist()
    alpha_bar = 1.0
    for t, beta in enumerate(betas):
        previous, alpha_bar = alpha_bar, alpha_bar * (1 - beta)
        assert schedule.alpha_bar[t].item() == pytest.approx(alpha_bar, rel=1e-9)
        if t == 0:
            assert schedule.posterior_x0[0].item() == pytest.approx(1, rel=1e-6)
            continue
        precision = (1 - beta) / beta + 1 / (1 - previous)
        assert schedule.posterior_log_variance[t].item() == pytest.approx(-np.log(precision), rel=1e-6)
        assert schedule.posterior_x_t[t].item() == pytest.approx(
            (1 - beta) ** 0.5 / beta / precision, rel=1e-6
        )
        assert schedule.posterior_x0[t].item() == pytest.approx(
            previous**0.5 / (1 - previous) / precision, rel=1e-6
        )


@given(t=st.integers(0, 999), seed=st.integers(0, 10))
def test_x0_noise_and_velocity_round_trip(t: int, seed: int) -> None:
    x0, eps = drawn(seed)
    steps = torch.tensor([t])
    x_t = add_noise(SCHEDULE, x0, eps, steps)
    v = velocity(SCHEDULE, x0, eps, steps)
    torch.testing.assert_close(eps_of_velocity(SCHEDULE, v, x_t, steps), eps, rtol=0, atol=1e-10)
    torch.testing.assert_close(x0_of_eps(SCHEDULE, eps, x_t, steps), x0, rtol=0, atol=1e-10)
    alpha_bar = SCHEDULE.alpha_bar[t]
    torch.testing.assert_close(alpha_bar.sqrt() * x_t - (1 - alpha_bar).sqrt() * v, x0, rtol=0, atol=1e-10)


@given(t=st.integers(0, 999))
def test_noise_and_velocity_are_rotations_of_x0_and_noise(t: int) -> None:
    """(x0, eps) -> (x_t, v) keeps x0² + eps²: signal and noise trade places without growing."""
    x0, eps = drawn(0)
    steps = torch.tensor([t])
    x_t, v = add_noise(SCHEDULE, x0, eps, steps), velocity(SCHEDULE, x0, eps, steps)
    torch.testing.assert_close(x_t**2 + v**2, x0**2 + eps**2, rtol=1e-12, atol=1e-12)


def test_each_sample_has_its_own_step() -> None:
    x0, eps = (x.expand(3, -1, -1, -1, -1) for x in drawn(0))
    t = torch.tensor([0, 500, 999])
    together = add_noise(SCHEDULE, x0, eps, t)
    for i in range(3):
        assert torch.equal(
            together[i : i + 1], add_noise(SCHEDULE, x0[i : i + 1], eps[i : i + 1], t[i : i + 1])
        )
    assert (together[0] - x0[0]).abs().max() < 0.05
    assert (together[2] - eps[2]).abs().max() < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lookup_takes_the_dtype_of_what_it_meets(dtype: torch.dtype) -> None:
    like = torch.zeros(2, 3, 4, dtype=dtype)
    found = lookup(SCHEDULE.alpha_bar, torch.tensor([1, 999]), like)
    assert found.shape == (2, 1, 1)
    assert found.dtype == dtype
    torch.testing.assert_close(found.flatten().double(), SCHEDULE.alpha_bar[[1, 999]], rtol=1e-2, atol=0)


def test_lookup_precision_rounds_the_table_first() -> None:
    like = torch.zeros(1, 2, dtype=torch.float64)

    def entry(precision: torch.dtype) -> float:
        return lookup(SCHEDULE.alpha_bar, torch.tensor([500]), like, precision=precision).item()

    exact = SCHEDULE.alpha_bar[500].item()
    assert entry(torch.float64) == exact
    assert entry(torch.float32) == float(np.float32(exact)) != exact


def test_tables_are_double() -> None:
    tables: dict[str, Any] = {name: getattr(SCHEDULE, name) for name in Schedule.__slots__}
    assert {table.dtype for table in tables.values()} == {torch.float64}
    assert all(torch.isfinite(table).all() for table in tables.values())
