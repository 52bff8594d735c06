"""The portrait: one face, cropped to the model's picture.

Shape legend:  S side of the model's picture in pixels
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from megactor_core.animation.plan import Plan
from megactor_core.config.animate import CropConfig
from megactor_core.config.model import PortraitCropConfig
from megactor_core.errors import FaceError
from megactor_core.faces.amplitude import transform_points
from megactor_core.faces.crop import CropMargins, SquareCrop, crop_image, portrait_crop
from megactor_core.faces.landmarks import Face, detect_faces
from megactor_core.media.apart import read_image


@dataclass(frozen=True, slots=True)
class Portrait:
    """The cropped portrait: picture (S, S, 3) uint8 RGB, points (68, 2) in its pixels or None."""

    picture: np.ndarray
    points: np.ndarray | None

    @property
    def size_px(self) -> int:
        return self.picture.shape[0]

    def require_points(self) -> np.ndarray:
        """The points, where a visual driver is aligned to them."""
        assert self.points is not None, "read_portrait finds points wherever there is a visual driver"
        return self.points


def read_portrait(job: Plan, *, size_px: int, trained_on: PortraitCropConfig) -> Portrait:
    """Read, find the face and crop; `trained_on` is the checkpoint's crop, for margins that nobody set.

    Raises MediaError for a file that is no image, FaceError where no face is found (one is needed for the
    face crop, and to align a visual driver).
    """
    config, path = job.config, job.reference
    image = read_image(path, limits=config.limits)
    height, width = image.shape[:2]
    if config.crop.mode == "square" and config.driving is None:
        return Portrait(crop_image(image, _centred_square(width, height), size_px=size_px), None)
    faces = detect_faces(image, back_end=config.landmarks)
    points = choose_face(faces, config.face, path=path, shape=image.shape).points
    crop = _crop_about(points, width=width, height=height, config=config.crop, trained_on=trained_on)
    return Portrait(
        picture=crop_image(image, crop, size_px=size_px),
        points=transform_points(crop.to_matrix(size_px), points),
    )


def choose_face(faces: list[Face], wanted: int | str, *, path: Path, shape: tuple[int, ...]) -> Face:
    """The wanted one of `faces` (largest first); a picture with a single face needs no choice."""
    if not faces:
        raise FaceError(
            f"No face was found in '{path}' ({shape[1]} x {shape[0]} pixels).",
            fix="Use a picture with a clear, unobstructed face; for a drawing that is cropped to the face "
            "already and sound alone, try --set crop.mode=square.",
        )
    if wanted == "largest" or len(faces) == 1:
        return faces[0]
    if int(wanted) >= len(faces):
        raise FaceError(
            f"--face {wanted} asks for a face, counted from 0, that '{path}' lacks: it shows {len(faces)}.",
            fix=f"Use --face 0 to --face {len(faces) - 1}.",
        )
    return faces[int(wanted)]


def _crop_about(
    points: np.ndarray, *, width: int, height: int, config: CropConfig, trained_on: PortraitCropConfig
) -> SquareCrop:
    if config.mode == "square":
        return _centred_square(width, height)
    given = config.model_dump(exclude={"mode"}, exclude_none=True)
    margins = CropMargins(**(trained_on.model_dump() | given))
    return portrait_crop(points, frame_width=width, frame_height=height, margins=margins)


def _centred_square(width: int, height: int) -> SquareCrop:
    side = min(width, height)
    # Whole numbers are pixel centres: a picture's own edge is at -0.5.
    return SquareCrop(x=(width - side) / 2 - 0.5, y=(height - side) / 2 - 0.5, side=side)
