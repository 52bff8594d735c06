"""PixArt-alpha's loss: golden numbers, regions left out, and which half of the output each term trains."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from megactor_core.config.model import DiffusionConfig
from megactor_core.diffusion.loss import (
    Losses,
    approximate_cdf,
    bin_log_likelihood,
    normal_kl,
    training_losses,
    weighted_mean,
)
from megactor_core.diffusion.schedule import add_noise, eps_of_velocity, make_schedule, velocity, x0_of_eps

EPS = DiffusionConfig.build({}, source="defaults")
EPS_ONLY = EPS.updated(learned_variance=False)
V = EPS.updated(prediction="v", learned_variance=False)
V_AND_VARIANCE = EPS.updated(prediction="v")
SCHEDULE = make_schedule(EPS)
STEPS = [0, 1, 10, 100, 500, 999]

# vb of PixArt-alpha's loss in bits at STEPS, for x0 = 0.5, eps = 1 and a constant (eps prediction, variance):
# float64 arithmetic with tables looked up in float32, as it does, and with float64 tables
FLOAT32_TABLES = {
    (0.0, 0.0): [2.4186815, 0.63271483, 0.10778413, 0.014581632, 0.0079523435, 0.014721978],
    (1.0, 0.0): [1.5071437, 0.049311522, 0.0018851184, 2.9315828e-5, 6.634298e-8, 4.6e-14],
    (0.9, -1.0): [1.3177287, 0.0086517154, 0.0011393862, 1.4684315e-4, 7.9556868e-5, 1.4721972e-4],
    (0.9, 1.0): [1.7198911, 0.17905885, 0.0083462879, 2.6112692e-4, 7.9753985e-5, 1.4721962e-4],
}
FLOAT64_TABLES = {
    (0.0, 0.0): [2.4186873, 0.63271304, 0.10778419, 0.01458163, 0.0079523424, 0.014721978],
    (1.0, 0.0): [1.5071436, 0.049311582, 0.001885117, 2.9315356e-5, 6.6314447e-8, 6.1e-14],
    (0.9, -1.0): [1.3177292, 0.0086514312, 0.0011393906, 1.4684303e-4, 7.9556869e-5, 1.4721984e-4],
    (0.9, 1.0): [1.7198917, 0.17905892, 0.0083462862, 2.6112494e-4, 7.9753887e-5, 1.4721972e-4],
}
GOLDENS = [
    (precision, inputs, t, value)
    for precision, table in ((torch.float32, FLOAT32_TABLES), (torch.float64, FLOAT64_TABLES))
    for inputs, row in table.items()
    for t, value in zip(STEPS, row, strict=True)
]


def drawn(
    *, rows: int = 2, frames: int = 3, channels: int = 4, side: int = 6
) -> tuple[Tensor, Tensor, Tensor]:
    """x0, eps (B, F, C, H, W) and an output with a variance half, float64 and repeatable."""
    generator = torch.Generator().manual_seed(0)
    shape = (rows, frames, channels, side, side)
    x0, eps = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    output = torch.randn(rows, frames, 2 * channels, side, side, generator=generator, dtype=torch.float64)
    return x0, eps, output


def losses(output: Tensor, x0: Tensor, eps: Tensor, t: Tensor, *, weight: Tensor | None = None) -> Losses:
    return training_losses(output, x0=x0, eps=eps, t=t, schedule=SCHEDULE, config=EPS, weight=weight)


# Golden numbers


@pytest.mark.parametrize(("precision", "inputs", "t", "value"), GOLDENS)
def test_vb_golden(precision: torch.dtype, inputs: tuple[float, float], t: int, value: float) -> None:
    shape = (1, 4, 2, 2)
    eps_half, variance_half = (torch.full(shape, number, dtype=torch.float64) for number in inputs)
    found = training_losses(
        torch.cat([eps_half, variance_half], dim=1),
        x0=torch.full(shape, 0.5, dtype=torch.float64),
        eps=torch.ones(shape, dtype=torch.float64),
        t=torch.tensor([t]),
        schedule=SCHEDULE,
        config=EPS,
        precision=precision,
    )
    # below 1e-9 nothing but rounding is left
    expected = pytest.approx(value, abs=1e-12) if value < 1e-9 else pytest.approx(value, rel=1e-6)
    assert found.vb.item() == expected
    assert found.mse.item() == pytest.approx((1 - inputs[0]) ** 2, abs=1e-12)
    assert found.loss.item() == found.mse.item() + found.vb.item()


# Regions


def test_full_weight_changes_nothing() -> None:
    x0, eps, output = drawn()
    t = torch.tensor([0, 700])
    plain, weighted = losses(output, x0, eps, t), losses(output, x0, eps, t, weight=torch.ones(2, 3, 1, 6, 6))
    for name in ("loss", "mse", "vb"):
        torch.testing.assert_close(getattr(weighted, name), getattr(plain, name), rtol=1e-12, atol=0)


def test_masked_loss_is_the_mean_over_what_is_kept() -> None:
    x0, eps, output = drawn()
    weight = torch.ones(2, 3, 1, 6, 6)
    weight[:, :, :, 3:] = 0
    t = torch.tensor([0, 700])
    cropped = losses(output[..., :3, :], x0[..., :3, :], eps[..., :3, :], t)
    masked = losses(output, x0, eps, t, weight=weight)
    for name in ("loss", "mse", "vb"):
        torch.testing.assert_close(getattr(masked, name), getattr(cropped, name), rtol=1e-12, atol=0)


@pytest.mark.parametrize("t", [0, 400])
def test_left_out_region_trains_neither_half(t: int) -> None:
    x0, eps, output = drawn()
    output.requires_grad_()
    weight = torch.ones(2, 3, 1, 6, 6)
    weight[:, 1:, :, 2:4, 1:5] = 0
    losses(output, x0, eps, torch.full((2,), t), weight=weight).loss.sum().backward()
    assert output.grad is not None
    left_out = (weight == 0).expand(2, 3, 4, 6, 6)
    for half in output.grad.chunk(2, dim=2):
        assert half[left_out].abs().max() == 0
        assert (half[~left_out] != 0).float().mean() > 0.9


def test_nothing_kept_is_zero_and_not_nan() -> None:
    """A sample whose whole picture is left out counts nothing and trains nothing; the others do."""
    x0, eps, output = drawn()
    output.requires_grad_()
    weight = torch.ones(2, 1, 1, 6, 6)
    weight[0] = 0
    found = losses(output, x0, eps, torch.tensor([5, 5]), weight=weight)
    found.loss.sum().backward()
    assert output.grad is not None
    assert found.loss[0] == 0
    assert found.loss[1] > 0
    assert output.grad[0].abs().max() == 0
    assert torch.isfinite(output.grad).all()


@given(keep=st.lists(st.booleans(), min_size=8, max_size=8))
def test_weighted_mean_ignores_what_is_left_out(keep: list[bool]) -> None:
    weight = torch.tensor(keep).view(1, 1, 2, 4)
    value = torch.arange(24.0, dtype=torch.float64).view(1, 3, 2, 4)
    kept = value[weight.expand_as(value)]
    expected = kept.mean() if len(kept) else torch.tensor(0.0).double()
    torch.testing.assert_close(weighted_mean(value, weight)[0], expected)
    spoiled = torch.where(weight, value, 1e9)
    torch.testing.assert_close(weighted_mean(spoiled, weight)[0], expected)


def test_samples_are_independent() -> None:
    x0, eps, output = drawn()
    t = torch.tensor([0, 700])
    together = losses(output, x0, eps, t)
    for i in range(2):
        alone = losses(output[i : i + 1], x0[i : i + 1], eps[i : i + 1], t[i : i + 1])
        torch.testing.assert_close(alone.loss, together.loss[i : i + 1], rtol=1e-12, atol=0)


# Which half learns from what


@pytest.mark.parametrize("config", [EPS, V_AND_VARIANCE], ids=["eps", "v"])
@pytest.mark.parametrize("t", [0, 400])
def test_vb_trains_the_variance_only(config: DiffusionConfig, t: int) -> None:
    x0, eps, output = drawn()
    output.requires_grad_()
    found = training_losses(output, x0=x0, eps=eps, t=torch.full((2,), t), schedule=SCHEDULE, config=config)
    gradient = torch.autograd.grad(found.vb.sum(), output, retain_graph=True)[0]
    prediction, variance = gradient.chunk(2, dim=2)
    assert prediction.abs().max() == 0
    assert (variance != 0).float().mean() > 0.9
    prediction, variance = torch.autograd.grad(found.mse.sum(), output)[0].chunk(2, dim=2)
    assert prediction.abs().min() > 0
    assert variance.abs().max() == 0


def test_variance_settles_between_its_bounds() -> None:
    """With a perfect mean the bound is least at the posterior's variance, fraction 0."""
    x0, eps, _ = drawn()

    def bound(fraction: float) -> float:
        variance = torch.full_like(eps, 2 * fraction - 1)
        return losses(torch.cat([eps, variance], dim=2), x0, eps, torch.tensor([3, 3])).vb[0].item()

    assert bound(0.0) == pytest.approx(0, abs=1e-12)
    assert bound(0.0) < bound(0.5) < bound(1.0)


