"""Controls: those that do what they say score perfectly, those that do nothing are told from them."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megactor_core.errors import MetricError
from megactor_core.faces.amplitude import (
    compose,
    face_centre,
    invert,
    rigid_similarity,
    scale_motion,
    transform_points,
)
from megactor_core.faces.regions import box_masks, driving_masks, region_boxes
from megactor_core.metrics.control import CrossTalk, alpha_response, audio_scale_response, cross_talk
from megactor_core.metrics.geometry import FaceMeasures, outer_eye_distance_px

Heads = Callable[..., np.ndarray]
Pictures = Callable[..., np.ndarray]
SIDE = 256
TIME = np.arange(24)
WAVE = np.sin(TIME / 2)
SCALES = (0.0, 0.5, 1.0, 1.5, 2.0)
ALPHAS = (0.0, 0.5, 1.0, 1.5, 2.0)


def measure(points: np.ndarray) -> FaceMeasures:
    return FaceMeasures.of(points, frame_width=SIDE, frame_height=SIDE)


# ---------------------------------------------------------------- audio scale


@pytest.fixture(scope="module")
def speaking(heads: Heads) -> list[FaceMeasures]:
    """One clip a scale, its mouth moving by 0.1 + scale."""
    return [measure(heads(gap_cm=1.2 + 0.5 * (0.1 + scale) * WAVE)) for scale in SCALES]


def test_a_mouth_that_follows_the_scale(speaking: list[FaceMeasures]) -> None:
    response = audio_scale_response(SCALES, speaking)
    np.testing.assert_array_equal(response.scales, SCALES)
    expected = (0.1 + np.array(SCALES)) * response.mouth_amplitudes[0] / 0.1
    np.testing.assert_allclose(response.mouth_amplitudes, expected, rtol=1e-6)
    assert response.monotonicity == 1
    assert response.ratio == pytest.approx(21)


def test_the_order_of_clips_does_not_matter(speaking: list[FaceMeasures]) -> None:
    order = [3, 0, 4, 1, 2]
    response = audio_scale_response([SCALES[i] for i in order], [speaking[i] for i in order])
    np.testing.assert_array_equal(
        response.mouth_amplitudes, audio_scale_response(SCALES, speaking).mouth_amplitudes
    )
    assert response.monotonicity == 1


def test_a_mouth_that_goes_the_wrong_way_or_no_way(speaking: list[FaceMeasures]) -> None:
    assert audio_scale_response(SCALES, speaking[::-1]).monotonicity == -1
    deaf = audio_scale_response(SCALES, [speaking[2]] * 5)
    assert deaf.ratio == 1
    assert np.isnan(deaf.monotonicity)


def test_a_clip_without_a_face_is_left_out(speaking: list[FaceMeasures]) -> None:
    nobody = measure(np.full((24, 68, 2), np.nan))
    response = audio_scale_response(SCALES, [*speaking[:3], nobody, speaking[4]])
    assert np.isnan(response.mouth_amplitudes[3])
    assert response.monotonicity == 1
    assert np.isnan(audio_scale_response(SCALES, [nobody] * 5).ratio)


def test_scales_and_clips_must_fit(speaking: list[FaceMeasures]) -> None:
    for scales, clips in (((0, 1), speaking), ((1,), speaking[:1]), ((1, 1), speaking[:2]), ((), [])):
        with pytest.raises(MetricError, match="clips for the values of audio_scale"):
            audio_scale_response(scales, clips)


# ---------------------------------------------------------------- alpha


def moved_by(points: np.ndarray, alpha: float) -> np.ndarray:
    """The face with the head motion that eq. (4) asks for: every frame warped by M' M^-1."""
    motion = rigid_similarity(points[0], points)
    scaled = scale_motion(motion, alpha, face_centre(points[0]))
    return transform_points(compose(scaled, invert(motion)), points)


@pytest.fixture(scope="module")
def nodding(heads: Heads) -> np.ndarray:
    return heads(
        gap_cm=0.8 + 0.4 * np.sin(TIME),
        yaw=5 * np.cos(TIME / 3),
        roll=7 * WAVE,
        right_cm=2 * np.sin(TIME / 4),
        down_cm=np.cos(TIME / 5),
    )


