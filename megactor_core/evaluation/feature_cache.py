"""Features of real clips that an earlier evaluation computed: known by file, network and transform.

A tape holds the features of the beginning of a clip, as far as it was read. What lies further on is computed
and added, so that a tape is right for generated clips of any length.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from megactor_core.errors import OutputError
from megactor_core.files import atomic_path
from megactor_core.weights import cache_folder

FOLDER: Final = "features"
_ROWS: Final = "rows"
_WHOLE: Final = "whole"


def tape_path(file_sha256: str, transform: dict[str, str]) -> Path:
    """Where the features of a file under a transform (network's hash included) lie in the cache."""
    text = json.dumps([file_sha256, sorted(transform.items())])
    return cache_folder() / FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:40]}.safetensors"


class Tape:
    """Features of one clip, a row a frame (or window), taken in order. Without a path, nothing is kept."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known, self.is_whole = _read(path)
        self._rows: list[np.ndarray] = []
        self._taken = 0
        self._computed = False

    @property
    def known(self) -> np.ndarray | None:
        """What an earlier evaluation kept."""
        return self._known

    def take(self, count: int, compute: Callable[[int], np.ndarray]) -> np.ndarray:
        """The next `count` rows: those that are known, and compute(k) for the ones after the first k."""
        known = self._next_known(count)
        if len(known) < count:
            computed = compute(len(known))
            known = np.concatenate([known, computed]) if len(known) else computed
            self._computed = True
        self._taken += count
        self._rows.append(known)
        return known

    def save(self, *, whole: bool) -> None:
        """Keep the rows for later where some are new; `whole`: the clip was read to its end."""
        rows = np.concatenate(self._rows) if self._rows else None
        news = self._computed or (whole and not self.is_whole)
        if self._path is None or rows is None or not news or not len(rows):
            return
        # A cache that cannot be written costs time later, and nothing now.
        with suppress(OutputError, OSError), atomic_path(self._path) as temporary:
            save_file({_ROWS: np.ascontiguousarray(rows)}, temporary, metadata={_WHOLE: str(int(whole))})

    def _next_known(self, count: int) -> np.ndarray:
        if self._known is None:
            return np.zeros((0,))
        return self._known[self._taken : self._taken + count]


def _read(path: Path | None) -> tuple[np.ndarray | None, bool]:
    """Rows and whether they are all; nothing for a file that is missing or damaged."""
    if path is None or not path.is_file():
        return None, False
    try:
        with safe_open(path, framework="numpy") as file:
            return file.get_tensor(_ROWS), (file.metadata() or {}).get(_WHOLE) == "1"
    except (SafetensorError, OSError):
        return None, False
