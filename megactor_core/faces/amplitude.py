"""Head-motion amplitude (eq. 4): the motion of a face as 2x3 matrices, scaled by alpha.

2x3 matrices act on (x, y, 1) in pixels, y down; everything is float64. M_i maps the landmarks of frame 0 to
those of frame i; its scaled form is M'_i, and the driving frame i is warped once, by A M'_i M_i^-1, where A
aligns driving frame 0 to the portrait.
"""

from typing import Literal

import numpy as np

from megactor_core.errors import FaceError

Formula = Literal["centred", "printed"]

# Eye corners, nose bridge, nostrils and the upper jaw; not mouth, lids and brows, which move by themselves.
RIGID_POINTS = (36, 39, 42, 45, *range(27, 36), 0, 1, 2, 14, 15, 16)


def rigid_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation, scale and shift that best takes one face's rigid points to another's.

    source (68, 2), target (..., 68, 2) -> (..., 2, 3). Least squares over RIGID_POINTS, in closed form
    (Umeyama's, without reflection). NaN targets give NaN. Raises FaceError where the source's rigid points
    are all in one place or NaN.
    """
    start = source[list(RIGID_POINTS)].astype(np.float64)
    end = target[..., list(RIGID_POINTS), :].astype(np.float64)
    start_mean, end_mean = start.mean(axis=0), end.mean(axis=-2)
    p, q = start - start_mean, end - end_mean[..., np.newaxis, :]
    spread = (p**2).sum()
    if not spread > 0:
        raise FaceError("The face that motion is measured from has no landmarks, or all in one place.")
    cos = (p * q).sum(axis=(-2, -1)) / spread
    sin = (p[:, 0] * q[..., 1] - p[:, 1] * q[..., 0]).sum(axis=-1) / spread
    linear = np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)
    return _affine(linear, end_mean - linear @ start_mean)


def scale_motion(
    M: np.ndarray, alpha: float, centre: np.ndarray, *, formula: Formula = "centred"
) -> np.ndarray:
    """Scale the rotation and translation of motions (..., 2, 3) by alpha, eq. (4); their zoom stays.

    alpha 1 returns `M` itself, 0 a face that only zooms about `centre`, above 1 exaggerates.
    centre (2,): the face centre in frame 0, which the motion is measured about ("centred", the default;
    without it, scaling a zoom or a rotation drifts the face across the picture). Row 2's angle is measured
    from the y axis. "printed" is the paper's formula to the letter, with both angles from the x axis and
    the picture's corner as the origin: it shears even M = identity, and is kept to document that.
    """
    if alpha == 1:
        return np.asarray(M)
    motion = np.asarray(M, dtype=np.float64)
    if formula == "printed":
        return _scaled_rows(motion, alpha, second_axis=0.0)
    about = translation(centre)
    local = compose(invert(about), compose(motion, about))
    return compose(about, compose(_scaled_rows(local, alpha, second_axis=np.pi / 2), invert(about)))


def compose(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The (..., 2, 3) matrix that applies `first`, then `second`."""
    linear = second[..., :2] @ first[..., :2]
    shift = (second[..., :2] @ first[..., 2:])[..., 0] + second[..., 2]
    return _affine(linear, shift)


def invert(M: np.ndarray) -> np.ndarray:
    """The inverse of (..., 2, 3) matrices; raises FaceError where one has none."""
    try:
        linear = np.linalg.inv(np.asarray(M, dtype=np.float64)[..., :2])
    except np.linalg.LinAlgError:
        raise FaceError("A motion matrix flattens the picture and cannot be undone.") from None
    return _affine(linear, -(linear @ M[..., 2:])[..., 0])


def translation(shift: np.ndarray) -> np.ndarray:
    """The (2, 3) matrix that moves by (2,) pixels."""
    return _affine(np.eye(2), np.asarray(shift, dtype=np.float64))


def transform_points(M: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply (..., 2, 3) matrices to (..., N, 2) points."""
    return points @ np.swapaxes(M[..., :2], -1, -2) + M[..., np.newaxis, :, 2]


def align_boxes(source_points: np.ndarray, target_points: np.ndarray) -> np.ndarray:
    """The (2, 3) map of the box of one face's points (N, 2) onto the box of another's, corner by corner [R].

    Left-top, right-bottom and left-bottom fix it, so it scales each axis by itself and never turns.
    Raises FaceError where the source's box has no width or no height.
    """
    low, high = source_points.min(axis=0).astype(np.float64), source_points.max(axis=0).astype(np.float64)
    goal_low = target_points.min(axis=0).astype(np.float64)
    goal_high = target_points.max(axis=0).astype(np.float64)
    if not (high > low).all():
        raise FaceError("The driving face's landmarks span no area, so it cannot be aligned to the portrait.")
    scale = (goal_high - goal_low) / (high - low)
    return _affine(np.diag(scale), goal_low - scale * low)


def driving_warp(
    points: np.ndarray, *, reference_points: np.ndarray, alpha: float, formula: Formula = "centred"
) -> np.ndarray:
    """The warp of every driving frame, A M'_i M_i^-1: points (F, 68, 2) -> (F, 2, 3).

    "Frame 0" is the first frame with points, `reference_points` (68, 2) are the portrait's. Frames of NaN
    points get NaN. With alpha 1 every matrix is A, exactly. Raises FaceError where no frame has points.
    """
    known = np.flatnonzero(np.isfinite(points).all(axis=(1, 2)))
    if len(known) == 0:
        raise FaceError("No driving frame has landmarks.")
    first = points[known[0]]
    align = align_boxes(first, reference_points)
    warps = np.full((len(points), 2, 3), np.nan)
    warps[known] = align
    if alpha != 1:
        motion = rigid_similarity(first, points[known])
        scaled = scale_motion(motion, alpha, face_centre(first), formula=formula)
        warps[known] = compose(align, compose(scaled, invert(motion)))
    return warps


def face_centre(points: np.ndarray) -> np.ndarray:
    """The centre (2,) of the box of a face's points (N, 2)."""
    return (points.min(axis=0).astype(np.float64) + points.max(axis=0)) / 2


def _affine(linear: np.ndarray, shift: np.ndarray) -> np.ndarray:
    shift = np.broadcast_to(shift, (*linear.shape[:-2], 2))
    return np.concatenate([linear, shift[..., np.newaxis]], axis=-1)


def _scaled_rows(motion: np.ndarray, alpha: float, *, second_axis: float) -> np.ndarray:
    """Each row in polar form, its angle from its own axis (radians) times alpha, its shift times alpha."""
    rows = []
    for row, axis in ((motion[..., 0, :], 0.0), (motion[..., 1, :], second_axis)):
        length = np.hypot(row[..., 0], row[..., 1])
        angle = np.arctan2(row[..., 1], row[..., 0]) - axis
        angle = alpha * np.arctan2(np.sin(angle), np.cos(angle)) + axis
        rows.append(np.stack([length * np.cos(angle), length * np.sin(angle), alpha * row[..., 2]], axis=-1))
    return np.stack(rows, axis=-2)
