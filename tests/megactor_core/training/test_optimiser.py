"""The learning rate over a run, and the moving average."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from megactor_core.config.train import TrainConfig
from megactor_core.training.optimiser import MovingAverage, learning_rate_at


def rates(**settings) -> list[float]:
    config = TrainConfig(stage=1, steps=100, learning_rate=1.0, optimiser=settings)
    return [learning_rate_at(step, config) for step in range(100)]


def test_a_constant_rate_is_constant() -> None:
    assert rates() == [1.0] * 100


def test_the_rate_rises_in_equal_parts() -> None:
    assert rates(warmup_steps=4)[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_the_rate_falls_over_its_share_of_the_run(decay) -> None:
    found = rates(decay=decay, decay_share=0.4)
    assert found[:61] == [1.0] * 61
    assert found[80] == pytest.approx(0.5)
    assert all(later < earlier for earlier, later in pairwise(found[60:]))
    assert 0 < found[99] < 0.03


def test_the_average_of_many_steps_is_exponential() -> None:
    weight = nn.Parameter(torch.zeros(1))
    average = MovingAverage({"w": weight}, decay=0.5)
    values = [float(step % 7) for step in range(40)]
    for step, value in enumerate(values):
        with torch.no_grad():
            weight.fill_(value)
        average.update(step)
    wanted = sum(0.5 ** (age + 1) * value for age, value in enumerate(reversed(values[-25:])))
    assert float(average.weights["w"]) == pytest.approx(wanted, abs=1e-4)


def test_the_start_is_soon_forgotten() -> None:
    weight = nn.Parameter(torch.full((1,), 100.0))
    average = MovingAverage({"w": weight}, decay=0.9999)
    with torch.no_grad():
        weight.zero_()
    for step in range(30):
        average.update(step)
    assert float(average.weights["w"]) < 1e-3
