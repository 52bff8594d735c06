"""Windows of frames for clips of any length."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from megactor_core.config.animate import WindowConfig

Span = tuple[int, int]
"""First frame and the frame after the last."""


def step_windows(frames: int, config: WindowConfig, *, step: int) -> list[Span]:
    """The windows of a solver step, in order; together they hold every frame."""
    if config.scheme == "overlap":
        return overlapping_windows(frames, size=config.frames, overlap=config.overlap)
    return windows(frames, size=config.frames, offset=step * config.shift)


def windows(frames: int, *, size: int, offset: int) -> list[Span]:
    """Cut `frames` frames into consecutive windows of at most `size`, with a border at `offset` modulo size.

    Every frame lies in exactly one window; only the first and the last may be shorter. A clip that fits one
    window is one window whatever the offset. Moving the offset from step to step averages the seams out at
    no cost [R].
    """
    if frames <= size:
        return [(0, frames)]
    borders = [0, *range(offset % size or size, frames, size), frames]
    return list(pairwise(borders))


def overlapping_windows(frames: int, *, size: int, overlap: int) -> list[Span]:
    """Windows of `size` frames that share `overlap` frames; the last one ends with the clip."""
    if frames <= size:
        return [(0, frames)]
    starts = [*range(0, frames - size, size - overlap), frames - size]
    return [(start, start + size) for start in starts]


def blend_weights(spans: Sequence[Span]) -> list[np.ndarray]:
    """Weight of each window at each of its frames, (length,) float32: they add up to one at every frame.

    A window counts most in its middle and fades towards its ends, so that no seam shows; side by side,
    windows weigh one everywhere.
    """
    total = np.zeros(spans[-1][1])
    raw = []
    for start, stop in spans:
        distance = np.arange(1, stop - start + 1)
        raw.append(np.minimum(distance, distance[::-1]).astype(np.float64))
        total[start:stop] += raw[-1]
    return [
        (weight / total[start:stop]).astype(np.float32)
        for weight, (start, stop) in zip(raw, spans, strict=True)
    ]


def of_equal_length(spans: Sequence[Span]) -> list[list[Span]]:
    """The windows in groups of one length each, of which any may be denoised at once."""
    by_length: dict[int, list[Span]] = {}
    for span in spans:
        by_length.setdefault(span[1] - span[0], []).append(span)
    return list(by_length.values())


def noise_numbers(frames: int, *, size: int, stride: int, seed: int) -> list[int]:
    """FreeNoise: the number of the noise that each frame uses.

    The first window's noise is its own; after it each next `stride` frames use those of `size` frames
    earlier in a new order, so that distant frames share noise and any window holds `size` different ones.
    """
    numbers = list(range(min(frames, size)))
    while len(numbers) < frames:
        start = len(numbers) - size
        shuffle = np.random.Generator(np.random.Philox(key=[seed, start]))
        numbers += shuffle.permutation(numbers[start : start + stride]).tolist()
    return numbers[:frames]