def test_normal_kl_by_integration() -> None:
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    a = torch.distributions.Normal(torch.tensor(0.3).double(), torch.tensor(0.8).double())
    b = torch.distributions.Normal(torch.tensor(-0.5).double(), torch.tensor(1.5).double())
    integral = torch.trapezoid(a.log_prob(x).exp() * (a.log_prob(x) - b.log_prob(x)), x)
    numbers = [torch.tensor(n).double() for n in (0.3, 2 * math.log(0.8), -0.5, 2 * math.log(1.5))]
    torch.testing.assert_close(normal_kl(*numbers), integral, rtol=1e-8, atol=0)


@given(mean=st.floats(-1, 1), std=st.floats(0.05, 2))
def test_grey_levels_share_the_whole_probability(mean: float, std: float) -> None:
    """256 levels in [-1, 1], the outer ones reaching to infinity, sum to one."""
    levels = torch.linspace(-1, 1, 256, dtype=torch.float64)
    probability = bin_log_likelihood(levels, mean=torch.tensor(mean), log_std=torch.tensor(std).log()).exp()
    assert probability.sum().item() == pytest.approx(1, abs=1e-9)


@given(x=st.floats(-8, 8))
def test_approximate_cdf_is_close_to_normal(x: float) -> None:
    exact = 0.5 * (1 + math.erf(x / 2**0.5))
    assert approximate_cdf(torch.tensor(x, dtype=torch.float64)).item() == pytest.approx(exact, abs=3e-4)


