"""Whether a driver shows a face where its clip does: a look at a few frames, so that a wrong file is noticed.

Shape legend:
    F frames   S side of the crop in pixels
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.data.sample import SampleArrays, read_arrays
from megactor_core.errors import MediaError
from megactor_core.faces.landmarks import detect_landmarks

EVERY: Final = 10
"""Frames from one that is looked at to the next (ours)."""
MOST_LOOKED_AT: Final = 30
"""Frames of a long clip; they are held in memory (ours)."""


class DriverFaces:
    """Keeps a few of the driver's pictures on their way into the sample in `folder`, and looks at them."""

    def __init__(self, folder: Path, *, config: PreprocessConfig) -> None:
        self._clip: SampleArrays = read_arrays(folder)
        frames = len(self._clip.points)
        self._every = max(EVERY, -(-frames // MOST_LOOKED_AT))
        self._config = config
        self._kept: list[np.ndarray] = []

    def watch(self, pictures: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """The pictures (S, S, 3) as they come."""
        for number, picture in enumerate(pictures):
            if number % self._every == 0:
                self._kept.append(picture)
            yield picture

    def require(self, path: Path) -> None:
        """Raise MediaError where too few of the pictures show a face at the clip's place."""
        # Each by itself: between two of them a head may have moved too far to be followed.
        seen = [self._shows_face(picture, number) for number, picture in enumerate(self._kept)]
        if sum(seen) < self._config.min_face_share * len(seen):
            raise MediaError(
                f"The driver '{path}' shows a face where its clip does in {sum(seen)} of {len(seen)} frames "
                f"looked at; {self._config.min_face_share:.0%} are needed.",
                fix="A driver is its clip with another face: same place, frame by frame.",
            )

    def _shows_face(self, picture: np.ndarray, number: int) -> bool:
        track = detect_landmarks([picture], back_end=self._config.landmarks)
        if not track.found[0]:
            return False
        points = self._clip.points[number * self._every]
        low, high = points.min(axis=0), points.max(axis=0)
        middle = track.points[0].mean(axis=0)
        return bool(((middle >= low) & (middle <= high)).all())
