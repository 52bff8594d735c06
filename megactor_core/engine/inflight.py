"""Marks on rows that are being worked on: who was there when a worker died.

A mark is a file inflight/<row key>.<n>, made before the row's work and removed only once its result is on
the disk: a fatal signal may land after the row has left its stage. A row whose n-th mark is there was on its
way at n deaths. The mark holds the number of the run that made it (a death within the present run is surely a
worker's; one in an earlier run may have been the whole run's, because somebody killed it or the power failed,
and the row be innocent) and when a stage last began with the row, which tells the row that a worker died of
from those that waited in it. Some file systems take their time to make a file soon after others were deleted,
so a worker renames the marks that it is done with.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import uuid4

from megactor_core.errors import OutputError

MAX_KILLS: Final = 2
"""Workers that a row may kill; then it is given up."""
MAX_DEATHS: Final = 3
"""Deaths, those of whole runs included, that a row may be there at."""
SPARE: Final = ".spare-"
MAX_SPARES: Final = 1000


@dataclass(frozen=True, slots=True)
class Inflight:
    """The marks in `folder`, seen from run number `run`."""

    folder: Path
    run: int
    _spares: list[Path] = field(default_factory=list, init=False, compare=False, repr=False)
    _owner: str = field(default_factory=lambda: uuid4().hex, init=False, compare=False, repr=False)
    """Of the spares: workers on several machines may have one process number."""

    def is_poison(self, key: str) -> bool:
        """Whether the row was on its way at too many deaths to be tried again."""
        runs = self._runs(key)
        return runs.count(self.run) >= MAX_KILLS or len(runs) >= MAX_DEATHS

    def enter(self, key: str) -> int:
        """Mark a row before its work; returns the number of the mark. Raises OutputError as `touch` does."""
        number = len(self._runs(key)) + 1
        if self._spares:
            os.replace(self._spares.pop(), self._path(key, number))
        self.touch(key, number)
        return number

    def touch(self, key: str, number: int) -> None:
        """Note that a stage begins with the row. Raises OutputError where the folder cannot be written."""
        path = self._path(key, number)
        try:
            _overwrite(path, _text(self.run, time.monotonic_ns()))
        except OSError as error:
            raise OutputError(
                f"Cannot write the journal '{path}' ({error.strerror or error}).",
                fix="Make room or give another --output; finished rows are kept.",
            ) from None

    def blame(self, keys: Iterable[str]) -> bool:
        """Of the rows of a worker that died, keep only the mark of the last that a stage began with.

        Returns whether there is one.
        """
        marks = [(_run_and_time(path), path) for key in keys if (path := self._last(key)) is not None]
        own = sorted((begun, path) for (run, begun), path in marks if run == self.run)
        for _, path in own[:-1]:
            path.unlink(missing_ok=True)
        return bool(own)

    def disown(self, keys: Iterable[str]) -> None:
        """What this run marked was left by a worker that died with its whole machine, perhaps of no row: of
        these rows, the one that was due keeps a mark as of an earlier run, the others none.
        """
        keys = list(keys)
        if self.blame(keys):
            for path in filter(None, map(self._last, keys)):
                run, begun = _run_and_time(path)
                if run == self.run:
                    _overwrite(path, _text(0, begun))

    def leave(self, keys: Iterable[str]) -> None:
        """Remove all marks of rows whose results are on the disk."""
        for key in keys:
            for n in range(len(self._runs(key)), 0, -1):  # a kill on the way leaves no gap
                self._path(key, n).unlink(missing_ok=True)

    def retire(self, keys: Iterable[str]) -> None:
        """As `leave`, by the worker that uses this object: it keeps the marks' files for its next rows."""
        for key in keys:
            if len(self._spares) < MAX_SPARES and not self._path(key, 2).exists():
                spare = self.folder / f"{SPARE}{self._owner}-{len(self._spares)}"
                try:
                    os.replace(self._path(key, 1), spare)
                except FileNotFoundError:  # a worker that was taken for lost has ended the row too
                    continue
                self._spares.append(spare)
            else:
                self.leave([key])

    def suspects(self) -> set[str]:
        """The keys of all marked rows: they are to be done one by one."""
        names = (path.name for path in self.folder.iterdir())
        return {name.partition(".")[0] for name in names if not name.startswith(SPARE)}

    def forget_this_run(self) -> None:
        """Remove this run's marks: its workers were stopped on purpose."""
        for path in self.folder.iterdir():
            if _run_and_time(path)[0] == self.run:
                path.unlink(missing_ok=True)

    def _runs(self, key: str) -> list[int]:
        runs: list[int] = []
        while (path := self._path(key, len(runs) + 1)).exists():
            runs.append(_run_and_time(path)[0])
        return runs

    def _last(self, key: str) -> Path | None:
        count = len(self._runs(key))
        return self._path(key, count) if count else None

    def _path(self, key: str, n: int) -> Path:
        return self.folder / f"{key}.{n}"


def _text(run: int, begun: int) -> str:
    return f"{run:010d} {begun:020d}"


def _overwrite(path: Path, text: str) -> None:
    # Not cut to zero first: some file systems then write it out to the disk when it is closed.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)


def _run_and_time(path: Path) -> tuple[int, int]:
    try:
        run, begun = path.read_text(encoding="ascii").split()
        return int(run), int(begun)
    except (OSError, ValueError):  # cut short by a full disk or a power cut
        return 0, 0
