"""Hair: where it covers the head, how far it stands off, and its colour, strand by strand.

A cut is a hairline, a shell (the skull, blown up), and for long hair a curtain that hangs beside the face.
Strands are noise drawn out along the lines in which the cut is combed.

Shape legend:
    H, W rows and columns of the chart
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from megactor_core.synthetic.chart import Chart, bump, smoothstep
from megactor_core.synthetic.identity import HairStyle, Identity
from megactor_core.synthetic.relief import skull_radius

Combing = Literal["down", "aside", "back", "curls", "stubble"]


@dataclass(frozen=True, slots=True)
class Cut:
    """One hair style; heights in head units (y, downwards), volumes as shares of the skull's size.

    top, side: how far the hair stands off. sideburn, nape: where it ends before and behind the ear.
    fade: how much skin shows through above the ears. fringe: height to which hair hangs into the forehead.
    fall: heights between which a curtain ends.
    """

    combing: Combing
    top: float
    side: float
    sideburn: float = 0.1
    nape: float = 0.5
    ragged: float = 0.02
    fringe: float | None = None
    fall: tuple[float, float] | None = None
    knot: bool = False
    density: float = 1.0
    fade: float = 0.0


_CUTS: dict[HairStyle, Cut] = {
    "crop": Cut("back", top=0.075, side=0.02, ragged=0.02, fade=0.55),
    "parted": Cut("aside", top=0.12, side=0.05, fade=0.15),
    "swept": Cut("back", top=0.16, side=0.02, sideburn=0.05, fade=0.45),
    "fringe": Cut("down", top=0.09, side=0.06, sideburn=0.16, ragged=0.05, fringe=-0.36),
    "curly": Cut("curls", top=0.17, side=0.12, sideburn=0.12, ragged=0.02),
    "tied": Cut("back", top=0.045, side=0.02, sideburn=-0.02, knot=True),
    "bob": Cut("aside", top=0.10, side=0.15, ragged=0.01, fall=(0.72, 1.0)),
    "long": Cut("aside", top=0.10, side=0.13, ragged=0.01, fall=(1.25, 1.55)),
    "buzz": Cut("stubble", top=0.012, side=0.008, sideburn=0.08, density=0.8),
    "bald": Cut("stubble", top=0.0, side=0.012, density=0.75),
}

_ABOVE_BROWS = -0.25

# Directions (absolute) of the corners of the hairline.
_LINE_PHI = np.array([0, 0.3, 0.52, 0.75, 0.96, 1.10, 1.19, 1.33, 1.39, 1.52, 1.68, 1.80, 2.3])
# Where the front edge of a curtain hangs: heights, directions.
_CURTAIN_Y = (-0.75, -0.5, -0.25, 0.2, 0.8, 1.6)
_CURTAIN_PHI = (0.3, 0.62, 0.84, 0.97, 0.95, 0.72)


@dataclass(frozen=True, slots=True)
class HairCover:
    """Hair on the chart: cover 0 to 1 (H, W), radius with hair (H, W), colour (H, W, 3), shade 0 to 1 (H, W).

    shade darkens the skin beside the hair.
    """

    cover: np.ndarray
    radius: np.ndarray
    colour: np.ndarray
    shade: np.ndarray


def grow_hair(chart: Chart, identity: Identity, skin: np.ndarray) -> HairCover:
    """The hair of an identity on a head with the radius `skin` (H, W) float32."""
    cut = _CUTS[identity.hair.style]
    draw = np.random.default_rng([identity.seed, 2])
    hairline = _hairline(chart, identity, cut)
    depth = hairline + _ragged(chart, cut, draw) - chart.y  # how far above the hairline
    if cut.combing == "curls":
        depth = depth + 0.03 * _curls(chart, np.random.default_rng([identity.seed, 3]))
    inside, smooth = depth, hairline - chart.y
    if cut.fall is not None:
        curtain = _curtain_depth(chart, identity, cut, draw, ends=0.03)
        depth = np.maximum(depth, curtain)
        inside = np.maximum(inside, curtain + 0.03)
        smooth = np.maximum(smooth, curtain)
    if identity.hair.style == "bald":
        depth = inside = smooth = np.minimum(depth, _ring_depth(chart))
    soft = 0.012 if cut.combing != "stubble" else 0.06
    cover = smoothstep(-soft, soft, depth).astype(np.float32) * cut.density
    cover *= 1 - cut.fade * smoothstep(-0.42, 0.0, chart.y) * smoothstep(0.85, 1.1, np.abs(chart.phi))
    shell = _shell(chart, identity, cut)
    # Locks that hang below the jaw begin gently: nothing is behind them that a steep edge could hide.
    rise = (0.10 if cut.fringe is not None else 0.15) + 0.22 * smoothstep(0.55, 0.95, chart.y)
    lifted = smoothstep(0, 1, (inside - 0.02) / (rise - 0.02))
    radius = skin + np.maximum(shell - skin, 0) * lifted
    if cut.combing == "curls":
        radius = radius + 0.03 * _curls(chart, draw) * lifted
    shade = (0.4 * smoothstep(-0.12, 0.02, smooth) * (1 - cover)).astype(np.float32)
    colour = _strands(chart, identity, cut, depth, draw)
    return HairCover(cover, radius.astype(np.float32), colour, shade)


def _hairline(chart: Chart, identity: Identity, cut: Cut) -> np.ndarray:
    """The height of the hairline in every direction, (1, W)."""
    hair, size = identity.hair, identity.head.ears
    top = hair.hairline
    over_ear = 0.10 - 0.27 * size - 0.01
    corners = [top, top - 0.01, top - hair.temples, top + 0.06 - hair.temples, -0.40, -0.27]
    corners += [cut.sideburn, cut.sideburn, over_ear, over_ear - 0.02, over_ear + 0.03, cut.nape, cut.nape]
    line = np.interp(np.abs(chart.phi), _LINE_PHI, corners)
    if cut.fringe is not None:
        # Long on one side of the forehead and short on the other, over the temples up to the ear.
        slope = 0.16 * (0.4 + hair.length) * np.sign(hair.part)
        hanging = cut.fringe - slope * np.sin(1.5 * chart.phi) - 0.10 * bump(chart.phi - hair.part, 0.16)
        hanging = np.minimum(hanging, _ABOVE_BROWS)
        line = np.where(np.abs(chart.phi) < 1.0, np.maximum(line, hanging), line)
    if cut.fall is not None:
        swept = top - 0.13 + 0.34 * np.abs(chart.phi - 0.7 * hair.part) ** 1.3
        line = np.where(np.abs(chart.phi) < 1.2, np.minimum(swept, -0.15), line)
    elif cut.combing == "aside":
        beside = (chart.phi - hair.part) * -np.sign(hair.part)
        line = line + 0.13 * smoothstep(0.05, 0.8, beside) * bump(chart.phi, 0.9)
    return cv2.GaussianBlur(line.astype(np.float32), (0, 0), chart.columns_per_radian * 0.03)


def _ragged(chart: Chart, cut: Cut, draw: np.random.Generator) -> np.ndarray:
    """Uneven ends of the hair along the hairline, (1, W)."""
    fine = _noise(draw, (1, round(chart.width / 4)), (1, chart.width))
    coarse = _noise(draw, (1, 40), (1, chart.width))
    return cut.ragged * (0.5 * fine + 0.5 * coarse)


def _curtain_depth(
    chart: Chart, identity: Identity, cut: Cut, draw: np.random.Generator, *, ends: float
) -> np.ndarray:
    """How far a place lies inside the hair that hangs beside the face, (H, W); tips are uneven by `ends`."""
    assert cut.fall is not None
    low, high = cut.fall
    waves = 0.04 * _noise(draw, (7, 1), (chart.height, 1))
    edge = np.interp(chart.y, _CURTAIN_Y, _CURTAIN_PHI).astype(np.float32) + waves
    beside = (np.abs(chart.phi) - edge) * 0.8
    tips = low + (high - low) * identity.hair.length + ends * _noise(draw, (1, 90), (1, chart.width))
    return np.minimum(beside, tips + 0.06 * bump(np.abs(chart.phi) - 1.3, 0.4) - chart.y)


def _ring_depth(chart: Chart) -> np.ndarray:
    """Inside the ring of hair that a bald head keeps at its sides."""
    crown = -0.38 + 0.2 * smoothstep(1.0, 1.3, np.abs(chart.phi))
    return np.minimum(chart.y - crown, np.abs(chart.phi) - 1.08)


def _shell(chart: Chart, identity: Identity, cut: Cut) -> np.ndarray:
    """The outer surface of the hair: the skull, blown up about the ears' height, (H, W)."""
    hair = identity.hair
    side = cut.side * hair.volume
    top = np.full_like(chart.phi, cut.top * hair.volume)
    centre = -0.15
    if cut.combing == "aside":
        away = -np.sign(hair.part) * (chart.phi - hair.part)
        top = top * (0.85 + 0.3 * smoothstep(-0.4, 0.5, away))
    if hair.style == "swept":
        top = top * (0.75 + 0.4 * smoothstep(0.0, 0.9, np.cos(chart.phi)))
    above = centre + (np.minimum(chart.y, centre) - centre) / (1 + top)
    # Below the ears hair hangs straight down instead of following the jaw.
    hanging = np.minimum(chart.y, 0.12) if cut.fall is not None else chart.y
    rows = np.where(chart.y < centre, above, hanging)
    shell = _skull_at(chart, identity, rows) * (1 + side)
    if cut.fall is not None:
        shell = shell * (1.02 - 0.10 * smoothstep(0.6, 1.5, chart.y))
    if cut.combing == "aside":
        shell = shell - 0.025 * bump(chart.phi - hair.part, 0.05) * smoothstep(0.35, 0.6, -chart.y)
    if cut.knot and hair.length > 0.4:
        knot = 0.27 * np.sqrt(np.clip(1 - ((chart.y + 1.2) / 0.19) ** 2, 0, 1))
        shell = np.maximum(shell, knot)
    return shell.astype(np.float32)


