"""Strips of frames: side by side, small, and never larger than they may be."""

import cv2
import numpy as np
import pytest

from megactor_core.pages.pictures import frame_strip


def decoded(coded: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(picture)[..., ::-1]


def test_frames_stand_side_by_side_in_their_colours() -> None:
    red, blue = np.zeros((90, 120, 3), np.uint8), np.zeros((200, 100, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    strip = decoded(frame_strip([red, blue], height_px=96, most_bytes=10_000))
    assert strip.shape == (96, 128 + 48, 3)
    assert strip[48, 60, 0] > 200 > 60 > strip[48, 60, 2]
    assert strip[48, 150, 2] > 200 > 60 > strip[48, 150, 0]


@pytest.mark.parametrize("shape", [(400, 700), (1, 5000), (5000, 1), (8, 8)])
def test_any_picture_fits(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng([1]).integers(0, 256, (*shape, 3), dtype=np.uint8)
    strip = frame_strip([noise] * 3, height_px=96, most_bytes=3000)
    assert len(strip) <= 3000
    assert decoded(strip).shape[1] <= 3 * 2 * 96
