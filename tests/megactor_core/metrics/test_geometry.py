"""Faces against faces: equal ones are perfect, each error is found at its size and by its own measure."""

from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.errors import MetricError
from megactor_core.faces.landmarks import FaceTrack
from megactor_core.faces.regions import MOUTH
from megactor_core.metrics.geometry import FaceErrors, FaceMeasures, compare_faces, outer_eye_distance_px

Heads = Callable[..., np.ndarray]
EYE_SPAN_CM = 8.9
FRAMES = 20
TIME = np.arange(FRAMES) / 3
DISTANCES = ("face", "mouth", "face_lmd_px", "mouth_lmd_px", "pose_degrees", "yaw_degrees", "pitch_degrees")
ERRORS = (*DISTANCES, "roll_degrees", "eyes_open", "mouth_open")
CORRELATIONS = ("eyes_open_correlation", "mouth_open_correlation", "yaw_correlation")


def measure(points: np.ndarray, *, side: int = 256) -> FaceMeasures:
    return FaceMeasures.of(points, frame_width=side, frame_height=side)


def compare(real: np.ndarray, generated: np.ndarray, *, side: int = 256) -> FaceErrors:
    return compare_faces(measure(real, side=side), measure(generated, side=side))


@pytest.fixture(scope="module")
def talker(heads: Heads) -> np.ndarray:
    """A head that talks, blinks and turns."""
    return heads(
        gap_cm=0.6 + 0.5 * np.sin(3 * TIME),
        lids_cm=0.8 + 0.2 * np.sin(2 * TIME),
        yaw=12 * np.sin(TIME),
        pitch=5 * np.cos(TIME),
        roll=4 * np.sin(2 * TIME),
    )


def test_equal_faces_are_perfect(talker: np.ndarray) -> None:
    errors = compare(talker, talker.copy())
    assert [getattr(errors, name) for name in ERRORS] == [0.0] * len(ERRORS)
    assert [getattr(errors, name) for name in CORRELATIONS] == [1.0] * len(CORRELATIONS)
    assert errors.mouth_amplitude_ratio == errors.real_face_share == errors.generated_face_share == 1.0
    assert errors.frames == errors.compared_frames == FRAMES


@given(x=st.floats(-40, 40), y=st.floats(-40, 40))
def test_a_face_at_another_place_has_its_distance_and_its_shape(
    talker: np.ndarray, x: float, y: float
) -> None:
    errors = compare(talker, talker + np.array([x, y]))
    distance = np.hypot(x, y) / outer_eye_distance_px(talker)
    assert errors.face == pytest.approx(distance)
    assert errors.mouth == pytest.approx(distance)
    assert errors.face_lmd_px == pytest.approx(0, abs=1e-9)
    assert errors.mouth_lmd_px == pytest.approx(0, abs=1e-9)
    assert errors.mouth_open == pytest.approx(0, abs=1e-9)


def test_a_mouth_at_another_place_moves_the_mouth_and_its_share_of_the_face(talker: np.ndarray) -> None:
    moved = talker.copy()
    moved[:, list(MOUTH)] += [3, 4]
    errors = compare(talker, moved)
    assert errors.mouth == pytest.approx(5 / outer_eye_distance_px(talker))
    assert errors.face == pytest.approx(20 / 68 * errors.mouth)
    assert errors.mouth_lmd_px == pytest.approx(0, abs=1e-9)
    assert errors.face_lmd_px == pytest.approx(2 * 20 * 48 / 68**2 * 5)  # both groups leave their common mean
    assert errors.pose_degrees == errors.eyes_open == 0


def test_lmd_is_the_mean_distance_of_mouths_laid_over_each_other(talker: np.ndarray) -> None:
    other = talker + np.random.default_rng(3).normal(0, 2, talker.shape)
    expected = []
    for a, b in zip(talker[:, 48:68], other[:, 48:68], strict=True):
        expected.append(np.sqrt((((a - a.mean(0)) - (b - b.mean(0))) ** 2).sum(1)).mean())
    errors = compare(talker, other)
    assert errors.mouth_lmd_px == pytest.approx(np.mean(expected))
    np.testing.assert_allclose(errors.per_frame.mouth_lmd_px, expected)


def test_size_changes_pixels_only(talker: np.ndarray) -> None:
    other = talker + np.random.default_rng(4).normal(0, 2, talker.shape)
    small, large = compare(talker, other), compare(talker * 3 + 1, other * 3 + 1, side=768)
    for name in ("face", "mouth", "pose_degrees", "eyes_open", "mouth_open", *CORRELATIONS):
        assert getattr(large, name) == pytest.approx(getattr(small, name), rel=1e-3), name
    assert large.mouth_lmd_px == pytest.approx(3 * small.mouth_lmd_px)


@pytest.mark.parametrize(("axis", "degrees"), [("yaw", 9.0), ("pitch", -6.0), ("roll", 20.0)])
def test_pose_errors_are_degrees_of_their_axis(heads: Heads, axis: str, degrees: float) -> None:
    errors = compare(heads(gap_cm=0.5), heads(gap_cm=0.5, **{axis: degrees}))
    for name in ("yaw", "pitch", "roll"):
        expected = abs(degrees) if name == axis else 0
        assert getattr(errors, f"{name}_degrees") == pytest.approx(expected, abs=0.05)
    assert errors.pose_degrees == pytest.approx(abs(degrees) / 3, abs=0.05)


