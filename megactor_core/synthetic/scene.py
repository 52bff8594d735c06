"""What is behind and below a head: backdrop, shoulders and clothes, painted once and moved.

Shape legend:
    S side of the picture in pixels
"""

from dataclasses import dataclass

import cv2
import numpy as np

from megactor_core.synthetic.chart import bump, smoothstep
from megactor_core.synthetic.curves import curve, fill
from megactor_core.synthetic.identity import Identity, Neckline
from megactor_core.synthetic.light import Lamp

_LEFT, _TOP, _RIGHT, _BOTTOM = -2.1, -0.22, 2.1, 2.0
"""The painted part round the base of the neck, head units."""
_DETAIL = 1.2
"""Painted pixels per pixel of the picture."""
_NECK_X, _SHOULDER_X = 0.47, 1.32

# Outline of trapezius, shoulder and arm, from the neck outwards.
_SHOULDER = np.array(
    [[0.0, -0.14], [0.40, -0.15], [0.62, -0.06], [1.0, 0.06], [1.36, 0.24], [1.56, 0.62], [1.66, 2.1]]
)
# Half widths and depths of the openings, head units: x reach, y of the lowest point, then a cut below it.
_OPENINGS: dict[Neckline, tuple[float, float, float]] = {
    "crew": (0.56, 0.16, 0.0),
    "vee": (0.60, 0.12, 0.62),
    "shirt": (0.54, 0.10, 0.42),
    "wide": (0.92, 0.36, 0.0),
}


def paint_backdrop(identity: Identity, *, size_px: int) -> np.ndarray:
    """The background, (S, S, 4) uint8."""
    draw = np.random.default_rng([identity.seed, 7])
    first, second, third = (np.array(colour, np.float32) for colour in identity.backdrop.colours)
    y, x = np.mgrid[0:size_px, 0:size_px].astype(np.float32)[..., np.newaxis] / size_px
    match identity.backdrop.kind:
        case "vertical":
            picture = first * (1 - y) + second * y
        case "horizontal":
            picture = first * (1 - x) + second * x
        case "spot":
            near = bump(np.hypot(x - 0.5, y - 0.35), 0.75)
            picture = first * (0.45 + 0.55 * near)
        case "clouds":
            picture = _clouds(draw, first, size_px)
        case "shelves":
            picture = _shelves(draw, (first, second, third), size_px)
        case _:
            picture = _bokeh(draw, (first, second, third), size_px)
    painted = np.full((size_px, size_px, 4), 255, np.uint8)
    painted[..., :3] = np.clip(picture, 0, 255)
    return painted


def _clouds(draw: np.random.Generator, colour: np.ndarray, size_px: int) -> np.ndarray:
    cells = np.clip(colour + draw.normal(0, 30, (5, 5, 1)) + draw.normal(0, 10, (5, 5, 3)), 0, 255)
    return cv2.resize(cells.astype(np.float32), (size_px, size_px), interpolation=cv2.INTER_CUBIC)


def _shelves(draw: np.random.Generator, colours: tuple[np.ndarray, ...], size_px: int) -> np.ndarray:
    """A wall with upright and level boards and things on them, out of focus."""
    picture = np.empty((size_px, size_px, 3), np.float32)
    picture[:] = colours[0]
    for _ in range(14):
        left, top = draw.uniform(-0.1, 1, 2)
        width, height = draw.uniform(0.03, 0.12), draw.uniform(0.1, 0.4)
        colour = colours[int(draw.integers(3))] * draw.uniform(0.6, 1.2)
        corners = [int(size_px * value) for value in (left, top, left + width, top + height)]
        cv2.rectangle(picture, corners[:2], corners[2:], tuple(map(float, colour)), -1)
    for level in draw.uniform(0, 1, 2):
        ends = (0, int(size_px * level)), (size_px, int(size_px * (level + 0.03)))
        cv2.rectangle(picture, *ends, tuple(map(float, colours[2] * 0.7)), -1)
    return cv2.GaussianBlur(picture, (0, 0), size_px / 50)


