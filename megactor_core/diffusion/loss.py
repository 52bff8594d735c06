"""The training loss of PixArt-alpha, "KL loss and MSE loss" [P]: mean squared error plus variational bound.

Shape legend:  B samples   ... any dimensions, the channels at dimension -3   C latent channels
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from megactor_core.config.model import DiffusionConfig
from megactor_core.diffusion.schedule import (
    Schedule,
    add_noise,
    eps_of_velocity,
    lookup,
    velocity,
    x0_of_eps,
)

BIN = 1 / 255  # half width of a grey level in [-1, 1], as for pictures; PixArt-alpha keeps it for latents
EDGE = 0.999  # beyond it a grey level's bin reaches to infinity


@dataclass(frozen=True, slots=True)
class Losses:
    """Loss of each sample, (B,) each; vb is zero where the variance is not learned."""

    loss: Tensor
    mse: Tensor
    vb: Tensor


def training_losses(
    output: Tensor,
    *,
    x0: Tensor,
    eps: Tensor,
    t: Tensor,
    schedule: Schedule,
    config: DiffusionConfig,
    weight: Tensor | None = None,
    precision: torch.dtype = torch.float64,
) -> Losses:
    """MSE + vb of a model output at x_t = add_noise(x0, eps, t).

    output (B, ..., C or 2 C, H, W), x0 and eps (B, ..., C, H, W), t (B,) int. `weight` broadcasts over x0
    with one channel: 0 leaves a region out, and each sample is normalised by what it keeps. The mean is
    detached inside vb, so vb trains the variance only. `precision`: see schedule.lookup.
    """
    channels = x0.shape[-3]
    x_t = add_noise(schedule, x0, eps, t, precision=precision)
    prediction = output[..., :channels, :, :]
    target = eps if config.prediction == "eps" else velocity(schedule, x0, eps, t)
    mse = weighted_mean((prediction - target) ** 2, weight)
    if not config.learned_variance:
        return Losses(loss=mse, mse=mse, vb=torch.zeros_like(mse))
    if output.shape[-3] != 2 * channels:
        raise ValueError(
            f"a learned variance needs {2 * channels} channels, the output has {output.shape[-3]}"
        )
    mean = prediction.detach()
    if config.prediction == "v":
        mean = eps_of_velocity(schedule, mean, x_t, t)
    bound = variational_bound(
        mean, output[..., channels:, :, :], x0=x0, x_t=x_t, t=t, schedule=schedule, precision=precision
    )
    vb = weighted_mean(bound, weight)
    return Losses(loss=mse + vb, mse=mse, vb=vb)


def weighted_mean(value: Tensor, weight: Tensor | None) -> Tensor:
    """Mean over all but the first dimension of what `weight` keeps, (B,); 0 where it keeps nothing."""
    if weight is None:
        return value.flatten(1).mean(1)
    weight = weight.expand_as(value).to(value.dtype)
    kept = weight.flatten(1).sum(1)
    return (value * weight).flatten(1).sum(1) / kept.clamp(min=1e-12)


def variational_bound(
    eps: Tensor,
    variance: Tensor,
    *,
    x0: Tensor,
    x_t: Tensor,
    t: Tensor,
    schedule: Schedule,
    precision: torch.dtype = torch.float64,
) -> Tensor:
    """The bound's term at t in bits, elementwise: KL of the posteriors, at t = 0 the likelihood of x0.

    `variance` in [-1, 1] interpolates log variances between the posterior's and beta (learned range).
    """

    def at(table: Tensor) -> Tensor:
        return lookup(table, t, x0, precision=precision)

    small, large = at(schedule.posterior_log_variance), at(schedule.betas.log())
    fraction = (variance + 1) / 2
    log_variance = fraction * large + (1 - fraction) * small
    predicted_x0 = x0_of_eps(schedule, eps, x_t, t, precision=precision)
    true_mean = at(schedule.posterior_x0) * x0 + at(schedule.posterior_x_t) * x_t
    mean = at(schedule.posterior_x0) * predicted_x0 + at(schedule.posterior_x_t) * x_t

    divergence = normal_kl(true_mean, small, mean, log_variance)
    likelihood = -bin_log_likelihood(x0, mean=mean, log_std=log_variance / 2)
    first = (t == 0).view(-1, *([1] * (x0.ndim - 1)))
    return torch.where(first, likelihood, divergence) / math.log(2)


def normal_kl(mean_a: Tensor, log_variance_a: Tensor, mean_b: Tensor, log_variance_b: Tensor) -> Tensor:
    """KL(a || b) of normal distributions in nats, elementwise."""
    ratio = log_variance_a - log_variance_b
    return 0.5 * (-1 - ratio + ratio.exp() + (mean_a - mean_b) ** 2 * (-log_variance_b).exp())


def bin_log_likelihood(x: Tensor, *, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log probability of the grey level around x under a normal distribution, elementwise."""
    scale = (-log_std).exp()
    above = approximate_cdf(scale * (x - mean + BIN))
    below = approximate_cdf(scale * (x - mean - BIN))
    probability = torch.where(x < -EDGE, above, torch.where(x > EDGE, 1 - below, above - below))
    return probability.clamp(min=1e-12).log()


def approximate_cdf(x: Tensor) -> Tensor:
    """The tanh approximation of the normal distribution function that PixArt-alpha uses."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
