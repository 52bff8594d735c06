"""AdamW, its learning rate over the run, and the moving average of the weights."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from megactor_core.config.train import OptimiserConfig, TrainConfig
from megactor_core.training.sharding import copy_into, own_part


def make_optimiser(parameters: Mapping[str, nn.Parameter], config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over the parameters, in their order."""
    settings = config.optimiser
    return torch.optim.AdamW(
        list(parameters.values()),
        lr=config.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        weight_decay=settings.weight_decay,
    )


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """The learning rate of step 0 ... steps - 1: it rises, stays, and falls where `decay` says so.

    It depends on the step alone, so that nothing about it needs to be kept in a checkpoint.
    """
    settings = config.optimiser
    rise = min(1.0, (step + 1) / (settings.warmup_steps + 1))
    return config.learning_rate * rise * _fall(step, settings, steps=config.steps)


def _fall(step: int, settings: OptimiserConfig, *, steps: int) -> float:
    falling = settings.decay_share * steps
    progress = max(0.0, (step - (steps - falling)) / falling)
    match settings.decay:
        case "none":
            return 1.0
        case "linear":
            return 1 - progress
        case "cosine":
            return (1 + math.cos(math.pi * progress)) / 2


class MovingAverage:
    """Exponential moving average of parameters; `weights` are by name, in float32."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], *, decay: float) -> None:
        self._parameters = parameters
        self._decay = decay
        self.weights = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters after `step` steps; the first ones count more (EmaConfig.decay)."""
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages(), self._values(), share)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Go on with saved averages of the same names."""
        copy_into(self.weights, weights)

    def _averages(self) -> list[Tensor]:
        return [own_part(average) for average in self.weights.values()]

    def _values(self) -> list[Tensor]:
        return [own_part(parameter.detach()) for parameter in self._parameters.values()]
