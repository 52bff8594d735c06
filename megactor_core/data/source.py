"""Where training samples come from: a folder of preprocessed ones, or anything of the same form."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from megactor_core.config.data import DataConfig
from megactor_core.data.sample import INDEX, IndexRow, Sample, read_index
from megactor_core.errors import ConfigError


class StoredClip(Protocol):
    """One preprocessed clip, read lazily: see data.sample.Sample."""

    @property
    def points(self) -> np.ndarray:
        """(F, 68, 2) float32."""

    @property
    def found(self) -> np.ndarray:
        """(F,) bool."""

    @property
    def log_mel(self) -> np.ndarray:
        """(80, J)."""

    @property
    def whisper_states(self) -> np.ndarray:
        """(T, L, E)."""

    def read_frames(self, indices: Sequence[int]) -> np.ndarray:
        """(n, S, S, 3) uint8."""

    def read_driver_frames(self, indices: Sequence[int]) -> np.ndarray:
        """(n, S, S, 3) uint8."""

    def latents(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log variance, (n, C, H, W) each."""


class ClipSource(Protocol):
    """Clips by number, and what the index says of each."""

    @property
    def rows(self) -> Sequence[IndexRow]:
        """The usable clips, in an order that never changes."""

    def open(self, number: int) -> StoredClip:
        """The clip of a row."""


class SampleFolder:
    """The clips of one split in a folder that `megactor preprocess` wrote."""

    def __init__(self, folder: Path, config: DataConfig) -> None:
        """Read the index.

        Raises MediaError where there is none, ConfigError where it holds no clip of the split.
        """
        self.folder = folder
        index = read_index(folder)
        usable = [row for row in index if row.status == "ok"]
        self._rows = sorted(
            (row for row in usable if row.split == config.split), key=lambda row: row.sample_id
        )
        if not self._rows:
            raise ConfigError(
                f"'{folder / INDEX}' has {len(usable)} usable clips, but none of the split '{config.split}'.",
                fix="Preprocess clips of more identities, or read the other split."
                if usable
                else f"See the column 'reason' of its {len(index)} rows, and preprocess again.",
            )

    @property
    def rows(self) -> Sequence[IndexRow]:
        """Usable rows, sorted by sample_id."""
        return self._rows

    def open(self, number: int) -> StoredClip:
        """Open the sample; raises MediaError where its files are missing or damaged."""
        return Sample.open(self.folder / str(self._rows[number].path))
