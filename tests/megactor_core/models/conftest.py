"""Small models with every weight drawn, so that no branch is silent."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from megactor_core.config.model import ModelConfig


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def nano() -> ModelConfig:
    return ModelConfig.preset("nano")


@pytest.fixture
def randomised() -> Callable[[nn.Module], nn.Module]:
    """Draw all parameters, the zero-initialised ones too, at a scale that keeps activations near one."""

    def randomise(module: nn.Module) -> nn.Module:
        with torch.no_grad():
            for parameter in module.parameters():
                fan_in = parameter[0].numel() if parameter.ndim > 1 else 25
                parameter.normal_(std=fan_in**-0.5)
        return module.eval()

    return randomise
