"""Small parts of a chart that are drawn on."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

_LEAST_BOX_SIGMA_PX = 1.1


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

    def mirrored(self, picture: np.ndarray) -> "Patch":
        """The same part on the other side of the picture's middle."""
        rows, columns = self.pixels.shape[:2]
        top, left = int(self.corner[1]), picture.shape[1] - int(self.corner[0]) - columns
        return Patch(picture[top : top + rows, left : left + columns], np.array([left, top], np.float32))

    def mask(self) -> np.ndarray:
        return np.zeros(self.pixels.shape[:2], np.uint8)


def blend(pixels: np.ndarray, over: np.ndarray | tuple[int, int, int, int], mask: np.ndarray) -> None:
    """Lay a picture or a colour over pixels (h, w, 4) in place, by a mask (h, w) uint8."""
    if isinstance(over, tuple):
        over = _plain(over, mask.shape)
    lay_over(pixels, over, mask)


def lay_over(pixels: np.ndarray, over: np.ndarray, mask: np.ndarray) -> None:
    """Lay a picture over another, both (h, w, 4) uint8, in place, by a mask (h, w) uint8."""
    share = cv2.merge([mask] * 4)
    shown = cv2.multiply(over, share, scale=1 / 255)
    hidden = cv2.multiply(pixels, cv2.bitwise_not(share), scale=1 / 255)
    cv2.add(shown, hidden, dst=pixels)


@lru_cache(maxsize=256)
def _plain(colour: tuple[int, int, int, int], shape: tuple[int, int]) -> np.ndarray:
    plain = np.empty((*shape, 4), np.uint8)
    plain[:] = colour
    plain.flags.writeable = False
    return plain


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


def lines_of(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Straight lines between two lists of points (P, 2): (P, 2, 2)."""
    return np.stack([starts, ends], axis=1)
