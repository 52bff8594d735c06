"""DPM-Solver++(2M), a part of the frames at a time (Lu et al. 2022, algorithm 2; PixArt-alpha's settings).

x clean latents, x_t noisy ones; alpha_t = sqrt(alpha_bar), sigma_t = sqrt(1 - alpha_bar), lambda =
log(alpha_t / sigma_t), h the step in lambda. The second-order method keeps one past estimate of x. Here the
caller keeps it, so that a clip of any length is stepped in parts and a run goes on where it stopped.

diffusers' DPMSolverMultistepScheduler gives the same numbers (the tests compare), but keeps the past itself,
and its import alone takes as long as animating a second of video.
"""

import math

import torch
from torch import Tensor

from megactor_core.config.model import DiffusionConfig
from megactor_core.diffusion.schedule import make_schedule


class Solver:
    """The sampler for latents of any shape.

    The variance half of the output must be cut off before `step` (see sampler.split_prediction).
    """

    def __init__(self, config: DiffusionConfig, *, steps: int) -> None:
        self._prediction = config.prediction
        last = config.train_steps - 1
        self.timesteps = torch.linspace(0, last, steps + 1, dtype=torch.float64).round().long().flip(0)[:-1]
        """Time step of each solver step, falling: (steps,) int64."""
        alpha_bar = make_schedule(config).alpha_bar[self.timesteps]
        alpha_bar = torch.cat([alpha_bar, alpha_bar.new_ones(1)])  # the last step ends at clean latents
        self._alpha: list[float] = alpha_bar.sqrt().tolist()
        self._sigma: list[float] = (1 - alpha_bar).sqrt().tolist()
        self._h: list[float] = ((alpha_bar / (1 - alpha_bar)).log() / 2).diff().tolist()

    def step(
        self, prediction: Tensor, latents: Tensor, *, step: int, past: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One step of any part of the frames: prediction and latents (..., C, H, W) of solver step `step`.

        `past` is what the step before returned second for these frames, None at the first step.
        Returns the next latents and the estimate of the clean latents to hand to the next step.
        """
        if (past is None) != (step == 0):
            raise ValueError(f"step {step} needs {'no' if step == 0 else 'a'} past estimate")
        clean = estimate = self._clean(prediction, latents, step=step)
        if past is not None and self._second_order(step):
            clean = estimate + (estimate - past) * (self._h[step] / self._h[step - 1] / 2)
        decay = -math.expm1(-self._h[step])
        shrink = self._sigma[step + 1] / self._sigma[step]
        return shrink * latents + self._alpha[step + 1] * decay * clean, estimate

    def _clean(self, prediction: Tensor, x_t: Tensor, *, step: int) -> Tensor:
        """The clean latents that a prediction at x_t implies."""
        alpha, sigma = self._alpha[step], self._sigma[step]
        if self._prediction == "v":
            return alpha * x_t - sigma * prediction
        return (x_t - sigma * prediction) / alpha

    def _second_order(self, step: int) -> bool:
        """Not at the last step, whose h is infinite; nor after a step of no length (1000 steps have one)."""
        return step + 1 < len(self.timesteps) and self._h[step - 1] > 0
