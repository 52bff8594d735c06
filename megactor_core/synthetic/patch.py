"""Small parts of a chart that are drawn on."""

from dataclasses import dataclass

import cv2
import numpy as np

_LEAST_BOX_SIGMA_PX = 1.1
_INVERSE = np.float32(1 / 255)


@dataclass(frozen=True, slots=True)
class Patch:
    """A rectangle of a larger picture: pixels (h, w, 4) is a view of it, corner (2,) its column and row."""

    pixels: np.ndarray
    corner: np.ndarray

    @staticmethod
    def around(picture: np.ndarray, points: np.ndarray, *, margin: float) -> "Patch":
        """The box of points (P, 2) and a margin, within the picture."""
        low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
        left, top = (max(0, int(np.floor(value))) for value in low)
        right, bottom = (int(np.ceil(value)) + 1 for value in high)
        return Patch(picture[top:bottom, left:right], np.array([left, top], np.float32))

    @staticmethod
    def centred(picture: np.ndarray, centre: np.ndarray, *, half_width: float, half_height: float) -> "Patch":
        reach = np.array([[-half_width, -half_height], [half_width, half_height]])
        return Patch.around(picture, centre + reach, margin=0)

    def mask(self) -> np.ndarray:
        return np.zeros(self.pixels.shape[:2], np.uint8)


def blend(pixels: np.ndarray, over: np.ndarray | tuple[int, ...], mask: np.ndarray) -> None:
    """Lay a picture or a colour over pixels (h, w, 4) in place, by a mask (h, w) uint8."""
    share = mask * _INVERSE
    if isinstance(over, tuple):
        above = np.empty_like(pixels)
        above[:] = over
    else:
        above = over
    pixels[:] = cv2.blendLinear(above, np.ascontiguousarray(pixels), share, 1 - share)


def soften(mask: np.ndarray, sigma_px: float) -> np.ndarray:
    """A mask with soft edges: two box filters where they come near a Gaussian, for they are cheaper."""
    width = round(np.sqrt(6 * sigma_px**2 + 1)) // 2 * 2 + 1
    if sigma_px < _LEAST_BOX_SIGMA_PX:
        return cv2.GaussianBlur(mask, (3, 3), sigma_px)
    return cv2.blur(cv2.blur(mask, (width, width)), (width, width))


def rgba(colour: np.ndarray) -> tuple[int, int, int, int]:
    """A colour of three numbers as one that cv2 draws with, opaque."""
    red, green, blue = (int(min(max(value, 0), 255)) for value in colour)
    return red, green, blue, 255


def lines_of(starts: np.ndarray, ends: np.ndarray) -> list[np.ndarray]:
    """Straight lines between two lists of points (P, 2)."""
    return list(np.stack([starts, ends], axis=1))