def _skull_at(chart: Chart, identity: Identity, rows: np.ndarray) -> np.ndarray:
    """Radius of the skull at other heights than the chart's own: rows (H, W) or (H, 1) of heights y."""
    skull = skull_radius(chart, identity.head)
    columns = np.broadcast_to(np.arange(chart.width, dtype=np.float32), skull.shape)
    lines = np.broadcast_to(chart.row(0) + rows * chart.rows_per_unit, skull.shape).astype(np.float32)
    return cv2.remap(skull, np.ascontiguousarray(columns), np.ascontiguousarray(lines), cv2.INTER_LINEAR)


def _strands(
    chart: Chart, identity: Identity, cut: Cut, depth: np.ndarray, draw: np.random.Generator
) -> np.ndarray:
    """The colour of the hair, (H, W, 3) float32."""
    hair = identity.hair
    base = np.array(hair.colour, np.float32)
    if cut.combing == "curls":
        light = 0.30 * _curls(chart, np.random.default_rng([identity.seed, 3])) - 0.05
    elif cut.combing == "stubble":
        light = 0.15 * _noise(draw, (chart.height, chart.width), (chart.height, chart.width))
    else:
        light = _combed(chart, identity, cut, draw)
    light = light * hair.strands
    roots = -0.30 * bump(depth, 0.06) - 0.25 * smoothstep(0.3, 1.3, chart.y)
    if cut.combing == "aside":
        roots = roots - 0.5 * bump(chart.phi - hair.part, 0.018) * smoothstep(0.4, 0.6, -chart.y)
    colour = base * (1 + light + roots)[..., np.newaxis]
    gloss = _gloss(chart, cut) * (1 + 2.0 * light)
    return np.clip(colour + (0.16 * base + 10) * gloss[..., np.newaxis], 3, 232).astype(np.float32)


