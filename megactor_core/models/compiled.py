"""The denoiser's blocks compiled: one region, compiled once for each kind of block and of shape.

A whole model would be compiled for minutes; blocks of one kind share their code, with weights as inputs. Sums
are then taken in another order, so that results differ by rounding (docs/performance.md says by how much).
"""

from typing import Final

import torch

from megactor_core.errors import ConfigError, first_line
from megactor_core.models.sigma import Sigma

KINDS: Final = 64
"""Room for all kinds of a block: temporal or not, with reference and mask or without, each at some lengths.
What finds no room runs as it was written, and torch's own 8 are too few."""


def compile_blocks(sigma: Sigma, device: torch.device) -> None:
    """Compile the blocks of the Denoising Transformer when they first run, on this device.

    The first shape gets code of its own; where windows of another length follow, code for any length.
    Raises ConfigError where nothing can be compiled for the device: a CPU wants a C++ compiler, CUDA Triton.
    """
    _require_compiler(device)
    for block in sigma.denoiser.blocks:
        block.compile(recompile_limit=KINDS)


def _require_compiler(device: torch.device) -> None:
    """Compile one sum: what is missing shows here, and not in the middle of the first step."""
    try:
        torch.compile(torch.add)(torch.ones(2, device=device), torch.ones(2, device=device))
    except Exception as error:  # the compiler's errors have no public base
        raise ConfigError(
            f"compile = true, but nothing can be compiled for {device}: {first_line(error)}",
            fix="Leave it out; or install a C++ compiler (for a CPU), or Triton (for CUDA).",
        ) from None
