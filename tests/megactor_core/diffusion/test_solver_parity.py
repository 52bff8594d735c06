"""Our solver is diffusers' DPM-Solver with PixArt-alpha's published settings; its tables are our schedule."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from megactor_core.config.model import DiffusionConfig
from megactor_core.diffusion.schedule import make_schedule
from megactor_core.diffusion.solver import Solver

EPS = DiffusionConfig.build({}, source="defaults")
# as PixArt-alpha publishes them with its weights in diffusers' layout
PIXART_SETTINGS: dict[str, Any] = {
    "algorithm_type": "dpmsolver++",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "dynamic_thresholding_ratio": 0.995,
    "euler_at_final": False,
    "lambda_min_clipped": -float("inf"),
    "lower_order_final": True,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "solver_order": 2,
    "solver_type": "midpoint",
    "steps_offset": 0,
    "thresholding": False,
    "timestep_spacing": "linspace",
    "trained_betas": None,
    "use_karras_sigmas": False,
    "use_lu_lambdas": False,
    "variance_type": None,
}


def test_schedule_parity() -> None:
    theirs, ours = DPMSolverMultistepScheduler(**PIXART_SETTINGS), make_schedule(EPS)
    np.testing.assert_allclose(theirs.betas.double(), ours.betas, rtol=1e-6)
    np.testing.assert_allclose(theirs.alphas_cumprod.double(), ours.alpha_bar, rtol=2e-5)


@pytest.mark.parametrize("steps", [1, 2, 4, 14, 20, 50])
@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_trajectory_parity(steps: int, prediction: str) -> None:
    """The same made-up network gives the same samples, also on five-dimensional latents."""
    theirs = DPMSolverMultistepScheduler(**PIXART_SETTINGS)
    if prediction == "v":
        theirs.register_to_config(prediction_type="v_prediction")
    theirs.set_timesteps(steps)
    ours = Solver(EPS.updated(prediction=prediction), steps=steps)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    start = torch.randn(2, 3, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    a, b, past = start, start.flatten(0, 1), None
    for step, t in enumerate(ours.timesteps):
        a, past = ours.step(torch.sin(a + t / 1000), a, step=step, past=past)
        b = theirs.step(torch.sin(b + t / 1000), t, b).prev_sample
    assert (a - start).abs().max() > 0.1
    # their tables are float32
    torch.testing.assert_close(a.flatten(0, 1), b, rtol=2e-5, atol=1e-5)
