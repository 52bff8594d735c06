"""Face crops on their way from the stage that decodes to the one that runs SyncNet, which may own a GPU.

Rows carry paths and numbers only, so the crops of a clip lie in a file until they have been looked at: 3.8 MB
a second of video.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from megactor_core.metrics.sync_crop import crop_face, crop_squares
from megactor_core.metrics.syncnet import SIDE_PX

CROPS: Final = "crops"
"""The row's column that names the file."""


def write_crops(folder: Path, name: str, frames: Iterable[np.ndarray], points: np.ndarray) -> Path:
    """Write the crops of a clip whose face lies at `points` (F, 68, 2): (F, 224, 224, 3) uint8.

    Raises MetricError where there is no face to crop.
    """
    squares = crop_squares(points)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.{os.getpid()}.npy"
    shape = (len(squares), SIDE_PX, SIDE_PX, 3)
    crops = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    for number, (frame, square) in enumerate(zip(frames, squares, strict=True)):
        crops[number] = crop_face(frame, square)
    crops.flush()
    return path


def read_crops(path: Path) -> np.ndarray:
    """The crops, read from the disk as they are needed."""
    return np.asarray(np.load(path, mmap_mode="c"))  # writable in memory, as torch wants its arrays
