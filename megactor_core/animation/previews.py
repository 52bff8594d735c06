"""Aligned driving frames and patches, kept on disk while --compare or --contact-sheet needs them."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from megactor_core.animation.plan import Plan
from megactor_core.animation.store import RunFolder

JPEG_QUALITY = 95


def open_previews(job: Plan, folder: RunFolder, *, size_px: int) -> "Previews | None":
    """A store in the run's folder where there is a driver to show and somebody asked to see it, else None."""
    wanted = job.outputs.compare is not None or job.outputs.sheet is not None
    if not wanted or job.config.driving is None:
        return None
    path = folder.path / "previews"
    path.mkdir(exist_ok=True)
    return Previews(path, size_px=size_px)


class Previews:
    """Pictures by driving frame number in a folder; nothing is held in memory."""

    def __init__(self, folder: Path, *, size_px: int) -> None:
        self.folder = folder
        self.size_px = size_px

    def keep(self, frames: Sequence[int], *, pictures: np.ndarray, patches: np.ndarray) -> None:
        """Store (n, S, S, 3) uint8 pictures and (n, S, S, 3) float patches in [0, 1] of these frames."""
        for number, picture, patch in zip(frames, pictures, patches, strict=True):
            self._write(self._path(number, "driver"), picture)
            self._write(self._path(number, "patches"), (patch * 255).round().astype(np.uint8))

    def driver(self, frame: int) -> np.ndarray:
        """The aligned driving frame; black where nothing drives."""
        return self._read(self._path(frame, "driver"))

    def patches(self, frame: int) -> np.ndarray:
        """What the model sees of it; black where nothing drives."""
        return self._read(self._path(frame, "patches"))

    def _path(self, frame: int, kind: str) -> Path:
        return self.folder / f"{frame:08d}.{kind}.jpg"

    def _write(self, path: Path, picture: np.ndarray) -> None:
        cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])

    def _read(self, path: Path) -> np.ndarray:
        if not path.exists():
            return np.zeros((self.size_px, self.size_px, 3), dtype=np.uint8)
        return np.ascontiguousarray(np.asarray(cv2.imread(str(path)))[..., ::-1])
