"""Smooth lines through few points, and drawing them anti-aliased between pixels."""

from functools import cache

import cv2
import numpy as np

_SUBPIXEL_BITS = 4


@cache
def _catmull_rom(points: int, steps: int) -> np.ndarray:
    """The matrix that takes control points to `steps` points a span, ends included."""
    rows = []
    for span in range(points - 1):
        last = span == points - 2
        for t in np.linspace(0, 1, steps + last, endpoint=last):
            weights = 0.5 * np.array(
                [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3]
            )
            row = np.zeros(points + 2)
            row[span : span + 4] = weights
            # The points before the first and after the last continue the line.
            row[1] += 2 * row[0]
            row[2] -= row[0]
            row[-2] += 2 * row[-1]
            row[-3] -= row[-1]
            rows.append(row[1:-1])
    return np.array(rows, np.float32)


def curve(points: np.ndarray, *, steps: int = 5) -> np.ndarray:
    """A smooth line through points (P, 2) in their order, ((P - 1) * steps + 1, 2) float32."""
    return _catmull_rom(len(points), steps) @ points.astype(np.float32)


def fill(picture: np.ndarray, outline: np.ndarray, colour: tuple[float, ...]) -> None:
    """Fill a polygon (P, 2) of pixel positions."""
    cv2.fillPoly(picture, [_fixed(outline)], colour, cv2.LINE_AA, _SUBPIXEL_BITS)


def stroke(picture: np.ndarray, lines: np.ndarray, colour: tuple[float, ...], *, thickness: int = 1) -> None:
    """Draw an open line (P, 2) of pixel positions, or several of them (L, P, 2)."""
    fixed = _fixed(lines)
    cv2.polylines(
        picture,
        [fixed] if lines.ndim == 2 else list(fixed),
        False,
        colour,
        thickness,
        cv2.LINE_AA,
        _SUBPIXEL_BITS,
    )


def disc(
    picture: np.ndarray,
    centre: np.ndarray,
    radii: tuple[float, float],
    colour: tuple[float, ...],
    *,
    thickness: int = -1,
) -> None:
    """Draw an ellipse with upright axes; thickness -1 fills it."""
    x, y = (int(value) for value in _fixed(centre))
    axes = (round(radii[0] * 16), round(radii[1] * 16))
    cv2.ellipse(picture, (x, y), axes, 0, 0, 360, colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.rint(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)
