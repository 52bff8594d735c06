"""The still part of a head's colours: skin with its shadows and marks, beard, hair; and what of it is neck.

What moves (brows, eyes, mouth, smile lines) is drawn over it frame by frame in `features`.

Shape legend:
    H, W rows and columns of the chart
"""

import cv2
import numpy as np

from megactor_core.synthetic.chart import Chart, bump, smoothstep
from megactor_core.synthetic.hair import HairCover
from megactor_core.synthetic.identity import Identity
from megactor_core.synthetic.relief import across, ear_cover, ear_hollow, underside

NECK_FADE = (1.28, 1.46)
"""Between these heights the neck becomes transparent: the chest continues it."""


def paint_head(chart: Chart, identity: Identity, skin_radius: np.ndarray, hair: HairCover) -> np.ndarray:
    """Colours and opacity of the chart, (H, W, 4) uint8: red, green, blue, alpha."""
    x = across(chart, skin_radius)
    colour = _complexion(chart, identity, x)
    colour = colour * _shadows(chart, identity, x)[..., np.newaxis]
    colour = _with_beard(chart, identity, x, colour)
    colour *= 1 - hair.shade[..., np.newaxis]
    cover = hair.cover[..., np.newaxis]
    colour = colour * (1 - cover) + hair.colour * cover
    painted = np.empty((chart.height, chart.width, 4), np.uint8)
    painted[..., :3] = np.clip(colour, 0, 255)
    neck_ends = 1 - smoothstep(*NECK_FADE, np.broadcast_to(chart.y, x.shape))
    painted[..., 3] = 255 * np.maximum(neck_ends, hair.cover)
    return painted


def neck_cover(chart: Chart, hair: HairCover) -> np.ndarray:
    """Where a place is neck and no hair lies over it, (H, W) float32 from 0 to 1."""
    neck = underside(chart) * smoothstep(1.0, 1.2, chart.y)
    return np.maximum(neck * (1 - hair.cover) - hair.cover, 0).astype(np.float32)


def _complexion(chart: Chart, identity: Identity, x: np.ndarray) -> np.ndarray:
    """Skin without shadows: mottled, redder on cheeks, nose and ears."""
    skin = identity.skin
    draw = np.random.default_rng([identity.seed, 4])
    side, y, size = np.abs(x), chart.y, (chart.width, chart.height)
    front = smoothstep(0.1, 0.4, np.cos(chart.phi))
    broad = cv2.resize(draw.standard_normal((14, 18), np.float32), size, interpolation=cv2.INTER_CUBIC)
    pores = cv2.resize(draw.standard_normal((200, 280), np.float32), size, interpolation=cv2.INTER_AREA)
    light = 1 + 0.018 * broad + 0.012 * pores
    red = bump(side - 0.40, 0.17) * bump(y - 0.27, 0.14) * front
    red += 0.6 * bump(side, 0.1) * bump(y - identity.nose.base_y + 0.04, 0.09) * front
    red = skin.blush * (red + 0.5 * ear_cover(chart, identity)) + 0.1 * broad
    tint = np.array([0.02, -0.09, -0.08], np.float32)
    colour = np.array(skin.colour, np.float32) * light[..., np.newaxis] * (1 + red[..., np.newaxis] * tint)
    return colour * (
        1 - _freckles(chart, identity, side, draw)[..., np.newaxis] * np.array([0.30, 0.42, 0.5], np.float32)
    )


