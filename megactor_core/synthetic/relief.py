"""The shape of a bald head and neck: how far the skin is from the vertical axis in every direction.

Skull and jaw are super-ellipses in every cross-section; nose, eyes, lips and ears are hills and hollows.
All tables are in head units (see `identity`) and are ours, set by eye and by the proportions of grown-ups.

Shape legend:
    H, W rows and columns of the chart
"""

import cv2
import numpy as np

from megactor_core.synthetic.chart import Chart, bump, smoothstep
from megactor_core.synthetic.identity import HeadShape, Identity

# Height; half width, depth to the front and to the back there.
_SECTIONS = np.array(
    [
        [-1.08, 0.00, 0.00, 0.00],
        [-1.05, 0.19, 0.23, 0.25],
        [-0.98, 0.37, 0.45, 0.48],
        [-0.85, 0.54, 0.63, 0.70],
        [-0.65, 0.655, 0.765, 0.86],
        [-0.40, 0.71, 0.835, 0.95],
        [-0.10, 0.71, 0.84, 0.92],
        [0.20, 0.685, 0.845, 0.82],
        [0.45, 0.64, 0.85, 0.66],
        [0.65, 0.59, 0.835, 0.52],
        [0.80, 0.525, 0.81, 0.45],
        [0.92, 0.44, 0.775, 0.42],
        [1.00, 0.36, 0.71, 0.40],
        [1.06, 0.24, 0.60, 0.40],
        [1.14, 0.20, 0.45, 0.40],
    ]
)
_ROUNDNESS = 2.3
"""Exponent of the cross-sections: 2 is an ellipse, more is squarer."""

# Direction (absolute), and the height at which the underside of the jaw begins there.
_JAW_PHI = (0.0, 0.29, 0.58, 0.84, 1.04, 1.2, 1.31, 1.42, 1.6, 2.3)
_JAW_Y = (1.0, 0.985, 0.95, 0.89, 0.81, 0.71, 0.62, 0.54, 0.48, 0.5)

_NOTHING = -0.2
"""The radius above the crown: no ray comes near it."""

EAR_PHI, EAR_Y = 1.53, 0.10


def skull_radius(chart: Chart, head: HeadShape, *, y: np.ndarray | None = None) -> np.ndarray:
    """Skull and jaw without any feature, (H, W) float32; `y` (H, 1) replaces the chart's heights."""
    heights = chart.y if y is None else y
    half_width, front, back = _sections(heights, head)
    sine, cosine = np.abs(np.sin(chart.phi)), np.cos(chart.phi)
    depth = np.where(cosine > 0, front, back)
    across = (sine / np.maximum(half_width, 1e-3)) ** _ROUNDNESS
    along = (np.abs(cosine) / np.maximum(depth, 1e-3)) ** _ROUNDNESS
    radius = (across + along) ** (-1 / _ROUNDNESS)
    return np.where(half_width > 1e-3, radius, _NOTHING).astype(np.float32)


def skin_radius(chart: Chart, identity: Identity) -> np.ndarray:
    """The radius of head, features and neck without hair, (H, W) float32."""
    skull = skull_radius(chart, identity.head)
    x = across(chart, skull)
    face = skull + (_face_hills(chart, identity, x) + _ear_hills(chart, identity)) * (skull > 0.02)
    under = underside(chart)
    return (face * (1 - under) + _neck_radius(chart, identity) * under).astype(np.float32)


def across(chart: Chart, radius: np.ndarray) -> np.ndarray:
    """x of every place on a surface, (H, W) float32."""
    return (radius * np.sin(chart.phi)).astype(np.float32)


def underside(chart: Chart) -> np.ndarray:
    """0 on the head, 1 on the neck, and the underside of the jaw between them, (H, W) float32."""
    edge = np.interp(np.abs(chart.phi), _JAW_PHI, _JAW_Y).astype(np.float32)
    reach = 0.15 + 0.05 * smoothstep(0.2, 1.2, np.cos(chart.phi))
    return smoothstep(0, 1, (chart.y - edge + 0.02) / reach).astype(np.float32)


def surface_normals(chart: Chart, radius: np.ndarray) -> np.ndarray:
    """Unit normals that point outwards, (H, W, 3) float32, from differences of the surface's points."""
    sine, cosine = np.sin(chart.phi), np.cos(chart.phi)
    # d(point)/d(phi) and d(point)/d(y) of (r sin, y, r cos); their cross product, written out.
    by_phi = np.gradient(radius, axis=1) * np.float32(chart.columns_per_radian)
    by_y = np.gradient(radius, axis=0) * np.float32(chart.rows_per_unit)
    normals = np.empty((*radius.shape, 3), np.float32)
    normals[..., 0] = radius * sine - by_phi * cosine
    normals[..., 1] = -radius * by_y
    normals[..., 2] = radius * cosine + by_phi * sine
    # Round the crown the columns run together; there the surface is level.
    crown = smoothstep(0.3, 0.06, radius)[..., np.newaxis] * (chart.y < -0.6)[..., np.newaxis]
    normals = _unit(normals) * (1 - crown) + crown * np.array([0, -1, 0.1], np.float32)
    return _unit(cv2.GaussianBlur(normals, (0, 0), max(0.6, chart.width / 450)))


