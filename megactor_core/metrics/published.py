"""Networks of metrics: filled from the files that their authors published, and run frame by frame.

The modules here carry the names and shapes of those files, so a file is read as it is; nothing in it is run.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from megactor_core.models.tensor_files import read_tensors, require_shapes
from megactor_core.models.undrawn import undrawn

N = TypeVar("N", bound=nn.Module)

GPU_BLOCK: Final = 16
"""Items that pass a network at once on a GPU (ours)."""
_COUNTER: Final = ".num_batches_tracked"
"""Of no use after training; some files have them, some do not."""


def fill(build: Callable[[], N], path: Path, *, entry: str) -> N:
    """The network with the weights of a published file: float32, on the CPU, ready to run.

    Raises WeightsError for a file that is missing, damaged, holds more than tensors, or does not have the
    network's names and shapes; the first that differs is named.
    """
    found = read_tensors(path, leave_out=_COUNTER)
    with undrawn():
        network = build()
    network.to_empty(device="cpu")
    own = network.state_dict()
    require_shapes(
        {name: tuple(value.shape) for name, value in found.items()},
        {name: tuple(value.shape) for name, value in own.items() if not name.endswith(_COUNTER)},
        source=path,
        fix=f"Get the published file: `megactor weights pull {entry}`.",
    )
    counters = {name: torch.zeros_like(value) for name, value in own.items() if name.endswith(_COUNTER)}
    network.load_state_dict({**found, **counters})
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def run(network: nn.Module, items: Iterable[Tensor], *, width: int) -> np.ndarray:
    """The network's rows of many items, which are made as they are needed: (N, width) float32.

    On the CPU each item passes alone and in one thread, since some layers round otherwise in company or in
    several threads: the bits of a row do not depend on what came with it, nor on the machine's cores. Work is
    spread over cores by clips. On a GPU GPU_BLOCK pass together, without TF32.
    """
    device = next(network.eval().parameters()).device
    rows = []
    with _exact(device):
        for block in _blocks(items, 1 if device.type == "cpu" else GPU_BLOCK):
            rows.append(network(torch.stack(block).to(device)).float().cpu().numpy())
    return np.concatenate([np.zeros((0, width), np.float32), *rows])


def _blocks(items: Iterable[Tensor], size: int) -> Iterator[list[Tensor]]:
    remaining = iter(items)
    while block := list(islice(remaining, size)):
        yield block


@contextmanager
def _exact(device: torch.device) -> Iterator[None]:
    if device.type == "cuda":
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