def _bokeh(draw: np.random.Generator, colours: tuple[np.ndarray, ...], size_px: int) -> np.ndarray:
    """Discs of light before a dark gradient."""
    down = np.linspace(0.35, 0.75, size_px, dtype=np.float32)[:, np.newaxis, np.newaxis]
    picture = np.ascontiguousarray(np.broadcast_to(colours[0] * down, (size_px, size_px, 3)))
    for _ in range(22):
        disc = picture.copy()
        centre = [int(size_px * value) for value in draw.uniform(0, 1, 2)]
        colour = np.clip(colours[int(draw.integers(1, 3))] * 1.2 + 20, 0, 255)
        cv2.circle(disc, centre, int(size_px * draw.uniform(0.02, 0.09)), tuple(map(float, colour)), -1)
        picture += draw.uniform(0.15, 0.4) * (disc - picture)
    return cv2.GaussianBlur(picture, (0, 0), size_px / 110)


@dataclass(frozen=True, slots=True)
class Torso:
    """Shoulders with clothes, `unit_px` pixels a head unit.

    picture (h, w, 4) uint8 with the body's opacity as alpha; cloth (h, w) uint8: where it hides the neck.
    """

    picture: np.ndarray
    cloth: np.ndarray
    unit_px: float

    def body(self, base: tuple[float, float], unit_px: float, *, size_px: int, first_row: int) -> np.ndarray:
        """The body in the rows of an S x S picture from `first_row` on; the neck is at `base`."""
        return self._placed(self.picture, base, unit_px, (0, first_row), (size_px, size_px - first_row))

    def before_neck(
        self, base: tuple[float, float], unit_px: float, *, corner: tuple[int, int], size: tuple[int, int]
    ) -> np.ndarray:
        """Where cloth hides the neck, in a part of the picture: first column and row; width, height."""
        return self._placed(self.cloth, base, unit_px, corner, size)

    def _placed(
        self,
        painted: np.ndarray,
        base: tuple[float, float],
        unit_px: float,
        corner: tuple[int, int],
        size: tuple[int, int],
    ) -> np.ndarray:
        scale = unit_px / self.unit_px
        left, top = base[0] + _LEFT * unit_px - corner[0], base[1] + _TOP * unit_px - corner[1]
        move = np.array([[scale, 0, left], [0, scale, top]], np.float64)
        return cv2.warpAffine(painted, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def top_row(self, base: tuple[float, float], unit_px: float) -> int:
        return int(np.floor(base[1] + _TOP * unit_px))


def paint_torso(identity: Identity, lamp: Lamp, *, unit_px: float) -> Torso:
    """Body, skin of the chest and garment of an identity for pictures with `unit_px` pixels a head unit."""
    detail = unit_px * _DETAIL
    columns, rows = round((_RIGHT - _LEFT) * detail), round((_BOTTOM - _TOP) * detail)
    x = (_LEFT + (np.arange(columns, dtype=np.float32) + 0.5) / detail)[np.newaxis]
    y = (_TOP + (np.arange(rows, dtype=np.float32) + 0.5) / detail)[:, np.newaxis]
    body = _body(identity, (rows, columns), detail)
    cloth = _cloth(identity, (rows, columns), detail)
    folds = _folds(identity, (rows, columns))
    light = _lit(lamp, x, y, folds * cloth / 255)
    skin = np.array(identity.skin.colour, np.float32) * _collarbones(x, y)
    covered = (cloth / np.float32(255))[..., np.newaxis]
    garment = _garment(identity, cloth, x, y, detail)
    colour = (skin * (1 - covered) + garment * covered) * light
    under_head = 1 - 0.42 * bump(x, 0.62) * bump(y + 0.12, 0.30)
    picture = np.empty((rows, columns, 4), np.uint8)
    picture[..., 3] = body
    picture[..., :3] = np.clip(colour * under_head[..., np.newaxis], 0, 255)
    before_neck = np.minimum(cloth, 255 * smoothstep(-0.12, -0.02, y + 0 * x)).astype(np.uint8)
    return Torso(picture, before_neck, detail)


def _pixels(points: np.ndarray, detail: float) -> np.ndarray:
    return (points - np.array([_LEFT, _TOP])) * detail - 0.5


def _body(identity: Identity, shape: tuple[int, int], detail: float) -> np.ndarray:
    """Opacity of neck base and shoulders, uint8."""
    outline = _SHOULDER.copy()
    out = smoothstep(_NECK_X, _SHOULDER_X, outline[:, 0])
    outline[:, 0] *= identity.head.neck * (1 - out) + identity.clothes.shoulders * out
    right = curve(outline, steps=8)
    mask = np.zeros(shape, np.uint8)
    fill(mask, _pixels(np.concatenate([right, right[::-1] * (-1, 1)]), detail), (255,))
    return mask


def _cloth(identity: Identity, shape: tuple[int, int], detail: float) -> np.ndarray:
    """Where the garment covers the body: everything outside its opening, uint8."""
    half_width, low, cut = _OPENINGS[identity.clothes.neckline]
    turn = np.linspace(0, np.pi, 24)
    opening = np.stack([half_width * np.cos(turn), -0.22 + (low + 0.22) * np.sin(turn) ** 0.8], axis=1)
    opening = np.concatenate([opening, [[-half_width, -1.0], [half_width, -1.0]]])
    mask = np.full(shape, 255, np.uint8)
    fill(mask, _pixels(opening, detail), (0,))
    if cut:
        notch = np.array([[-0.34, -0.05], [0.34, -0.05], [0.0, cut]])
        fill(mask, _pixels(notch, detail), (0,))
    return mask


def _folds(identity: Identity, shape: tuple[int, int]) -> np.ndarray:
    """Brightness of the cloth's folds, about -0.1 to 0.1."""
    draw = np.random.default_rng([identity.seed, 8])
    cells = draw.standard_normal((5, 22), np.float32)
    return 0.06 * cv2.resize(cells, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def _lit(lamp: Lamp, x: np.ndarray, y: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """The lamp's light on a chest that is round to the sides and faces up at the shoulders, (h, w, 3)."""
    x, y = np.broadcast_arrays(x, y)
    normals = np.stack([0.5 * x + folds, -0.55 + 0.35 * smoothstep(-0.2, 0.7, y), 0 * x + 0.8], axis=-1)
    return lamp.shade(normals / np.linalg.norm(normals, axis=-1, keepdims=True)) * (
        1 + folds[..., np.newaxis]
    )


def _collarbones(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    line = y - 0.10 + 0.10 * np.abs(x)
    bones = bump(np.abs(x) - 0.42, 0.30) * (0.10 * bump(line, 0.035) - 0.14 * bump(line - 0.075, 0.04))
    return (1 + bones - 0.16 * bump(x, 0.05) * bump(y - 0.10, 0.06))[..., np.newaxis]


def _garment(
    identity: Identity, cloth: np.ndarray, x: np.ndarray, y: np.ndarray, detail: float
) -> np.ndarray:
    """Cloth with a hem along the neckline; a shirt's collar and buttons are of the same cloth, lighter."""
    colour, trim = (np.array(value, np.float32) for value in (identity.clothes.colour, identity.clothes.trim))
    width = 0.16 if identity.clothes.neckline == "shirt" else 0.055
    inner = cv2.GaussianBlur(cloth, (0, 0), width * detail / 2).astype(np.float32) / 255
    hem = smoothstep(0.97, 0.90, inner)[..., np.newaxis]
    edge = (bump(inner - 0.92, 0.035) * 0.35)[..., np.newaxis]
    hem_colour = colour * 1.12 if identity.clothes.neckline == "shirt" else 0.6 * colour + 0.4 * trim
    garment = colour * (1 - hem) + hem_colour * hem
    if identity.clothes.neckline == "shirt":
        placket = 0.25 * bump(np.abs(x) - 0.09, 0.012) * smoothstep(0.35, 0.4, y)
        edge = edge + placket[..., np.newaxis]
    return garment * (1 - edge)
