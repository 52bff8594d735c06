"""The few frames that a pair keeps: evenly spaced, few while it is read, the same however they come."""

import cv2
import numpy as np
import pytest

from megactor_core.evaluation.meters import Block
from megactor_core.evaluation.strips import FRAMES, MOST_BYTES, TILE_PX, Strip, StripKeeper


def kept(count: int, *, block: int = 7, height: int = 32, width: int = 32) -> dict[str, np.ndarray]:
    """Of clips whose frame k is of grey k (real) and 255 - k (generated), counted round."""
    keeper = StripKeeper()
    for start in range(0, count, block):
        greys = (np.arange(start, min(start + block, count)) % 256).astype(np.uint8)
        frames = np.broadcast_to(greys[:, None, None, None], (len(greys), height, width, 3))
        keeper.add(Block(real=frames, generated=255 - frames))
    return keeper.arrays()


def strip_of(arrays: dict[str, np.ndarray]) -> Strip:
    strip = Strip.of_arrays(arrays)
    assert strip is not None
    return strip


def picture(coded: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR))


@pytest.mark.parametrize("count", [6, 7, 48, 49, 97, 250, 10_000])
def test_frames_are_evenly_spaced_to_the_end(count: int) -> None:
    frames = np.array(strip_of(kept(count, block=100)).frames)
    assert len(frames) == FRAMES
    assert frames[0] == 0
    even = np.linspace(0, count - 1, FRAMES)
    assert np.abs(frames - even).max() <= max(1.0, count / 20)


def test_a_short_clip_gives_all_its_frames() -> None:
    assert strip_of(kept(2)).frames == (0, 1)
    assert Strip.of_arrays(kept(0)) is None


def test_how_many_frames_come_at_once_changes_nothing() -> None:
    first, second = kept(130, block=1), kept(130, block=64)
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])


def test_few_frames_wait_whatever_the_length() -> None:
    keeper, most = StripKeeper(), 0
    frames = np.zeros((10, 8, 8, 3), np.uint8)
    for _ in range(100):
        keeper.add(Block(real=frames, generated=frames))
        most = max(most, len(keeper._kept))
    assert most <= 8 * FRAMES


def test_the_pictures_show_both_clips_at_the_same_times() -> None:
    strip = strip_of(kept(200, width=48))
    real, generated = picture(strip.real), picture(strip.generated)
    tile = TILE_PX * 48 // 32
    assert real.shape == generated.shape == (TILE_PX, FRAMES * tile, 3)
    middles = [tile // 2 + tile * k for k in range(FRAMES)]
    np.testing.assert_allclose(real[TILE_PX // 2, middles, 0], strip.frames, atol=3)
    np.testing.assert_allclose(generated[TILE_PX // 2, middles, 0], 255 - np.array(strip.frames), atol=3)
    assert picture(strip.first).shape == (2 * TILE_PX, 2 * tile, 3)


def test_colours_are_kept() -> None:
    red = np.zeros((1, 64, 64, 3), np.uint8)
    red[..., 0] = 220
    keeper = StripKeeper()
    keeper.add(Block(real=red, generated=red))
    blue, green, first = picture(strip_of(keeper.arrays()).real)[64, 64].tolist()
    assert first > 200
    assert max(blue, green) < 20


def test_pictures_are_small_even_of_noise_and_of_any_shape() -> None:
    rng = np.random.default_rng([1])
    for shape in ((300, 200), (100, 900), (3, 2)):
        noise = rng.integers(0, 256, (20, *shape, 3), dtype=np.uint8)
        keeper = StripKeeper()
        keeper.add(Block(real=noise, generated=noise))
        strip = strip_of(keeper.arrays())
        assert max(len(strip.first), len(strip.real), len(strip.generated)) <= MOST_BYTES
        assert picture(strip.real).shape[1] <= 2 * TILE_PX * FRAMES
