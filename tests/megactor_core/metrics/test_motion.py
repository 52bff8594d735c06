"""A clip by itself: what stands has no jitter and no flicker, what shakes has as much as it shakes."""

import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.errors import MetricError
from megactor_core.metrics.geometry import FaceMeasures, outer_eye_distance_px
from megactor_core.metrics.motion import FlickerMeter, landmark_jitter, luma, measure_motion

Heads = Callable[..., np.ndarray]
Pictures = Callable[..., np.ndarray]
EYE_SPAN_CM = 8.9
TIME = np.arange(24)
WAVE = np.sin(2 * np.pi * TIME / 12)  # two whole waves: standard deviation 1 / sqrt(2)


def measure(points: np.ndarray) -> FaceMeasures:
    return FaceMeasures.of(points, frame_width=256, frame_height=256)


def flicker(frames: Iterable[np.ndarray]) -> FlickerMeter:
    meter = FlickerMeter()
    for frame in frames:
        meter.add(frame)
    return meter


# ---------------------------------------------------------------- landmarks


@given(x=st.floats(-5, 5), y=st.floats(-5, 5))
def test_even_motion_is_no_jitter(heads: Heads, x: float, y: float) -> None:
    moving = heads(gap_cm=0.5) + TIME[:, np.newaxis, np.newaxis] * np.array([x, y])
    np.testing.assert_allclose(landmark_jitter(moving)[1:-1], 0, atol=1e-10)


@pytest.mark.parametrize("scale", [1, 0.3, 7])
def test_shaking_landmarks_jitter_at_any_size(heads: Heads, scale: float) -> None:
    still = np.repeat(heads(gap_cm=0.5), 6, axis=0)
    shaking = still.copy()
    shaking[::2, :34] += [3, 4]  # half of the points go 5 pixels there and back
    jitter = landmark_jitter(shaking * scale)
    assert np.isnan(jitter[[0, -1]]).all()
    np.testing.assert_allclose(jitter[1:-1], (2 * 5) / 2 / outer_eye_distance_px(shaking), rtol=1e-9)


def test_jitter_needs_three_frames_with_a_face(heads: Heads) -> None:
    points = np.repeat(heads(gap_cm=0.5), 9, axis=0)
    points[4] = np.nan
    known = np.isfinite(landmark_jitter(points))
    np.testing.assert_array_equal(np.flatnonzero(known), [1, 2, 6, 7])
    for frames in (0, 1, 2):
        assert np.isnan(landmark_jitter(points[:frames])).all()
        assert np.isnan(measure_motion(measure(points[:frames])).jitter)
    nobody = measure_motion(measure(np.full((5, 68, 2), np.nan)))
    assert np.isnan(astuple(nobody)).all()


def test_amplitudes_are_standard_deviations(heads: Heads) -> None:
    mouth = measure_motion(measure(heads(gap_cm=1 + 0.5 * WAVE)))
    assert mouth.mouth_amplitude == pytest.approx(0.5 / np.sqrt(2) / EYE_SPAN_CM, rel=0.05)
    assert mouth.head_turn_degrees == pytest.approx(0, abs=1e-3)
    turning = measure_motion(measure(heads(yaw=8 * WAVE, roll=6 * WAVE)))
    assert turning.head_turn_degrees == pytest.approx(10 / np.sqrt(2), rel=0.01)
    shifting = measure_motion(measure(heads(right_cm=4 * WAVE, down_cm=3 * WAVE)))
    assert shifting.head_shift == pytest.approx(5 / np.sqrt(2) / EYE_SPAN_CM, rel=0.1)
    assert turning.mouth_amplitude == pytest.approx(0, abs=0.01)


def test_frames_without_a_face_do_not_count(heads: Heads) -> None:
    points = heads(gap_cm=1 + 0.5 * WAVE, yaw=8 * WAVE, right_cm=WAVE)
    holes = np.insert(points, [3, 9, 9], np.nan, axis=0)
    whole, holed = measure_motion(measure(points)), measure_motion(measure(holes))
    assert holed.mouth_amplitude == whole.mouth_amplitude
    assert holed.head_turn_degrees == pytest.approx(whole.head_turn_degrees)
    assert holed.head_shift == pytest.approx(whole.head_shift)


# ---------------------------------------------------------------- pictures


def test_a_still_picture_does_not_flicker(pictures: Pictures) -> None:
    meter = flicker([pictures(1, 40, 50)[0]] * 5)
    np.testing.assert_array_equal(meter.per_frame(), [np.nan, 0, 0, 0, np.nan])
    assert meter.mean() == 0


def test_alternating_frames_flicker_by_four_times_their_deviation() -> None:
    """Of 3 grey levels about their mean; the weights of the luma add up to 0.9999."""
    frames = [np.full((8, 8, 3), 100 + 6 * (i % 2), np.uint8) for i in range(6)]
    np.testing.assert_allclose(flicker(frames).per_frame()[1:-1], 12 * 0.9999, rtol=1e-5)
    brightening = [np.full((8, 8, 3), 100 + 6 * i, np.uint8) for i in range(6)]
    np.testing.assert_allclose(flicker(brightening).per_frame()[1:-1], 0, atol=1e-3)


def test_noise_flickers_by_its_deviation() -> None:
    grey = 128 + np.random.default_rng(8).normal(0, 10, (12, 64, 64, 1))
    frames = np.repeat(np.rint(grey), 3, axis=-1).astype(np.uint8)
    assert flicker(frames).mean() == pytest.approx(1.65 * 10 * sum((0.2989, 0.5870, 0.1140)), rel=0.02)


def test_what_moves_in_less_than_half_of_the_picture_is_no_flicker(pictures: Pictures) -> None:
    frames = np.repeat(pictures(1, 40, 40), 8, axis=0)
    frames[:, :19] = pictures(8, 19, 40, seed=3)
    assert flicker(frames).mean() == 0
    frames[:, :21] = pictures(8, 21, 40, seed=3)
    assert flicker(frames).mean() > 0


def test_few_frames_have_no_flicker(pictures: Pictures) -> None:
    for count in (0, 1, 2):
        meter = flicker(pictures(2, 16, 16)[:count])
        assert np.isnan(meter.mean())
        assert meter.per_frame().shape == (count,)
        assert np.isnan(meter.per_frame()).all()


def test_only_frames_of_one_kind_and_size(pictures: Pictures) -> None:
    meter = flicker(pictures(2, 16, 24))
    with pytest.raises(MetricError, match="Frame 2 is 16x24, those before it are 24x16"):
        meter.add(pictures(1, 24, 16)[0])
    with pytest.raises(MetricError, match="float64"):
        meter.add(np.zeros((16, 24, 3)))


def test_three_frames_are_kept_however_long_the_clip(pictures: Pictures) -> None:
    frame = pictures(1, 128, 128)[0]
    peaks = []
    tracemalloc.start()
    for count in (5, 60):
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        flicker(frame for _ in range(count))
        peaks.append(tracemalloc.get_traced_memory()[1] - before)
    tracemalloc.stop()
    assert peaks[1] < peaks[0] + 128 * 128 * 4


def test_luma_is_that_of_the_driving_picture() -> None:
    frame = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]]], np.uint8)
    expected = [76.2195, 149.685, 29.07, 2.989 + 11.74 + 3.42]
    np.testing.assert_allclose(luma(frame)[0], expected, rtol=1e-6)
