"""Modules without numbers: what they look like, and what making them does not load."""

import subprocess
import sys

import torch
from torch import nn

from megactor_core.config.model import ModelConfig
from megactor_core.models.sigma import Sigma
from megactor_core.models.undrawn import undrawn


def test_same_names_and_shapes_as_drawn_and_no_storage() -> None:
    config = ModelConfig.preset("nano")
    with undrawn():
        empty = Sigma(config)
    drawn = Sigma(config)
    assert all(p.is_meta for p in (*empty.parameters(), *empty.buffers()))
    assert {n: (p.shape, p.dtype) for n, p in empty.state_dict().items()} == {
        n: (p.shape, p.dtype) for n, p in drawn.state_dict().items()
    }


def test_ends_with_the_block() -> None:
    with undrawn():
        pass
    layer = nn.Linear(3, 3)
    assert layer.weight.device == torch.device("cpu")
    assert layer.weight.abs().sum() > 0


LOADS = """
import sys
from megactor_core.models.checkpoint import EMBEDDED, load_checkpoint
load_checkpoint(EMBEDDED)
from megactor_core.animation import animate
from megactor_core.diffusion.solver import Solver
from megactor_core.config.model import DiffusionConfig
Solver(DiffusionConfig(), steps=4)
print(*sorted({"torch._dynamo", "sympy", "diffusers", "scipy.stats", "transformers"} & set(sys.modules)))
"""


def test_reading_a_checkpoint_and_sampling_load_no_compiler_and_no_model_zoo() -> None:
    """Each of them takes up to a second to load, of every run."""
    found = subprocess.run([sys.executable, "-c", LOADS], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
