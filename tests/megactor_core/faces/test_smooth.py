"""Smoothing: less jitter, no lag, no change to steady motion, nothing across gaps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.faces.landmarks import FaceTrack
from megactor_core.faces.smooth import smooth_track

FPS = 25.0


def track_of(paths: np.ndarray, found: np.ndarray | None = None) -> FaceTrack:
    """A track whose points all follow `paths` (F,) along x and stand still along y."""
    found = np.ones(len(paths), dtype=bool) if found is None else found
    points = np.zeros((len(paths), 68, 2), np.float32)
    points[..., 0] = paths[:, np.newaxis]
    points[~found] = np.nan
    return FaceTrack(
        points=points,
        found=found,
        scores=found.astype(np.float32),
        faces_in_frame=found.astype(np.int64),
        frame_width=640,
        frame_height=480,
    )


def smoothed(paths: np.ndarray, *, seconds: float, found: np.ndarray | None = None) -> np.ndarray:
    return smooth_track(track_of(paths, found), seconds=seconds, video_fps=FPS).points[:, 0, 0]


def lag_frames(before: np.ndarray, after: np.ndarray) -> int:
    """Where the cross-correlation of the two paths peaks."""
    middle = slice(20, -20)
    shifts = range(-15, 16)
    scores = [np.corrcoef(before[middle], np.roll(after, -shift)[middle])[0, 1] for shift in shifts]
    return shifts[int(np.argmax(scores))]


def test_zero_is_the_very_track() -> None:
    track = track_of(np.arange(9.0))
    assert smooth_track(track, seconds=0, video_fps=FPS) is track


@pytest.mark.parametrize("seconds", [0.04, 0.12, 0.4])
@pytest.mark.parametrize("motion", ["sine", "step"])
def test_nothing_lags(motion: str, seconds: float) -> None:
    frames = np.arange(150)
    path = {"sine": 30 * np.sin(2 * np.pi * frames / 37), "step": 100.0 * (frames >= 75)}[motion]
    assert lag_frames(path, np.roll(path, 3)) == 3, "the measure sees a lag"
    assert lag_frames(path, smoothed(path, seconds=seconds)) == 0


@given(count=st.integers(1, 60), seed=st.integers(0, 99), seconds=st.floats(0.01, 1))
def test_time_has_no_direction(count: int, seed: int, seconds: float) -> None:
    """What lags would lag the other way in a clip that runs backwards."""
    path = np.random.default_rng(seed).normal(scale=5, size=count)
    forwards, backwards = smoothed(path, seconds=seconds), smoothed(path[::-1], seconds=seconds)
    np.testing.assert_allclose(forwards, backwards[::-1], atol=1e-4)


def test_a_step_is_crossed_at_its_own_time() -> None:
    path = 100.0 * (np.arange(100) >= 50)
    after = smoothed(path, seconds=0.12)
    np.testing.assert_allclose(after + after[::-1], 100, atol=1e-3)  # as much before it as after it
    assert (np.diff(after[15:-15]) >= -1e-4).all()


@pytest.mark.parametrize("seconds", [0.04, 0.08, 0.2])
def test_white_jitter_shrinks_by_the_factor_of_its_window(seconds: float) -> None:
    jitter = np.random.default_rng(0).normal(scale=2, size=20_000)
    sigma = seconds * FPS
    weights = np.exp(-0.5 * (np.arange(-int(3 * sigma), int(3 * sigma) + 1) / sigma) ** 2)
    expected = np.sqrt((weights**2).sum()) / weights.sum()
    after = smoothed(jitter, seconds=seconds)
    assert after.std() / jitter.std() == pytest.approx(expected, rel=0.03)
    assert expected < 1 / np.sqrt(3 * sigma)


@given(
    count=st.integers(1, 40), start=st.floats(-500, 500), speed=st.floats(-20, 20), seconds=st.floats(0.01, 2)
)
def test_steady_motion_passes_up_to_both_ends(count: int, start: float, speed: float, seconds: float) -> None:
    path = start + speed * np.arange(count)
    np.testing.assert_allclose(smoothed(path, seconds=seconds), path, atol=0.01)


@given(found=st.lists(st.booleans(), min_size=1, max_size=40), seed=st.integers(0, 99))
def test_every_stretch_is_smoothed_as_if_it_stood_alone(found: list[bool], seed: int) -> None:
    there = np.array(found)
    path = np.random.default_rng(seed).normal(size=len(found))
    after = smoothed(path, seconds=0.1, found=there)
    np.testing.assert_array_equal(np.isnan(after), ~there)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], there.astype(int), [0]])))
    for start, stop in edges.reshape(-1, 2):
        np.testing.assert_array_equal(after[start:stop], smoothed(path[start:stop], seconds=0.1))


def test_time_not_frames_sets_the_strength() -> None:
    """Twice the frame rate: the same motion comes out the same."""
    slow, fast = np.arange(0, 4, 1 / 25), np.arange(0, 4, 1 / 50)
    at_25 = smooth_track(track_of(np.sin(9 * slow)), seconds=0.1, video_fps=25).points[:, 0, 0]
    at_50 = smooth_track(track_of(np.sin(9 * fast)), seconds=0.1, video_fps=50).points[::2, 0, 0]
    np.testing.assert_allclose(at_25[10:-10], at_50[10:-10], atol=5e-3)


def test_everything_but_the_points_stays() -> None:
    track = track_of(np.random.default_rng(0).normal(size=9))
    after = smooth_track(track, seconds=0.1, video_fps=FPS)
    assert after.points.dtype == np.float32
    assert after.found is track.found
    assert after.scores is track.scores
    assert (after.frame_width, after.frame_height) == (640, 480)
