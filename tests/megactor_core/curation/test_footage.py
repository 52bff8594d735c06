"""Footage: one decode for all who look, unless the frames are too many to hold."""

from collections.abc import Iterator

import numpy as np
import pytest

from megactor_core.curation.footage import Footage

FRAMES, FRAME_BYTES = 40, 4 * 4 * 3


class FakePart:
    """A clip of numbered frames with one damaged packet."""

    def __init__(self) -> None:
        self.decoded = 0

    def frames(self, *, video_fps: object, damaged: list[int]) -> Iterator[np.ndarray]:
        damaged.append(1)
        for number in range(FRAMES):
            self.decoded += 1
            yield np.full((4, 4, 3), number, np.uint8)


def footage(held_frames: int) -> tuple[Footage, FakePart]:
    part = FakePart()
    return Footage(part, sample_seconds=0.5, held_bytes=held_frames * FRAME_BYTES), part  # type: ignore[arg-type]


def numbers(frames: Iterator[np.ndarray] | Footage) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in frames]


@pytest.mark.parametrize(("held_frames", "decodes"), [(FRAMES, 1), (FRAMES - 1, 3), (0, 5)])
def test_frames_are_the_same_however_many_are_held(held_frames: int, decodes: int) -> None:
    clip, part = footage(held_frames)
    for _ in range(3):
        assert numbers(clip) == list(range(FRAMES))
    for _ in range(2):
        assert [(seconds, int(frame[0, 0, 0])) for seconds, frame in clip.sampled()] == [
            (0.0, 0),
            (0.48, 12),
            (1.0, 25),
            (1.52, 38),
        ]
    assert clip.decodes == decodes
    assert part.decoded == decodes * FRAMES
    assert clip.damaged_packets == 1


def test_sampled_frames_alone_decode_once() -> None:
    clip, _ = footage(FRAMES)
    assert len(list(clip.sampled())) == len(list(clip.sampled())) == 4
    assert clip.decodes == 1