def _unit(vectors: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 of length 1."""
    length = np.sqrt(cv2.transform(np.square(vectors), np.ones((1, 3), np.float32))) + np.float32(1e-6)
    return vectors / length[..., np.newaxis]


def _sections(y: np.ndarray, head: HeadShape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    fine = np.linspace(-1.2, 1.3, 1024)
    table = np.stack([np.interp(fine, _SECTIONS[:, 0], column) for column in _SECTIONS.T[1:]], axis=1)
    table = cv2.GaussianBlur(table, (1, 0), sigmaX=0.01, sigmaY=12, borderType=cv2.BORDER_REPLICATE)
    half_width, front, back = (np.interp(y, fine, column).astype(np.float32) for column in table.T)
    half_width = half_width * head.width * (1 + (head.jaw - 1) * smoothstep(0.1, 0.8, y))
    open_top = y < _SECTIONS[0, 0]
    return np.where(open_top, 0, half_width), front * head.depth, back * head.depth


def _neck_radius(chart: Chart, identity: Identity) -> np.ndarray:
    """A tube whose axis lies behind the head's, wider where it meets the shoulders."""
    half_width = 0.375 * identity.head.neck * (1 + 0.18 * smoothstep(0.8, 1.3, chart.y))
    half_width = half_width * (1 + 0.45 * smoothstep(1.25, 1.62, chart.y) ** 2)
    half_depth, centre_z = 0.42, -0.20
    sine, cosine = np.sin(chart.phi), np.cos(chart.phi)
    square = (sine / half_width) ** 2 + (cosine / half_depth) ** 2
    linear = -cosine * centre_z / half_depth**2
    rest = (centre_z / half_depth) ** 2 - 1
    throat = 0.025 * bump(chart.phi, 0.35) * bump(chart.y - 1.24, 0.12)
    return ((-linear + np.sqrt(linear**2 - square * rest)) / square + throat).astype(np.float32)


def _face_hills(chart: Chart, identity: Identity, x: np.ndarray) -> np.ndarray:
    """Everything that rises from or sinks into the front of the skull."""
    front = smoothstep(0.1, 0.4, np.cos(chart.phi))
    side, y = np.abs(x), chart.y
    head, eyes, mouth = identity.head, identity.eyes, identity.mouth

    def hill(centre_x: float, centre_y: float, reach_x: float, reach_y: float) -> np.ndarray:
        return bump(side - centre_x, reach_x) * bump(y - centre_y, reach_y)

    hills = -0.078 * hill(eyes.x * 1.05, eyes.y, 0.19, 0.11)
    hills += 0.048 * hill(eyes.x, eyes.y + 0.005, 0.095, 0.07)
    hills += 0.035 * hill(0.2, -identity.brows.height, 0.22, 0.055)
    hills += 0.045 * head.cheekbones * hill(0.43, 0.2, 0.15, 0.11)
    hills += head.cheeks * hill(0.4, 0.55, 0.16, 0.16) - 0.02 * hill(0.62, -0.3, 0.1, 0.15)
    hills += 0.032 * hill(0.06, mouth.y - 0.04, 0.14, 0.032) - 0.012 * hill(0, mouth.y - 0.1, 0.022, 0.05)
    hills += 0.042 * hill(0, mouth.y + 0.05, 0.14, 0.04) - 0.016 * hill(0, mouth.y, 0.17, 0.014)
    hills += 0.02 * hill(0, mouth.y, 0.26, 0.16) - 0.03 * hill(0, mouth.y + 0.14, 0.15, 0.04)
    hills += 0.045 * head.chin * hill(0, 0.89, 0.15, 0.085)
    return (hills + _nose(identity, side, y)) * front


def _nose(identity: Identity, side: np.ndarray, y: np.ndarray) -> np.ndarray:
    nose = identity.nose
    down = np.clip((y + 0.1) / (nose.base_y + 0.02), 0, 1.2)
    ends = smoothstep(-0.2, -0.02, y) * (1 - smoothstep(nose.base_y - 0.02, nose.base_y + 0.055, y))
    ridge = nose.height * (0.15 + 0.75 * down**1.25) * bump(side, nose.ridge * (0.05 + 0.035 * down)) * ends
    tip = 0.22 * nose.height * bump(side, 0.065) * bump(y - nose.base_y + 0.055, 0.06)
    wings = 0.07 * bump(side - nose.half_width * 0.85, 0.042) * bump(y - nose.base_y + 0.02, 0.05)
    return ridge + tip + wings


def ear_cover(chart: Chart, identity: Identity) -> np.ndarray:
    """1 on the ears, 0 beside them, (H, W)."""
    size = identity.head.ears
    lean = EAR_PHI - 0.10 * (chart.y - EAR_Y)
    round_ = ((np.abs(chart.phi) - lean) / 0.13) ** 2 + ((chart.y - EAR_Y) / (0.27 * size)) ** 2
    return np.exp(-(round_**2))


def ear_hollow(chart: Chart, identity: Identity) -> np.ndarray:
    """1 in the hollow of the ears, 0 on the rim, (H, W)."""
    size = identity.head.ears
    return bump(np.abs(chart.phi) - EAR_PHI + 0.02, 0.055) * bump(chart.y - EAR_Y + 0.01, 0.14 * size)


def _ear_hills(chart: Chart, identity: Identity) -> np.ndarray:
    ears = ear_cover(chart, identity)
    return 0.095 * ears * (1 - 0.55 * ear_hollow(chart, identity))
