"""The solver: its steps, recovery of a known picture, a clip in parts, and its ends."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from megactor_core.config.model import DiffusionConfig
from megactor_core.diffusion.schedule import add_noise, make_schedule, velocity
from megactor_core.diffusion.solver import Solver

EPS = DiffusionConfig.build({}, source="defaults")
V = EPS.updated(prediction="v")
SCHEDULE = make_schedule(EPS)
LATENTS = (1, 2, 4, 6, 6)


def sample(solver: Solver, start: Tensor, predict: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    x, past = start, None
    for step, t in enumerate(solver.timesteps):
        x, past = solver.step(predict(x, t), x, step=step, past=past)
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
    steps = Solver(EPS, steps=20).timesteps.tolist()
    assert steps == list(range(999, 500, -50)) + list(range(500, 0, -50))


@given(steps=st.integers(1, 100))
@settings(max_examples=25)
def test_steps_fall_from_the_noisiest(steps: int) -> None:
    timesteps = Solver(EPS, steps=steps).timesteps.tolist()
    assert len(timesteps) == steps
    assert timesteps[0] == 999
    assert all(a > b >= 0 for a, b in pairwise(timesteps))


def test_short_schedules_scale() -> None:
    solver = Solver(EPS.updated(train_steps=100), steps=4)
    assert solver.timesteps.tolist()[0] == 99


# Recovery


@pytest.mark.parametrize("config", [EPS, V], ids=["eps", "v"])
@pytest.mark.parametrize("steps", [4, 20])
def test_oracle_recovers_x0(config: DiffusionConfig, steps: int) -> None:
    x0 = torch.randn(LATENTS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = torch.randn(LATENTS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    start = add_noise(SCHEDULE, x0, noise, torch.tensor([999]))
    found = sample(Solver(config, steps=steps), start, oracle(x0, config))
    torch.testing.assert_close(found, x0, rtol=0, atol=1e-4)


def test_wrong_kind_of_prediction_does_not_recover_x0() -> None:
    """The solver and the network must agree on what is predicted; the test above can tell."""
    x0 = torch.full(LATENTS, 0.5, dtype=torch.float64)
    start = add_noise(SCHEDULE, x0, torch.ones_like(x0), torch.tensor([999]))
    found = sample(Solver(V, steps=20), start, oracle(x0, EPS))
    assert (found - x0).abs().max() > 0.01


# Parts and ends


@pytest.mark.parametrize("prediction", ["eps", "v"])
@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_parts_and_a_fresh_solver_each_step_equal_one_run(prediction: str, steps: int) -> None:
    config = DiffusionConfig(prediction=prediction)
    generator = torch.Generator().manual_seed(0)
    predictions = torch.randn(steps, 7, 4, 8, 8, generator=generator)
    start = torch.randn(7, 4, 8, 8, generator=generator)

    whole, expected, past = Solver(config, steps=steps), start, None
    for step in range(steps):
        expected, past = whole.step(predictions[step], expected, step=step, past=past)

    latents, past = start, None
    for step in range(steps):
        solver = Solver(config, steps=steps)  # as after a restart
        parts = [
            solver.step(
                predictions[step, part],
                latents[part],
                step=step,
                past=None if past is None else past[part],
            )
            for part in (slice(0, 3), slice(3, 7))
        ]
        latents = torch.cat([following for following, _ in parts])
        past = torch.cat([estimate for _, estimate in parts])
    assert torch.equal(latents, expected)


def test_the_past_must_fit_the_step() -> None:
    solver, x = Solver(DiffusionConfig(), steps=2), torch.zeros(1, 4, 8, 8)
    with pytest.raises(ValueError, match="step 1 needs a past"):
        solver.step(x, x, step=1, past=None)
    with pytest.raises(ValueError, match="step 0 needs no past"):
        solver.step(x, x, step=0, past=x)


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_the_last_step_is_the_estimate_of_the_clean_latents(prediction: str) -> None:
    solver = Solver(DiffusionConfig(prediction=prediction), steps=3)
    generator = torch.Generator().manual_seed(1)
    predicted, latents, past = torch.randn(3, 2, 4, 4, 4, generator=generator)
    following, estimate = solver.step(predicted, latents, step=2, past=past)
    torch.testing.assert_close(following, estimate)


def test_a_repeated_time_step_stays_finite() -> None:
    solver = Solver(DiffusionConfig(), steps=1000)
    assert (solver.timesteps.diff() == 0).any(), "999 gaps and 1000 steps: one time step comes twice"
    latents, past = torch.ones(1, 4, 2, 2), None
    for step in range(1000):
        latents, past = solver.step(0.1 * latents, latents, step=step, past=past)
    assert latents.isfinite().all()
