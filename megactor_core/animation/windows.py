"""Windows of frames for clips of any length."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

Span = tuple[int, int]
"""First frame and the frame after the last."""


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


def batches(spans: Sequence[Span], *, count: int) -> Iterator[list[Span]]:
    """Group up to `count` windows of equal length, to be denoised at once."""
    by_length: dict[int, list[Span]] = {}
    for span in spans:
        by_length.setdefault(span[1] - span[0], []).append(span)
    for group in by_length.values():
        for start in range(0, len(group), count):
            yield group[start : start + count]
