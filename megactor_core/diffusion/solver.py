"""DPM-Solver++(2M) through diffusers, a part of the frames at a time.

The solver keeps one past estimate of the clean latents. Here the caller keeps it, so that a clip of any
length is stepped in parts and a run goes on where it stopped.
"""

from typing import Any

import torch
from torch import Tensor

from megactor_core.config.model import DiffusionConfig

ORDER = 2


def make_scheduler(config: DiffusionConfig, *, steps: int) -> Any:
    """The library's scheduler with PixArt-alpha's settings and its `timesteps` set."""
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=config.train_steps,
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        beta_schedule="linear",
        prediction_type="epsilon" if config.prediction == "eps" else "v_prediction",
        algorithm_type="dpmsolver++",
        solver_order=ORDER,
        solver_type="midpoint",
        lower_order_final=True,
        timestep_spacing="linspace",
    )
    scheduler.set_timesteps(steps)
    return scheduler


class Solver:
    """The sampler for latents of any shape.

    The variance half of the output must be cut off before `step` (see sampler.split_prediction): the
    library's own learned-variance mode slices three channels, as for RGB.
    """

    def __init__(self, config: DiffusionConfig, *, steps: int) -> None:
        self._scheduler: Any = make_scheduler(config, steps=steps)

    @property
    def timesteps(self) -> Tensor:
        """Time step of each solver step, falling: (steps,) int64."""
        return self._scheduler.timesteps

    def step(
        self, prediction: Tensor, latents: Tensor, *, step: int, past: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One step of any part of the frames: prediction and latents (..., C, H, W) of solver step `step`.

        `past` is what the step before returned second for these frames, None at the first step.
        Returns the next latents and the estimate of the clean latents to hand to the next step.
        """
        if (past is None) != (step == 0):
            raise ValueError(f"step {step} needs {'no' if step == 0 else 'a'} past estimate")
        scheduler = self._scheduler
        scheduler._step_index = step  # the library has no public way to go on in the middle
        scheduler.model_outputs = [None, past]
        scheduler.lower_order_nums = min(step, ORDER)
        with torch.no_grad():
            following = scheduler.step(prediction, self.timesteps[step], latents).prev_sample
        return following, scheduler.model_outputs[-1]
