"""demo.json: what a folder was begun with, and the time that each step took over all runs."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from megactor_core.errors import OutputError
from megactor_core.files import read_json, write_json

FILE: Final = "demo.json"


@dataclass(frozen=True, slots=True)
class StepTime:
    """What a step took until it was done; later runs, which find it done, do not count."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of this process and of its workers that have ended."""
    is_done: bool = False


class Record:
    """The file of one folder."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Raises OutputError where the folder holds something else, or a demo of other settings."""
        self._path = folder / FILE
        self._settings = settings
        found, self._times = _read(folder)
        for key, value in found.items():
            if value != settings.get(key):
                raise OutputError(
                    f"'{folder}' holds a demo with {key} = {value}; now {key} = {settings.get(key)}.",
                    fix="Choose another --output, or remove that folder.",
                )

    @property
    def times(self) -> dict[str, StepTime]:
        """By step, in the order in which they were first begun."""
        return dict(self._times)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Count the block's time as the step's, unless the step was done before."""
        before = self._times.get(step, StepTime())
        wall, cpu, is_done = time.perf_counter(), _cpu_seconds(), before.is_done
        try:
            yield
            is_done = True
        finally:
            if not before.is_done:
                self._times[step] = replace(
                    before,
                    wall_seconds=round(before.wall_seconds + time.perf_counter() - wall, 2),
                    cpu_seconds=round(before.cpu_seconds + _cpu_seconds() - cpu, 2),
                    is_done=is_done,
                )
                self.write()

    def write(self) -> None:
        steps = {name: asdict(time) for name, time in self._times.items()}
        write_json(self._path, {"settings": self._settings, "steps": steps})


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, StepTime]]:
    """The settings and the times in the file; none for a new folder."""
    # Hidden files are the system's, or the lock of a run that was stopped before it wrote anything.
    if not folder.is_dir() or all(path.name.startswith(".") for path in folder.iterdir()):
        return {}, {}
    try:
        found = read_json(folder / FILE)
        return dict(found["settings"]), {name: StepTime(**time) for name, time in found["steps"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise OutputError(f"'{folder}' is not empty, and no demo.", fix="Choose another --output.") from None


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
