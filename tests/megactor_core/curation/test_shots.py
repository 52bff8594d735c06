"""Shots: cuts stand out, pans, flashes, noise and waving hands do not."""

import warnings

import numpy as np
import pytest

from megactor_core.curation.shots import cut_scores, measure_shots

SIZE = (72, 96, 3)
LIMIT = 15.0


def scene(seed: int) -> np.ndarray:
    """A picture of large patches of colour."""
    coarse = np.random.default_rng([seed]).integers(0, 256, (6, 8, 3))
    return np.kron(coarse, np.ones((12, 12, 1))).astype(np.uint8)


def noisy(picture: np.ndarray, count: int, *, level: float = 4.0) -> list[np.ndarray]:
    rng = np.random.default_rng([9])
    frames = picture + rng.normal(0, level, (count, *picture.shape))
    return list(frames.clip(0, 255).astype(np.uint8))


def cuts(frames: list[np.ndarray]) -> list[float]:
    found = measure_shots(iter(frames), video_fps=25.0, width_px=64)
    pairs = zip(found["cut_scores"], found["cut_seconds"], strict=True)
    return sorted(seconds for score, seconds in pairs if score > LIMIT)


def test_cuts_are_found_where_they_are() -> None:
    frames = noisy(scene(1), 10) + noisy(scene(2), 15) + noisy(scene(3), 5)
    assert cuts(frames) == [0.4, 1.0]


def test_parity_with_scikit_video_on_hard_cuts() -> None:
    frames = noisy(scene(1), 12) + noisy(scene(2), 8) + noisy(scene(4), 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy.misc, which the package imports, is on its way out
        from skvideo.measure import scenedet
    theirs = scenedet(np.stack(frames), method="intensity", parameter1=30.0)
    assert cuts(frames) == [int(at) / 25 for at in theirs[1:]]


def test_a_flash_a_pan_and_a_fade_are_no_cuts() -> None:
    still = noisy(scene(1), 20)
    flash = [*still]
    flash[10] = np.full(SIZE, 255, np.uint8)
    pan = [np.roll(scene(1), 3 * k, axis=1) for k in range(20)]
    fade = [(scene(1) * (1 - k / 20) + scene(2) * k / 20).astype(np.uint8) for k in range(20)]
    assert [cuts(frames) for frames in (still, flash, pan, fade)] == [[], [], [], []]


def test_hue_means_nothing_where_there_is_no_colour() -> None:
    grey = np.full(SIZE, 128, np.int16)
    tinted = [grey + np.array(tint) for tint in ((2, 0, 0), (0, 2, 0), (0, 0, 2))]
    frames = [tinted[k % 3].astype(np.uint8) for k in range(12)]
    assert measure_shots(frames, video_fps=25.0, width_px=64)["cut_scores"] == []


def test_a_still_picture_does_not_change_and_a_small_mover_does() -> None:
    still = [scene(1)] * 10
    assert measure_shots(still, video_fps=25.0, width_px=64)["change"] == 0
    moving = [frame.copy() for frame in still]
    for k, frame in enumerate(moving):
        frame[10 + k : 20 + k, 10:20] = 255 * (k % 2)
    assert measure_shots(moving, video_fps=25.0, width_px=64)["change"] > 5


@pytest.mark.parametrize("frames", [1, 2])
def test_the_shortest_clips(frames: int) -> None:
    found = measure_shots([scene(1)] * frames, video_fps=25.0, width_px=64)
    assert found["frames"] == frames
    assert (found["change"] is None) == (frames == 1)


def test_a_score_is_the_excess_over_the_neighbours() -> None:
    jumps = np.array([1.0, 1.0, 30.0, 1.0, 1.0, 20.0, 20.0, 1.0])
    np.testing.assert_allclose(cut_scores(jumps)[[0, 2, 5]], [0.0, 29.0, 20 - (1 + 1 + 20 + 1) / 4])
