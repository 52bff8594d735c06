"""The noise schedule and the arithmetic between clean latents, noise and velocity: pure functions.

Symbols are those of DDPM: beta, alpha_bar; x0 clean, x_t noisy at step t, eps noise,
v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from megactor_core.config.model import DiffusionConfig


@dataclass(frozen=True, slots=True)
class Schedule:
    """Tables over the time steps, (T,) float64 each.

    posterior_*: of q(x_{t-1} | x_t, x0). posterior_log_variance is clipped: its first entry, minus infinity,
    repeats the second.
    """

    betas: Tensor
    alpha_bar: Tensor
    posterior_log_variance: Tensor
    posterior_x0: Tensor
    posterior_x_t: Tensor

    @property
    def steps(self) -> int:
        return len(self.betas)


def make_schedule(config: DiffusionConfig) -> Schedule:
    """Linear betas (PixArt-alpha: 1e-4 to 0.02 in 1000 steps) and what follows from them."""
    betas = torch.linspace(config.beta_start, config.beta_end, config.train_steps, dtype=torch.float64)
    alphas = 1 - betas
    alpha_bar = alphas.cumprod(0)
    previous = torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    variance = betas * (1 - previous) / (1 - alpha_bar)
    return Schedule(
        betas=betas,
        alpha_bar=alpha_bar,
        posterior_log_variance=torch.cat([variance[1:2], variance[1:]]).log(),
        posterior_x0=betas * previous.sqrt() / (1 - alpha_bar),
        posterior_x_t=(1 - previous) * alphas.sqrt() / (1 - alpha_bar),
    )


def lookup(table: Tensor, t: Tensor, like: Tensor, *, precision: torch.dtype = torch.float64) -> Tensor:
    """table[t] in the dtype of `like`, shaped (B, 1, ...) to broadcast over it.

    `precision` rounds the entry first: PixArt-alpha looks its tables up in float32.
    """
    values = table.to(t.device)[t].to(precision).to(like.dtype)
    return values.view(-1, *([1] * (like.ndim - 1)))


def add_noise(
    schedule: Schedule, x0: Tensor, eps: Tensor, t: Tensor, *, precision: torch.dtype = torch.float64
) -> Tensor:
    """x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps, for t (B,) over x0 (B, ...)."""
    signal = lookup(schedule.alpha_bar.sqrt(), t, x0, precision=precision)
    return signal * x0 + lookup((1 - schedule.alpha_bar).sqrt(), t, x0, precision=precision) * eps


def velocity(schedule: Schedule, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """The target of v-prediction."""
    alpha_bar = lookup(schedule.alpha_bar, t, x0)
    return alpha_bar.sqrt() * eps - (1 - alpha_bar).sqrt() * x0


def eps_of_velocity(schedule: Schedule, v: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """The noise that a velocity at x_t implies."""
    alpha_bar = lookup(schedule.alpha_bar, t, v)
    return alpha_bar.sqrt() * v + (1 - alpha_bar).sqrt() * x_t


def x0_of_eps(
    schedule: Schedule, eps: Tensor, x_t: Tensor, t: Tensor, *, precision: torch.dtype = torch.float64
) -> Tensor:
    """The clean latents that a noise at x_t implies."""
    scale = lookup((1 / schedule.alpha_bar).sqrt(), t, eps, precision=precision)
    return scale * x_t - lookup((1 / schedule.alpha_bar - 1).sqrt(), t, eps, precision=precision) * eps
