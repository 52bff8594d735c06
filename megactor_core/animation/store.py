"""Arrays with one record a frame, on disk: memory does not grow with the clip, and a killed run goes on.

A run keeps its folder beside its output, NAME.mp4.resume/, until the video is complete.
"""

import os
import re
import shutil
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from megactor_core.errors import OutputError
from megactor_core.files import read_json, sole_owner, write_json

STATE: Final = "state.json"
LOCK: Final = "lock"
_BEGUN: Final = re.compile(rf"{LOCK}|\.state\.partial-\d+\.json|\.megactor-write-test-\d+")
"""All that a run has in its folder when it could not write its first state."""
_AFRESH: Final = "Leave --resume out to start anew."


class FrameFile:
    """Records of one shape and type in a file, addressed by frame number."""

    def __init__(self, path: Path, *, shape: tuple[int, ...], dtype: str = "float32") -> None:
        self.path = path
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._record_bytes = self.dtype.itemsize * int(np.prod(shape))
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Records start ... stop - 1: (stop - start, *shape); raises OutputError where they are not there."""
        count = stop - start
        data = os.pread(self._descriptor, count * self._record_bytes, start * self._record_bytes)
        if len(data) != count * self._record_bytes:
            raise OutputError(
                f"'{self.path}' is damaged: records {start} to {stop - 1} are not there.", fix=_AFRESH
            )
        return np.frombuffer(bytearray(data), self.dtype).reshape(count, *self.shape)

    def gather(self, frames: Iterable[int]) -> np.ndarray:
        """Records of any frames in any order: (len(frames), *shape)."""
        return np.stack([self.read(frame, frame + 1)[0] for frame in frames])

    def write(self, start: int, records: np.ndarray) -> None:
        """Write (n, *shape) records from frame `start` on."""
        if records.shape[1:] != self.shape:
            raise ValueError(f"{self.path.name} holds records of {self.shape}, not {records.shape[1:]}")
        data = np.ascontiguousarray(records, self.dtype).tobytes()
        written = os.pwrite(self._descriptor, data, start * self._record_bytes)
        while written < len(data):  # a signal or a nearly full disk may cut a write short
            written += os.pwrite(self._descriptor, data[written:], start * self._record_bytes + written)

    def flush(self) -> None:
        """Return when the records are on the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class RunFolder:
    """The folder of one run: its settings, how far it came, and its frame files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: dict[str, FrameFile] = {}
        self._owned = ExitStack()

    @staticmethod
    def of(video: Path) -> "RunFolder":
        return RunFolder(video.with_name(video.name + ".resume"))

    def exists(self) -> bool:
        return (self.path / STATE).exists()

    def claim(self) -> None:
        """Keep other runs out of the folder until `close`.

        Raises OutputError where another run is at work in it, and for a folder of another kind.
        """
        if self.path.exists() and not self.exists() and not self._is_just_begun():
            raise OutputError(
                f"'{self.path}' is needed for this run, but it exists and is not a run of megactor.",
                fix="Move it away, or choose another --output.",
            )
        self._owned.enter_context(sole_owner(self.path / LOCK))

    def _is_just_begun(self) -> bool:
        return all(_BEGUN.fullmatch(path.name) for path in self.path.iterdir())

    def start(self, state: dict[str, Any]) -> None:
        """Begin anew in a claimed folder: what an earlier run left there is removed."""
        for path in self.path.iterdir():
            if path.name != LOCK:
                path.unlink()
        self.save(state)

    def state(self) -> dict[str, Any]:
        """What `save` stored last; empty where the folder holds no readable state."""
        try:
            state = read_json(self.path / STATE)
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def damaged(self, why: str) -> OutputError:
        """The error to raise where what an interrupted run has kept cannot be read."""
        return OutputError(f"What was kept in '{self.path}' is damaged ({why}).", fix=_AFRESH)

    def save(self, state: dict[str, Any]) -> None:
        """Store the state once everything that it speaks of is on the disk."""
        for file in self._files.values():
            file.flush()
        write_json(self.path / STATE, state)

    def file(self, name: str, *, shape: tuple[int, ...], dtype: str = "float32") -> FrameFile:
        """The frame file of a name, opened once."""
        if name not in self._files:
            self._files[name] = FrameFile(self.path / f"{name}.bin", shape=shape, dtype=dtype)
        return self._files[name]

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._owned.close()

    def remove(self) -> None:
        """Delete the folder and all that is in it, the state last: until then it is known for a run's."""
        with suppress(OSError):
            for path in self.path.iterdir():
                if path.name != STATE:
                    path.unlink()
        shutil.rmtree(self.path, ignore_errors=True)
        self.close()
