"""Head rotation from the rigid ones among the 68 landmarks."""

import cv2
import numpy as np

RIGID_POINTS = (36, 39, 42, 45, 27, 28, 29, 30, 31, 33, 35)

# A generic head in centimetres, x to the picture's right, y down, z away from the camera: outer and inner
# corners of both eyes, nose bridge to tip, nostrils. Measured on MediaPipe's canonical face geometry, at the
# places that this project's 68 points are taken from.
HEAD_CM = np.array(
    [
        [-4.45, -2.66, -3.17],
        [-1.86, -2.59, -3.76],
        [1.86, -2.59, -3.76],
        [4.45, -2.66, -3.17],
        [0.0, -2.87, -5.51],
        [0.0, -1.73, -6.32],
        [0.0, -0.71, -7.01],
        [0.0, 0.46, -7.59],
        [-1.41, 1.71, -5.24],
        [0.0, 2.09, -6.06],
        [1.41, 1.71, -5.24],
    ],
    dtype=np.float64,
)


def head_pose(points: np.ndarray, *, frame_width: int, frame_height: int) -> np.ndarray:
    """Yaw, pitch and roll in degrees of heads seen in a frame: points (..., 68, 2) -> (..., 3) float64.

    Yaw is positive where the nose points to the picture's right, pitch where it points up, roll where the
    head leans clockwise as seen; a head that looks straight along the camera's axis has 0, 0, 0. The camera
    is taken to be a pinhole with a focal length of the frame's longer side (about 53 degrees across) and its
    axis through the middle: no calibration is known. Points that are NaN, or all in one place, give NaN.
    """
    flat = points.reshape(-1, points.shape[-2], 2)[:, RIGID_POINTS].astype(np.float64)
    camera = _camera(frame_width, frame_height)
    angles = np.full((len(flat), 3), np.nan)
    for index in np.flatnonzero(np.isfinite(flat).all(axis=(1, 2))):
        angles[index] = _angles(_rotation(np.ascontiguousarray(flat[index]), camera))
    return angles.reshape(*points.shape[:-2], 3)


def _camera(frame_width: int, frame_height: int) -> np.ndarray:
    focal_px = float(max(frame_width, frame_height))
    centre_x, centre_y = (frame_width - 1) / 2, (frame_height - 1) / 2
    return np.array([[focal_px, 0, centre_x], [0, focal_px, centre_y], [0, 0, 1]], dtype=np.float64)


def _rotation(observed: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """The (3, 3) rotation of the generic head that best explains (P, 2) points; NaN where there is none."""
    if not np.ptp(observed, axis=0).any():
        return np.full((3, 3), np.nan)
    # EPnP, refined: SQPnP refuses heads that are a few dozen pixels wide in a 4K frame.
    found, vector, shift = cv2.solvePnP(HEAD_CM, observed, camera, None, flags=cv2.SOLVEPNP_EPNP)
    if not found:
        return np.full((3, 3), np.nan)
    vector, _ = cv2.solvePnPRefineLM(HEAD_CM, observed, camera, None, vector, shift)
    return np.asarray(cv2.Rodrigues(vector)[0])


def _angles(rotation: np.ndarray) -> np.ndarray:
    """Split R = Ry(yaw) Rx(pitch) Rz(roll) by where the face looks and how it leans about that direction."""
    looks = -rotation[:, 2]
    yaw = np.arctan2(looks[0], -looks[2])
    pitch = np.arcsin(np.clip(-looks[1], -1, 1))
    upright = _yaw_pitch_matrix(yaw, pitch)
    lean = upright.T @ rotation
    roll = np.arctan2(lean[1, 0], lean[0, 0])
    return np.degrees(np.array([yaw, pitch, roll]))


def _yaw_pitch_matrix(yaw: float, pitch: float) -> np.ndarray:
    cos_y, sin_y, cos_p, sin_p = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    turn = np.array([[cos_y, 0, -sin_y], [0, 1, 0], [sin_y, 0, cos_y]])
    nod = np.array([[1, 0, 0], [0, cos_p, sin_p], [0, -sin_p, cos_p]])
    return turn @ nod
