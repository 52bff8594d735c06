"""How fast a run is: FLOPs of a sample, FLOPs a second, and their share of what the device can do."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

_SIDE = {"cpu": 1024, "cuda": 8192}
_OTHER_SIDE = 4096
_ROUNDS = 5
"""Products that the peak is measured with, and their side; the best round counts (ours)."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """Counted work against measured time. FLOPs are multiplications and additions, two for each pair."""

    sample_flops: int
    """Of one sample, forward and backward: see training.work."""
    peak_flops_per_second: float
    """Of all devices of the run together, in large matrix products."""

    def flops_per_second(self, samples_per_second: float) -> float:
        return self.sample_flops * samples_per_second

    def peak_share(self, samples_per_second: float) -> float:
        """The share of the devices' peak that goes into counted work (model FLOPs utilisation)."""
        return self.flops_per_second(samples_per_second) / self.peak_flops_per_second


@cache
def measure_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs a second of square matrix products on a device, measured once a process; well below a second.

    With the threads and the settings that the process has: no vendor's figure, but what a product of this
    kind reaches here and now.
    """
    side = _SIDE.get(device.type, _OTHER_SIDE)
    left, right = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(left)
    fastest = min(_seconds(lambda: torch.mm(left, right, out=out), device) for _ in range(_ROUNDS))
    return float(2 * side**3 / fastest)


def _seconds(work: Callable[[], Tensor], device: torch.device) -> float:
    _wait_for(device)
    start = time.perf_counter()
    work()
    _wait_for(device)
    return time.perf_counter() - start


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def in_words(flops: float) -> str:
    """`13.6 GFLOP`."""
    for unit, size in (("P", 1e15), ("T", 1e12), ("G", 1e9)):
        if flops >= size:
            return f"{flops / size:.3g} {unit}FLOP"
    return f"{flops / 1e6:.3g} MFLOP"
