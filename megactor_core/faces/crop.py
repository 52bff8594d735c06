"""Square crops round a face, and one anti-aliased warp that every crop goes through.

Coordinates: points are in pixels with whole numbers at pixel centres (as OpenCV has it), so a picture spans
-0.5 to width - 0.5. 2x3 matrices act on (x, y, 1) of such points.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from megactor_core.errors import FaceError, MediaError

SHRINK_MARGIN_PX = 2
SMALLEST_SCALE = 1e-6


@dataclass(frozen=True, slots=True)
class CropMargins:
    """How far a portrait crop reaches from the face's centre, in units of max(width, height) of its box.

    The defaults are [R]'s for a single picture.
    """

    left: float = 1.25
    right: float = 1.25
    top: float = 1.5
    bottom: float = 1.0


@dataclass(frozen=True, slots=True)
class SquareCrop:
    """A square cut out of a picture: its left and top edges and its side, in pixels.

    Edges, not pixel centres: the crop of a whole 512 px picture is x = -0.5, y = -0.5, side = 512.
    """

    x: float
    y: float
    side: float

    def to_matrix(self, size_px: int) -> np.ndarray:
        """The (2, 3) float64 map from picture points to points of the crop drawn at `size_px` pixels."""
        scale = size_px / self.side
        return np.array(
            [[scale, 0, -scale * self.x - 0.5], [0, scale, -scale * self.y - 0.5]], dtype=np.float64
        )


def portrait_crop(
    points: np.ndarray, *, frame_width: int, frame_height: int, margins: CropMargins
) -> SquareCrop:
    """The square to cut round a face; `points` is (68, 2), or (F, 68, 2) for the union of a clip.

    As in [R]: the margins times e = max(w, h) of the face box, clipped to the picture, then the largest
    square about the centre of what is left. Not in the paper, ours: where that square would cut into the
    face box, it grows and moves just enough to keep the whole box, and `crop_image` repeats the picture's
    border where the square then leaves the picture. Points that are NaN are passed over.
    Raises FaceError where no point is left or the box is empty.
    """
    x0, y0, x1, y1 = _face_box(points)
    e = max(x1 - x0, y1 - y0)
    centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2
    left = max(centre_x - margins.left * e, -0.5)
    right = min(centre_x + margins.right * e, frame_width - 0.5)
    top = max(centre_y - margins.top * e, -0.5)
    bottom = min(centre_y + margins.bottom * e, frame_height - 0.5)
    side = max(min(right - left, bottom - top), e)
    return SquareCrop(
        x=_place((left + right) / 2 - side / 2, side=side, keep=(x0, x1), frame_px=frame_width),
        y=_place((top + bottom) / 2 - side / 2, side=side, keep=(y0, y1), frame_px=frame_height),
        side=side,
    )


def crop_image(image: np.ndarray, crop: SquareCrop, *, size_px: int) -> np.ndarray:
    """Draw a crop of an (H, W, 3) uint8 picture as (size_px, size_px, 3) uint8.

    Shrinking averages areas, so nothing aliases; beyond the picture its border pixels are repeated.
    """
    return warp_image(image, crop.to_matrix(size_px), size_px=size_px, border="replicate")


def warp_image(image: np.ndarray, matrix: np.ndarray, *, size_px: int, border: str) -> np.ndarray:
    """Warp a picture by a (2, 3) map of its points to a square of `size_px` pixels, without aliasing.

    `border` is "replicate" (repeat the edge pixels) or "black". Raises MediaError for a picture that is not
    (H, W, 3) uint8.
    """
    require_rgb_image(image)
    scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if SMALLEST_SCALE < scale < 1:  # a map that flattens the picture has no footprint to reduce
        image, matrix = _shrink(image, matrix, size_px=size_px, scale=scale)
    return cv2.warpAffine(
        image,
        matrix,
        (size_px, size_px),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE if border == "replicate" else cv2.BORDER_CONSTANT,
    )


def require_rgb_image(image: np.ndarray) -> None:
    """Raise MediaError unless `image` is a non-empty (H, W, 3) uint8 array."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise MediaError(
            f"A picture must be (height, width, 3) of uint8, got {image.shape} of {image.dtype}.",
            fix="Convert it to 8-bit RGB.",
        )


def _face_box(points: np.ndarray) -> tuple[float, float, float, float]:
    flat = points.reshape(-1, 2).astype(np.float64)
    flat = flat[np.isfinite(flat).all(axis=1)]
    if len(flat) == 0 or not (np.ptp(flat, axis=0) > 0).any():
        raise FaceError("There is no face to crop: the landmarks are missing or all in one place.")
    (x0, y0), (x1, y1) = flat.min(axis=0), flat.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def _place(start: float, *, side: float, keep: tuple[float, float], frame_px: int) -> float:
    """Move an interval of length `side` into the frame where it fits, and then over `keep` in any case."""
    if side <= frame_px:
        start = min(max(start, -0.5), frame_px - 0.5 - side)
    return min(max(start, keep[1] - side), keep[0])


def _shrink(
    image: np.ndarray, matrix: np.ndarray, *, size_px: int, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Reduce the part of the picture that a warp reads to the warp's own scale; adapt the matrix."""
    x0, y0, x1, y1 = _footprint(image, matrix, size_px=size_px)
    part = image[y0:y1, x0:x1]
    width, height = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    small = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    per_x, per_y = (x1 - x0) / width, (y1 - y0) / height
    small_to_image = np.array(
        [[per_x, 0, x0 + per_x / 2 - 0.5], [0, per_y, y0 + per_y / 2 - 0.5], [0, 0, 1]], dtype=np.float64
    )
    return small, matrix @ small_to_image


def _footprint(image: np.ndarray, matrix: np.ndarray, *, size_px: int) -> tuple[int, int, int, int]:
    """The pixels a warp reads, as x0, y0, x1, y1 inside the picture, at least one pixel wide and high."""
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [size_px, 0], [0, size_px], [size_px, size_px]], dtype=np.float64) - 0.5
    found = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    reach = SHRINK_MARGIN_PX + 1 / math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    x0, y0 = np.floor(found.min(axis=0) - reach).astype(int)
    x1, y1 = np.ceil(found.max(axis=0) + reach).astype(int)
    x0, y0 = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
    return int(x0), int(y0), int(min(max(x1, x0 + 1), width)), int(min(max(y1, y0 + 1), height))