def _freckles(chart: Chart, identity: Identity, side: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    if not identity.skin.freckles:
        return np.zeros((1, 1), np.float32)
    dots = draw.random((round(chart.height / 2), round(chart.width / 2))) > 0.93
    size = (chart.width, chart.height)
    spots = cv2.GaussianBlur(cv2.resize(dots.astype(np.float32), size), (0, 0), 0.7)
    where = bump(side - 0.2, 0.28) * bump(chart.y - 0.2, 0.16)
    return np.clip(spots, 0, 1) * where * identity.skin.freckles


def _shadows(chart: Chart, identity: Identity, x: np.ndarray) -> np.ndarray:
    """Light that hollows lose, and lines of age, as a factor, (H, W)."""
    front = smoothstep(0.1, 0.4, np.cos(chart.phi))
    side, y = np.abs(x), chart.y
    eyes, nose, mouth = identity.eyes, identity.nose, identity.mouth

    def dip(centre_x: float, centre_y: float, reach_x: float, reach_y: float) -> np.ndarray:
        return bump(side - centre_x, reach_x) * bump(y - centre_y, reach_y) * front

    down = np.clip((y + 0.1) / (nose.base_y + 0.02), 0, 1.2)
    beside_nose = bump(side - 0.085 - 0.03 * down, 0.032) * smoothstep(0, 0.15, y)
    beside_nose = beside_nose * (1 - smoothstep(nose.base_y - 0.05, nose.base_y + 0.02, y)) * front
    lost = 0.04 * dip(eyes.x * 0.6, eyes.y - 0.035, 0.055, 0.07) + 0.02 * dip(eyes.x, eyes.y, 0.16, 0.08)
    lost += 0.13 * beside_nose + 0.30 * dip(0, nose.base_y + 0.05, 0.10, 0.022)
    lost += 0.20 * dip(0, mouth.y + 0.125, 0.11, 0.026) + 0.06 * dip(0, mouth.y - 0.1, 0.02, 0.035)
    lost += 0.70 * dip(nose.half_width * 0.52, nose.base_y + 0.014, 0.027, 0.014)
    lost += 0.10 * dip(nose.half_width * 1.02, nose.base_y - 0.02, 0.012, 0.045)
    lost += 0.40 * ear_hollow(chart, identity) * ear_cover(chart, identity)
    lost += 0.20 * bump(np.abs(chart.phi) - 1.385, 0.03) * bump(y - 0.12, 0.25)
    under = underside(chart)
    lost += 0.34 * under * (1 - smoothstep(1.05, 1.42, y) * 0.8)
    return np.clip(1 - lost - _wrinkles(chart, identity, side, front), 0.15, 1)


def _wrinkles(chart: Chart, identity: Identity, side: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Lines over the forehead, at the outer corners of the eyes and under them."""
    depth, eyes, y = identity.skin.wrinkles, identity.eyes, chart.y
    if not depth:
        return np.zeros_like(side)
    waves = np.square(np.square(np.square(np.sin(2 * np.pi * (y + 0.03 * np.cos(6 * side)) / 0.075))))
    forehead = 0.16 * waves * bump(y + 0.36, 0.11) * bump(side, 0.33)
    slant = (y - eyes.y) / (side - eyes.x - eyes.half_width * 0.6 + 1e-3)
    crows = 0.14 * np.square(np.square(np.cos(np.clip(slant, -1.5, 1.5) * 9)))
    crows = crows * bump(side - eyes.x - eyes.half_width - 0.06, 0.05) * bump(y - eyes.y, 0.07)
    bags = 0.12 * bump(y - eyes.y - 0.115 + 1.2 * np.square(side - eyes.x), 0.014) * bump(side - eyes.x, 0.11)
    return depth * (forehead + crows + bags) * front


def _with_beard(chart: Chart, identity: Identity, x: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Stubble to full beard: the lower face, the upper lip, and down from the sideburns."""
    if not identity.skin.beard:
        return colour
    draw = np.random.default_rng([identity.seed, 5])
    y, mouth, bearing = chart.y, identity.mouth, np.abs(chart.phi)
    cheek_line = np.interp(
        bearing, [0, 0.25, 0.55, 0.9, 1.15, 1.3], [0.47, 0.50, 0.62, 0.58, 0.30, 0.05]
    ).astype(np.float32)
    grows = smoothstep(-0.05, 0.06, y - cheek_line) * (1 - smoothstep(1.30, 1.42, bearing))
    grows = grows * (1 - smoothstep(1.08, 1.2, y))
    bare = bump(x, 0.10) ** 2 * bump(y - mouth.y - 0.10, 0.03) * 0.5
    lips = smoothstep(1.15, 0.75, (x / (mouth.half_width * 1.05)) ** 2 + ((y - mouth.y - 0.01) / 0.075) ** 2)
    size = (chart.width, chart.height)
    cells = (chart.height, round(chart.width / 1.5))
    grain = cv2.resize(draw.standard_normal(cells, np.float32), size, interpolation=cv2.INTER_LINEAR)
    cover = np.clip(identity.skin.beard * grows * (1 - bare) * (1 - lips) * (1 + 0.22 * grain), 0, 0.95)
    hair = np.array(identity.hair.colour, np.float32) * 0.75 + 6
    return (
        colour * (1 - cover[..., np.newaxis])
        + hair * (1 + 0.18 * grain[..., np.newaxis]) * cover[..., np.newaxis]
    )
