"""Eq. (4): what amplitude does to a motion, and what it leaves alone."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.errors import FaceError
from megactor_core.faces.amplitude import (
    RIGID_POINTS,
    Formula,
    align_boxes,
    compose,
    driving_warp,
    face_centre,
    invert,
    rigid_similarity,
    scale_motion,
    transform_points,
    translation,
)

IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])
CENTRE = np.array([256.0, 240.0])

alphas = st.floats(-2, 3, allow_nan=False)
angles = st.floats(-1.4, 1.4)
zooms = st.floats(0.4, 2.5)
shifts = st.floats(-80, 80)


def similarity(angle: float, zoom: float, shift_x: float, shift_y: float) -> np.ndarray:
    """Rotation and zoom about CENTRE, then a shift."""
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    about = np.array([[cos, -sin, 0], [sin, cos, 0]])
    moved = compose(translation(CENTRE), compose(about, translation(-CENTRE)))
    return compose(translation(np.array([shift_x, shift_y])), moved)


def face(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(100, 400, (68, 2))


@given(seed=st.integers(0, 2**32 - 1))
def test_alpha_one_returns_the_very_matrix(seed: int) -> None:
    M = np.random.default_rng(seed).normal(size=(2, 3))
    for formula in ("centred", "printed"):
        assert scale_motion(M, 1.0, CENTRE, formula=formula) is M


@given(angle=angles, zoom=zooms, x=shifts, y=shifts)
def test_alpha_near_one_reconstructs_the_matrix(angle: float, zoom: float, x: float, y: float) -> None:
    """The path through angles and lengths is exact too, not only the short cut at 1."""
    M = similarity(angle, zoom, x, y)
    np.testing.assert_allclose(scale_motion(M, 1 + 1e-13, CENTRE), M, atol=1e-9)


@given(alpha=alphas, angle=angles, zoom=zooms, x=shifts, y=shifts)
def test_a_similarity_keeps_its_zoom_and_scales_turn_and_shift(
    alpha: float, angle: float, zoom: float, x: float, y: float
) -> None:
    scaled = scale_motion(similarity(angle, zoom, x, y), alpha, CENTRE)
    np.testing.assert_allclose(scaled, similarity(alpha * angle, zoom, alpha * x, alpha * y), atol=1e-9)


@given(alpha=alphas)
def test_no_motion_stays_no_motion(alpha: float) -> None:
    np.testing.assert_allclose(scale_motion(IDENTITY, alpha, CENTRE), IDENTITY, atol=1e-12)


@pytest.mark.xfail(strict=True, reason="the paper's formula as printed shears even the identity")
def test_no_motion_stays_no_motion_with_the_printed_formula() -> None:
    np.testing.assert_allclose(scale_motion(IDENTITY, 0.5, CENTRE, formula="printed"), IDENTITY, atol=1e-6)


def test_the_printed_formula_collapses_the_picture_at_alpha_zero_and_two() -> None:
    M = similarity(0.3, 1.2, 10, -5)
    for alpha in (0.0, 2.0):
        flat = scale_motion(M, alpha, CENTRE, formula="printed")
        assert abs(np.linalg.det(flat[:, :2])) < 1e-12
        assert abs(np.linalg.det(scale_motion(M, alpha, CENTRE)[:, :2])) > 1


@given(angle=angles, zoom=zooms, x=shifts, y=shifts)
def test_alpha_zero_fixes_the_face_centre_and_only_zooms(
    angle: float, zoom: float, x: float, y: float
) -> None:
    still = scale_motion(similarity(angle, zoom, x, y), 0.0, CENTRE)
    np.testing.assert_allclose(still[:, :2], zoom * np.eye(2), atol=1e-9)
    np.testing.assert_allclose(transform_points(still, CENTRE[np.newaxis])[0], CENTRE, atol=1e-8)


@given(angle=st.floats(0.05, 1.4), low=st.floats(0, 1.9), step=st.floats(0.01, 0.3))
def test_displacement_grows_with_alpha_for_turns_and_for_shifts(
    angle: float, low: float, step: float
) -> None:
    points = face()

    def displacement(M: np.ndarray, alpha: float) -> float:
        moved = transform_points(scale_motion(M, alpha, CENTRE), points)
        return float(np.linalg.norm(moved - points, axis=1).mean())

    for M in (similarity(angle, 1, 0, 0), similarity(0, 1, 30 * angle, -10)):
        assert displacement(M, low) < displacement(M, low + step)


@given(seed=st.integers(0, 1000), angle=angles, zoom=zooms, x=shifts, y=shifts)
def test_a_rigid_motion_is_recovered_whatever_the_mouth_lids_and_brows_do(
    seed: int, angle: float, zoom: float, x: float, y: float
) -> None:
    points, M = face(seed), similarity(angle, zoom, x, y)
    moved = transform_points(M, points)
    soft = [i for i in range(68) if i not in RIGID_POINTS]
    moved[soft] += np.random.default_rng(seed).normal(scale=50, size=(len(soft), 2))
    np.testing.assert_allclose(rigid_similarity(points, moved), M, atol=1e-6)


def test_no_lid_brow_or_lip_point_is_rigid() -> None:
    lids = {37, 38, 40, 41, 43, 44, 46, 47}
    assert not set(RIGID_POINTS) & (set(range(17, 27)) | lids | set(range(48, 68)))


def test_a_noisy_motion_is_the_least_squares_one() -> None:
    rng = np.random.default_rng(3)
    points = face(3)
    noisy = transform_points(similarity(0.2, 1.1, 5, 9), points) + rng.normal(scale=3, size=(68, 2))
    rigid = list(RIGID_POINTS)
    best = rigid_similarity(points, noisy)

    def error(M: np.ndarray) -> float:
        return float(((transform_points(M, points[rigid]) - noisy[rigid]) ** 2).sum())

    for nudge in rng.normal(scale=1e-3, size=(50, 4)):
        angle, zoom, x, y = nudge
        other = compose(best, similarity(angle, 1 + zoom, 100 * x, 100 * y))
        assert error(best) <= error(other)


def test_batches_are_their_single_matrices() -> None:
    points = face()
    targets = np.stack([transform_points(similarity(a, 1 + a, 10 * a, 0), points) for a in (0.0, 0.2, -0.4)])
    motions = rigid_similarity(points, targets)
    scaled = scale_motion(motions, 0.5, CENTRE)
    for i in range(3):
        np.testing.assert_allclose(motions[i], rigid_similarity(points, targets[i]), atol=1e-12)
        np.testing.assert_allclose(scaled[i], scale_motion(motions[i], 0.5, CENTRE), atol=1e-12)


@given(seed=st.integers(0, 1000))
def test_inverse_and_composition_agree_with_the_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = (IDENTITY + 0.3 * rng.uniform(-1, 1, (2, 3)) for _ in range(2))
    points = rng.normal(size=(5, 2))
    there = transform_points(second, transform_points(first, points))
    np.testing.assert_allclose(transform_points(compose(second, first), points), there, atol=1e-9)
    np.testing.assert_allclose(compose(invert(first), first), IDENTITY, atol=1e-9)


def test_points_move_as_opencv_moves_pixels() -> None:
    image = np.zeros((64, 64), np.uint8)
    image[20, 30] = 255
    M = np.array([[0, -1, 60.0], [1, 0, 3]])
    y, x = np.argwhere(cv2.warpAffine(image, M, (64, 64)))[0]
    np.testing.assert_allclose(transform_points(M, np.array([[30.0, 20.0]]))[0], [x, y])


@given(seed=st.integers(0, 1000))
def test_alignment_maps_box_to_box_corner_by_corner(seed: int) -> None:
    source, target = face(seed), face(seed + 1) * np.array([0.5, 2])
    moved = transform_points(align_boxes(source, target), source)
    np.testing.assert_allclose(moved.min(axis=0), target.min(axis=0), atol=1e-9)
    np.testing.assert_allclose(moved.max(axis=0), target.max(axis=0), atol=1e-9)


def moving_clip() -> np.ndarray:
    start = face()
    return np.stack(
        [transform_points(similarity(0.1 * i, 1 + 0.05 * i, 4 * i, -3 * i), start) for i in range(5)]
    )


def test_with_alpha_one_every_warp_is_the_alignment_exactly() -> None:
    points, reference = moving_clip(), face(7)
    warps = driving_warp(points, reference_points=reference, alpha=1.0)
    align = align_boxes(points[0], reference)
    assert all((warp == align).all() for warp in warps)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.7])
def test_one_warp_lands_the_landmarks_where_two_warps_do(alpha: float) -> None:
    points, reference = moving_clip(), face(7)
    warps = driving_warp(points, reference_points=reference, alpha=alpha)
    align, centre = align_boxes(points[0], reference), face_centre(points[0])
    for warp, now in zip(warps, points, strict=True):
        M = rigid_similarity(points[0], now)
        still = transform_points(invert(M), now)
        scaled = transform_points(scale_motion(M, alpha, centre), still)
        np.testing.assert_allclose(
            transform_points(warp, now), transform_points(align, scaled), rtol=0, atol=1e-8
        )


def test_alpha_zero_stills_a_head_that_only_turns_and_shifts() -> None:
    start = face()
    points = np.stack([transform_points(similarity(0.1 * i, 1, 4 * i, 2 * i), start) for i in range(5)])
    warps = driving_warp(points, reference_points=start, alpha=0.0)
    np.testing.assert_allclose(
        transform_points(warps, points), np.broadcast_to(start, points.shape), atol=1e-8
    )


def test_frames_without_points_have_no_warp_and_do_not_disturb_the_others() -> None:
    points = moving_clip()
    gappy = np.concatenate([np.full((1, 68, 2), np.nan), points, np.full((1, 68, 2), np.nan)])
    warps = driving_warp(gappy, reference_points=face(7), alpha=0.5)
    assert np.isnan(warps[[0, -1]]).all()
    np.testing.assert_array_equal(warps[1:-1], driving_warp(points, reference_points=face(7), alpha=0.5))


@pytest.mark.parametrize("formula", ["centred", "printed"])
def test_degenerate_faces_are_one_error(formula: Formula) -> None:
    lost = np.full((3, 68, 2), np.nan)
    with pytest.raises(FaceError, match="No driving frame"):
        driving_warp(lost, reference_points=face(), alpha=0.5, formula=formula)
    with pytest.raises(FaceError, match="span no area"):
        driving_warp(np.ones((3, 68, 2)), reference_points=face(), alpha=0.5, formula=formula)
    with pytest.raises(FaceError, match="no landmarks"):
        rigid_similarity(np.ones((68, 2)), face())
    with pytest.raises(FaceError, match="cannot be undone"):
        invert(np.zeros((2, 3)))