# Velocity


@given(t=st.integers(0, 999))
def test_perfect_velocity_has_no_error_and_gives_x0(t: int) -> None:
    x0, eps, _ = drawn(rows=1)
    steps = torch.tensor([t])
    v = velocity(SCHEDULE, x0, eps, steps)
    found = training_losses(v, x0=x0, eps=eps, t=steps, schedule=SCHEDULE, config=V)
    assert found.mse.item() == found.loss.item() == found.vb.item() == 0
    x_t = add_noise(SCHEDULE, x0, eps, steps)
    recovered = x0_of_eps(SCHEDULE, eps_of_velocity(SCHEDULE, v, x_t, steps), x_t, steps)
    torch.testing.assert_close(recovered, x0, rtol=0, atol=1e-9)


def test_velocity_and_noise_have_the_same_bound() -> None:
    """The bound does not care how the mean was parameterised."""
    x0, eps, output = drawn()
    t = torch.tensor([0, 300])
    x_t = add_noise(SCHEDULE, x0, eps, t)
    eps_half, variance_half = output.chunk(2, dim=2)
    alpha_bar = SCHEDULE.alpha_bar[t].view(-1, 1, 1, 1, 1)
    v_half = (eps_half - (1 - alpha_bar).sqrt() * x_t) / alpha_bar.sqrt()
    as_v = training_losses(
        torch.cat([v_half, variance_half], dim=2),
        x0=x0, eps=eps, t=t, schedule=SCHEDULE, config=V_AND_VARIANCE,
    )  # fmt: skip
    torch.testing.assert_close(as_v.vb, losses(output, x0, eps, t).vb, rtol=1e-9, atol=0)


# Without a learned variance


def test_without_learned_variance_the_loss_is_the_error() -> None:
    x0, eps, output = drawn()
    found = training_losses(
        output[:, :, :4], x0=x0, eps=eps, t=torch.tensor([3, 900]), schedule=SCHEDULE, config=EPS_ONLY
    )
    expected = (output[:, :, :4] - eps).square().flatten(1).mean(1)
    torch.testing.assert_close(found.loss, expected)
    assert torch.equal(found.mse, found.loss)
    assert torch.equal(found.vb, torch.zeros(2).double())


def test_missing_variance_half_is_refused() -> None:
    x0, eps, output = drawn()
    with pytest.raises(ValueError, match=r"needs 8 channels, the output has 4"):
        losses(output[:, :, :4], x0, eps, torch.tensor([3, 900]))


def test_single_precision_stays_close() -> None:
    x0, eps, output = drawn()
    t = torch.tensor([10, 700])
    exact, single = losses(output, x0, eps, t), losses(output.float(), x0.float(), eps.float(), t)
    assert single.loss.dtype == torch.float32
    torch.testing.assert_close(single.loss.double(), exact.loss, rtol=1e-4, atol=0)