def _combed(chart: Chart, identity: Identity, cut: Cut, draw: np.random.Generator) -> np.ndarray:
    """Strands along the lines in which the hair is combed, about -0.3 to 0.3, (H, W)."""
    phi, y = np.broadcast_arrays(chart.phi, chart.y)
    if cut.combing == "aside":
        lying = smoothstep(0.0, 0.7, -y) if cut.fall is not None else smoothstep(-0.3, 0.3, -y)
        aside = np.abs(phi - identity.hair.part)
        across = y * lying - 0.75 * aside**1.4
    else:
        across = phi * (1 + 0.1 * y) + 0.02 * _noise(draw, (8, 10), phi.shape)
    across = across + 0.025 * _noise(draw, (9, 14), phi.shape)
    along = y + 0.4 * phi
    fine = _streaks(draw, across * 55, along * 2.0)
    coarse = _streaks(draw, across * 16, along * 1.2)
    return 0.13 * fine + 0.11 * coarse


def _streaks(draw: np.random.Generator, across: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Noise with one step a unit in both directions, about unit variance, in the shape of its arguments."""
    table = draw.standard_normal((32, 512), np.float32)
    columns = np.clip(across + 256, 0, 511).astype(np.float32)
    rows = np.clip(along + 12, 0, 31).astype(np.float32)
    return cv2.remap(table, columns, rows, cv2.INTER_LINEAR)


def _curls(chart: Chart, draw: np.random.Generator) -> np.ndarray:
    """Rounded tufts, about -1 to 1, (H, W)."""
    rows, columns = chart.height, chart.width
    tufts = _noise(draw, (34, 50), (rows, columns))
    twists = _noise(draw, (68, 100), (rows, columns))
    return np.clip(0.6 * tufts + 0.45 * twists, -1.2, 1.2)


def _gloss(chart: Chart, cut: Cut) -> np.ndarray:
    """The band of light on the crown of combed hair."""
    if cut.combing in ("curls", "stubble"):
        return np.zeros((chart.height, chart.width), np.float32)
    return 0.5 * bump(chart.y + 0.82 - 0.12 * np.square(chart.phi), 0.13)


def _noise(draw: np.random.Generator, cells: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Smooth noise of unit variance at `cells` random points, (rows, columns) float32."""
    grid = draw.standard_normal(cells, np.float32)
    return cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