def test_eq_4_itself_has_a_slope_of_1(nodding: np.ndarray) -> None:
    response = alpha_response(ALPHAS, [measure(moved_by(nodding, alpha)) for alpha in ALPHAS])
    assert response.roll_slope == pytest.approx(1, abs=1e-3)
    assert response.shift_slope == pytest.approx(1, abs=0.02)  # a turned head's eyes are nearer each other
    assert response.monotonicity == 1
    assert response.rolls_degrees[0] == pytest.approx(0, abs=1e-6)
    assert response.rolls_degrees[2] == pytest.approx(7 * WAVE.std(), rel=0.1)
    np.testing.assert_allclose(
        response.rolls_degrees, np.array(ALPHAS) * response.rolls_degrees[2], atol=1e-6
    )
    assert (np.diff(response.head_turns_degrees) > 0).all()
    np.testing.assert_allclose(response.roll_gains, ALPHAS, atol=1e-3)
    np.testing.assert_allclose(response.shift_gains, ALPHAS, atol=0.03)


def test_shaking_adds_to_deviations_and_not_to_gains(nodding: np.ndarray) -> None:
    rng = np.random.default_rng(9)
    noise = rng.normal(0, 2, (len(ALPHAS), len(nodding), 1, 2))  # the whole face, pixels
    clips = [measure(moved_by(nodding, alpha) + shake) for alpha, shake in zip(ALPHAS, noise, strict=True)]
    response = alpha_response(ALPHAS, clips)
    assert response.shifts[0] > 0.03
    assert response.shift_gains[2] == 1
    assert response.shift_slope == pytest.approx(1, abs=0.15)


def test_shifts_are_measured_in_the_face_s_own_size(nodding: np.ndarray) -> None:
    def shift(points: np.ndarray) -> float:
        return float(alpha_response((0, 1), [measure(points)] * 2).shifts[1])

    assert shift(nodding * 0.5) == pytest.approx(shift(nodding))
    steps = nodding[:1] + np.array([-3.0, 3.0])[:, np.newaxis, np.newaxis] * [0.6, 0.8]
    assert shift(steps) == pytest.approx(3 / outer_eye_distance_px(steps))


def test_a_head_that_does_not_listen_has_a_slope_of_0(nodding: np.ndarray) -> None:
    response = alpha_response(ALPHAS, [measure(nodding)] * 5)
    assert response.roll_slope == pytest.approx(0, abs=1e-9)
    assert response.shift_slope == pytest.approx(0, abs=1e-9)
    assert np.isnan(response.monotonicity)


def test_half_the_effect_has_half_the_slope(nodding: np.ndarray) -> None:
    clips = [measure(moved_by(nodding, 0.5 + alpha / 2)) for alpha in ALPHAS]
    assert alpha_response(ALPHAS, clips).roll_slope == pytest.approx(0.5, abs=1e-3)


def test_lost_faces_and_still_heads(nodding: np.ndarray, heads: Heads) -> None:
    holes = nodding.copy()
    holes[[0, 5]] = np.nan
    nobody = np.full_like(nodding, np.nan)
    response = alpha_response(
        (0, 1, 2), [measure(points) for points in (nobody, holes, moved_by(nodding, 2))]
    )
    assert np.isnan(response.shifts[0])
    assert response.roll_slope == pytest.approx(1, abs=0.1)
    assert np.isnan(alpha_response((0, 1), [measure(nodding), measure(nobody)]).roll_slope)
    still = measure(np.repeat(heads(gap_cm=1.0), 5, axis=0))
    assert np.isnan(alpha_response((0, 1), [still, still]).shift_slope)
    one_place = measure(np.full((3, 68, 2), 7.0))
    assert np.isnan(alpha_response((0, 1), [one_place, one_place]).shift_slope)


def test_alpha_1_is_the_unit(nodding: np.ndarray) -> None:
    with pytest.raises(MetricError, match="amplitudes are 0, 2, without 1"):
        alpha_response((0, 2), [measure(nodding)] * 2)
    with pytest.raises(MetricError, match="24 and 23 frames at two values of alpha"):
        alpha_response((1, 2), [measure(nodding), measure(nodding[1:])])


# ---------------------------------------------------------------- cross-talk


@pytest.fixture(scope="module")
def portrait(heads: Heads) -> np.ndarray:
    return heads(gap_cm=0.5, yaw=np.linspace(-5, 5, 4))


@pytest.fixture(scope="module")
def blinking(heads: Heads) -> np.ndarray:
    """The same with narrower eyes, and a mouth that goes along a little."""
    return heads(gap_cm=0.5 + 0.089, lids_cm=0.2, yaw=np.linspace(-5, 5, 4))


