"""How the benchmarks measure: process CPU time of one thread, interleaved, beside a control of equals.

Wall time on a shared machine says little: a program timed against itself came out anywhere between half and
twice itself. CPU time repeats to a few per cent, and the control says whether it did this time.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

ROUNDS = 9
CONTROL_TOLERANCE = 0.03
"""Two measurements of the same work may differ by this share; beyond it the machine was too noisy."""

Seconds = dict[str, list[float]]


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of the process, all its threads together, for one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def interleaved(works: Mapping[str, Callable[[], object]], *, rounds: int = ROUNDS) -> Seconds:
    """CPU seconds of each work in each round; every round runs all of them, beginning with another one.

    One thread, and a round before the first that is not kept.
    """
    torch.set_num_threads(1)
    names = list(works)
    seconds: Seconds = {name: [] for name in names}
    with torch.no_grad():
        for i in range(-1, rounds):
            start = i % len(names)
            for name in names[start:] + names[:start]:
                taken = cpu_seconds(works[name])
                if i >= 0:
                    seconds[name].append(taken)
    return seconds


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def spread(above: Sequence[float], below: Sequence[float]) -> str:
    """The quartiles of the rounds' ratios, to print beside their median."""
    low, _, high = statistics.quantiles([a / b for a, b in zip(above, below, strict=True)], n=4)
    return f"{low:.3f} to {high:.3f}"
