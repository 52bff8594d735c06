"""Stepping in parts, with the past handed in, is the library's own run bit for bit."""

import pytest
import torch

from megactor_core.config.model import DiffusionConfig
from megactor_core.diffusion.solver import Solver, make_scheduler


@pytest.mark.parametrize("prediction", ["eps", "v"])
@pytest.mark.parametrize("steps", [1, 2, 3, 14, 20])
def test_parts_and_a_fresh_solver_each_step_equal_one_run(prediction: str, steps: int) -> None:
    config = DiffusionConfig(prediction=prediction)
    generator = torch.Generator().manual_seed(0)
    predictions = torch.randn(steps, 7, 4, 8, 8, generator=generator)
    start = torch.randn(7, 4, 8, 8, generator=generator)

    library, expected = make_scheduler(config, steps=steps), start
    for step, t in enumerate(library.timesteps):
        expected = library.step(predictions[step], t, expected).prev_sample

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