def masks(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    boxes = region_boxes(points, size_px=SIDE, shape="tight", per="frame", divisor=12, padding=0.75)
    return driving_masks(boxes, size_px=SIDE, regions={"eyes"})


def talk_between(
    first: np.ndarray, second: np.ndarray, points: np.ndarray, other: np.ndarray | None = None
) -> CrossTalk:
    faces = measure(points), measure(points if other is None else other)
    return cross_talk(iter(first), iter(second), first=faces[0], second=faces[1])


@given(eyes_change=st.integers(5, 40), mouth_change=st.integers(0, 40))
@settings(max_examples=15)
def test_changes_are_found_where_they_are(portrait: np.ndarray, eyes_change: int, mouth_change: int) -> None:
    eyes, mouth = masks(portrait)
    first = np.full((4, SIDE, SIDE, 3), 100, np.uint8)
    second = first.copy()
    second[eyes] += np.uint8(eyes_change)
    second[mouth] -= np.uint8(mouth_change)
    second[~eyes & ~mouth] = 0  # elsewhere counts for nothing
    found = talk_between(first, second, portrait)
    assert found.eyes_change == pytest.approx(eyes_change * 0.9999, rel=1e-4)
    assert found.mouth_change == pytest.approx(mouth_change * 0.9999, rel=1e-4)
    assert found.leak_ratio == pytest.approx(mouth_change / eyes_change, rel=1e-4)
    assert found.compared_frames == 4


def test_pixels_of_the_mouth_s_box_are_no_eyes(portrait: np.ndarray) -> None:
    short = portrait.copy()
    short[:, 48:] -= [0, 38]  # a mouth so high that its box meets those of the eyes
    boxes = region_boxes(short, size_px=SIDE, shape="tight", per="frame", divisor=12, padding=0.75)
    mouth = box_masks(boxes.mouth, size_px=SIDE)
    assert (mouth & box_masks(boxes.eyes, size_px=SIDE)).any()
    first = np.full((4, SIDE, SIDE, 3), 100, np.uint8)
    second = first.copy()
    second[mouth] = 0
    found = talk_between(first, second, short)
    assert found.eyes_change == 0
    assert found.mouth_change == pytest.approx(99.99)


def test_openings_change_by_what_they_change(
    pictures: Pictures, portrait: np.ndarray, blinking: np.ndarray
) -> None:
    first, second = pictures(4, SIDE, SIDE), pictures(4, SIDE, SIDE, seed=2)
    found = talk_between(first, second, portrait, blinking)
    assert found.mouth_open_change == pytest.approx(0.01, rel=0.05)
    assert found.eyes_open_change == pytest.approx(0.6 / 2.59, rel=0.05)
    assert found == talk_between(second, first, blinking, portrait)


def test_equal_clips_have_no_cross_talk(pictures: Pictures, portrait: np.ndarray) -> None:
    frames = pictures(4, SIDE, SIDE)
    found = talk_between(frames, frames, portrait)
    assert found.eyes_change == found.mouth_change == 0
    assert found.eyes_open_change == found.mouth_open_change == 0
    assert np.isnan(found.leak_ratio)


def test_frames_without_a_face_say_nothing(pictures: Pictures, portrait: np.ndarray) -> None:
    first, second = pictures(4, SIDE, SIDE), pictures(4, SIDE, SIDE, seed=2)
    lost_first, lost_second = portrait.copy(), portrait.copy()
    lost_first[0], lost_second[3] = np.nan, np.nan
    found = talk_between(first, second, lost_first, lost_second)
    middle = talk_between(first[1:3], second[1:3], portrait[1:3])
    assert found == middle
    assert found.compared_frames == 2
    nobody = talk_between(first, second, np.full_like(portrait, np.nan))
    assert nobody.compared_frames == 0
    assert np.isnan([nobody.eyes_change, nobody.leak_ratio, nobody.mouth_open_change]).all()


def test_clips_and_faces_must_fit(pictures: Pictures, portrait: np.ndarray) -> None:
    frames = pictures(4, SIDE, SIDE)
    faces = measure(portrait)
    for first, second in ((frames, frames[1:]), (frames[1:], frames[1:]), (frames[:0], frames[:0])):
        with pytest.raises(MetricError, match="not both of the 4 frames"):
            cross_talk(first, second, first=faces, second=faces)
    longer = np.concatenate([frames, frames])
    with pytest.raises(MetricError, match="not both of the 4 frames"):
        cross_talk(longer, longer, first=faces, second=faces)
    with pytest.raises(MetricError, match="128x128 pixels, but the faces were found in 256x256"):
        cross_talk(frames[:, ::2, ::2], frames[:, ::2, ::2], first=faces, second=faces)
    with pytest.raises(MetricError, match="4 frames of 256x256 and of 3 frames"):
        cross_talk(frames, frames, first=faces, second=measure(portrait[1:]))