def test_angles_differ_the_short_way_round(talker: np.ndarray) -> None:
    faces = measure(talker)
    upside_down = [replace(faces, pose=np.tile([0.0, 0.0, roll], (FRAMES, 1))) for roll in (179.0, -179.0)]
    assert compare_faces(*upside_down).roll_degrees == pytest.approx(2)


def test_openings_are_found_at_their_size(heads: Heads) -> None:
    real = heads(gap_cm=0.6 + 0.4 * np.sin(TIME), lids_cm=0.8 + 0.1 * np.sin(TIME))
    half = heads(gap_cm=0.6 + 0.2 * np.sin(TIME), lids_cm=0.5 + 0.1 * np.sin(TIME))
    errors = compare(real, half)
    assert errors.mouth_open == pytest.approx(0.2 * np.abs(np.sin(TIME)).mean() / EYE_SPAN_CM, rel=0.05)
    assert errors.mouth_open_correlation == pytest.approx(1)
    assert errors.mouth_amplitude_ratio == pytest.approx(0.5)
    assert errors.eyes_open == pytest.approx(0.3 / 2.59, rel=0.05)  # the eye is 2.59 cm wide
    assert errors.eyes_open_correlation == pytest.approx(1)
    assert np.isnan(errors.yaw_correlation) or abs(errors.yaw_correlation) <= 1
    opposed = compare(real, heads(gap_cm=0.6 - 0.4 * np.sin(TIME), lids_cm=0.8))
    assert opposed.mouth_open_correlation == pytest.approx(-1)


def test_frames_without_a_face_in_either_are_left_out_and_counted(talker: np.ndarray) -> None:
    generated = talker + np.random.default_rng(5).normal(0, 1, talker.shape)
    kept = np.ones(FRAMES, dtype=bool)
    kept[[2, 3, 7]] = False
    expected = compare(talker[kept], generated[kept])
    holes, worse = talker.copy(), generated.copy()
    holes[[2, 3]] = np.nan
    worse[[3, 7]] = np.nan
    worse[2] += 1000
    errors = compare(holes, worse)
    for name in (*ERRORS, *CORRELATIONS, "mouth_amplitude_ratio"):
        assert getattr(errors, name) == pytest.approx(getattr(expected, name)), name
    assert errors.compared_frames == FRAMES - 3
    assert errors.real_face_share == errors.generated_face_share == 18 / 20
    for values in asdict(errors.per_frame).values():
        assert np.isnan(values[~kept]).all()
        assert np.isfinite(values[kept]).all()


def test_without_any_face_nothing_is_said(talker: np.ndarray) -> None:
    for frames in (FRAMES, 0):
        errors = compare(talker[:frames], np.full((frames, 68, 2), np.nan))
        assert errors.compared_frames == 0
        assert all(np.isnan(getattr(errors, name)) for name in (*ERRORS, *CORRELATIONS))
    assert compare(talker, np.full_like(talker, np.nan)).generated_face_share == 0


def test_a_face_in_one_place_says_nothing_of_pose_and_openings() -> None:
    errors = compare(np.full((4, 68, 2), 50.0), np.full((4, 68, 2), 53.0))
    assert np.isnan([errors.face, errors.pose_degrees, errors.mouth_open, errors.eyes_open]).all()


def test_an_eye_without_width_is_left_out(talker: np.ndarray) -> None:
    faces = measure(talker)
    eyes = faces.openings.eyes_open.copy()
    eyes[4, 0] = np.inf
    odd = replace(faces, openings=replace(faces.openings, eyes_open=eyes))
    for errors in (compare_faces(faces, odd), compare_faces(odd, odd)):
        assert errors.eyes_open == 0
        assert np.isnan(errors.per_frame.eyes_open[4, 0])
        assert errors.eyes_open_correlation == 1


def test_only_what_can_be_compared_is(talker: np.ndarray) -> None:
    with pytest.raises(MetricError, match="20 real and 19 generated frames"):
        compare(talker, talker[1:])
    with pytest.raises(MetricError, match="256x256 pixels, the generated ones 512x512"):
        compare_faces(measure(talker), measure(talker, side=512))
    with pytest.raises(MetricError, match=r"\(20, 67, 2\)"):
        measure(talker[:, 1:])


def test_a_track_is_measured_as_its_points_are(talker: np.ndarray) -> None:
    points = talker.astype(np.float32)
    points[3] = np.nan
    found = np.isfinite(points).all(axis=(1, 2))
    counts = found.astype(np.int64)
    track = FaceTrack(points, found, counts.astype(np.float32), counts, frame_width=256, frame_height=256)
    faces = FaceMeasures.of_track(track)
    assert len(faces) == FRAMES
    assert faces.face_share == 19 / 20
    np.testing.assert_array_equal(faces.found, found)
    np.testing.assert_array_equal(faces.pose, measure(points).pose)
