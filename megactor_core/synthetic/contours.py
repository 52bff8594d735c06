"""The 68 points of a face on its chart, for any expression: what the features are drawn from, and the truth.

Shape legend:
    points (68, 2): direction and height (phi, y), iBUG-68 counted from the picture's left
"""

import numpy as np

from megactor_core.synthetic.chart import X_PER_PHI
from megactor_core.synthetic.identity import Identity
from megactor_core.synthetic.state import FaceState

JAW_DROP = 0.17
"""How far the chin goes down at mouth_open = 1, head units."""
CHIN_TOP, CHIN_FULL = 0.0, 0.22
"""Below the lips' line by this much the skin begins to go with the jaw, and goes all the way."""
NECK_STILL = (1.02, 1.5)
"""Between these heights the neck takes up what the jaw moves."""

_JAW_PHI = np.array([-1.40, -1.36, -1.30, -1.19, -1.03, -0.83, -0.57, -0.28])
_JAW_Y = np.array([-0.03, 0.17, 0.36, 0.52, 0.67, 0.79, 0.89, 0.95, 0.975])


def jaw_shift(identity: Identity, state: FaceState, y: np.ndarray) -> np.ndarray:
    """How far the skin at canonical heights `y` goes down with the jaw, head units."""
    top = identity.mouth.y
    moves = np.clip((y - top - CHIN_TOP) / (CHIN_FULL - CHIN_TOP), 0, 1)
    stays = np.clip((y - NECK_STILL[0]) / (NECK_STILL[1] - NECK_STILL[0]), 0, 1)
    ease_in, ease_out = moves * moves * (3 - 2 * moves), 1 - stays * stays * (3 - 2 * stays)
    return JAW_DROP * state.mouth_open * ease_in * ease_out


def face_points(identity: Identity, state: FaceState) -> np.ndarray:
    """The points of an expression on the chart, (68, 2) float64."""
    points = np.empty((68, 2))
    points[0:17] = _jawline(identity, state)
    brow, eye, mirrored = _brow(identity, state), _eye(identity, state), np.array([-1, 1])
    points[17:22], points[22:27] = brow[::-1] * mirrored, brow
    points[36:42], points[42:48] = eye[[3, 2, 1, 0, 5, 4]] * mirrored, eye
    points[27:36] = _nose(identity)
    points[48:68] = _lips(identity, state)
    return points


def _jawline(identity: Identity, state: FaceState) -> np.ndarray:
    phi = np.concatenate([_JAW_PHI, [0], -_JAW_PHI[::-1]])
    y = _JAW_Y + jaw_shift(identity, state, _JAW_Y)
    return np.stack([phi, np.concatenate([y, y[-2::-1]])], axis=1)


def _brow(identity: Identity, state: FaceState) -> np.ndarray:
    """From the inner end outwards, for the side on the picture's right."""
    brows, eyes = identity.brows, identity.eyes
    t = np.linspace(0, 1, 5)
    x = eyes.x - 0.16 + 0.34 * t
    arch = (brows.arch + 0.012 * max(state.brow, 0)) * np.sin(np.pi * np.clip(t * 0.8, 0, 1))
    lift = 0.08 * state.brow * (1 + 0.15 * (1 - t) * np.sign(-state.brow))
    y = eyes.y - brows.height - lift - arch + 0.03 * t**3
    return np.stack([(x - 0.012 * max(-state.brow, 0) * (1 - t)) / X_PER_PHI, y], axis=1)


def _eye(identity: Identity, state: FaceState) -> np.ndarray:
    """Inner corner, two points of the upper lid, outer corner, two of the lower lid; right eye as seen."""
    eyes = identity.eyes
    opening = state.eye_open * (1 + 0.12 * max(state.brow, 0))
    half_width, half_height = eyes.half_width, eyes.half_height
    # The lids meet a little below the corners' line; the lower one hardly moves, and rises with a smile.
    closed = 0.42 * half_height
    upper = closed - (1.22 * half_height + closed) * opening
    lower = closed + (0.62 * half_height - closed) * min(opening, 1) - 0.012 * max(state.smile, 0) * opening
    x = half_width * np.array([-1, -0.40, 0.38, 1, 0.40, -0.38])
    y = np.array([eyes.tilt, upper * 0.95, upper * 0.97, -eyes.tilt - 0.004, lower * 0.95, lower])
    return np.stack([(eyes.x + x) / X_PER_PHI, eyes.y + y], axis=1)


def _nose(identity: Identity) -> np.ndarray:
    nose, eyes = identity.nose, identity.eyes
    ridge = np.stack([np.zeros(4), np.linspace(eyes.y - 0.01, nose.base_y - 0.05, 4)], axis=1)
    base_x = np.array([-1, -0.5, 0, 0.5, 1]) * nose.half_width / 0.95
    base_y = nose.base_y + np.array([0.01, 0.032, 0.042, 0.032, 0.01])
    return np.concatenate([ridge, np.stack([base_x, base_y], axis=1)])


def _lips(identity: Identity, state: FaceState) -> np.ndarray:
    """Outer lips 48 to 59, inner lips 60 to 67."""
    mouth, opened = identity.mouth, state.mouth_open
    smile, frown = max(state.smile, 0), max(-state.smile, 0)
    rounded, spread = max(-state.mouth_wide, 0), max(state.mouth_wide, 0)
    width = mouth.half_width * (
        1 + 0.30 * spread - 0.40 * rounded + 0.17 * smile - 0.04 * frown - 0.10 * opened
    )
    thin = 1 - 0.12 * spread - 0.12 * smile
    upper = mouth.upper_lip * (thin + 0.30 * rounded)
    lower = mouth.lower_lip * (thin + 0.25 * rounded)
    # Upper lip goes up by a quarter of what the lower one follows the jaw down; rounding opens a little too.
    rise = 0.035 * opened + 0.010 * rounded
    drop = (0.03 + JAW_DROP * 0.80) * opened + 0.008 * rounded
    corner = mouth.y + 0.30 * JAW_DROP * opened - 0.05 * smile + 0.035 * frown
    top, bottom = mouth.y - rise, mouth.y + drop

    outer_x = width * np.array([-1, -0.66, -0.27, 0, 0.27, 0.66, 1])
    bow = np.array([0, 0.70, 1.08, 0.84, 1.08, 0.70, 0]) * upper
    follow = np.array([1, 0.32, 0.06, 0, 0.06, 0.32, 1])  # how far a point goes with the corner of the mouth
    outer_y = (top - bow) * (1 - follow) + corner * follow
    lower_x = width * np.array([0.68, 0.33, 0, -0.33, -0.68])
    lower_follow = np.array([0.34, 0.08, 0, 0.08, 0.34])
    belly = np.array([0.70, 0.96, 1, 0.96, 0.70]) * lower
    lower_y = (bottom + belly) * (1 - lower_follow) + corner * lower_follow
    inner_x = width * np.array([-0.88, -0.42, 0, 0.42, 0.88])
    inner_follow = np.array([1, 0.18, 0, 0.18, 1])
    inner_y = top * (1 - inner_follow) + corner * inner_follow
    inner_lower_x = width * np.array([0.42, 0, -0.42])
    lower_inner_y = bottom * (1 - inner_follow[1:4]) + corner * inner_follow[1:4]
    x = np.concatenate([outer_x, lower_x, inner_x, inner_lower_x]) / X_PER_PHI
    y = np.concatenate([outer_y, lower_y, inner_y, lower_inner_y])
    return np.stack([x, y], axis=1)
