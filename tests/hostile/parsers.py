"""What a parser is to the trials, and what its caller may see of a spoilt file."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from megactor_core.errors import MegActorError


def nothing(_folder: Path) -> None:
    """For parsers whose examples need no second look after one file was spoilt."""


@dataclass(frozen=True)
class Parser:
    """A reader of files that nobody vouches for.

    `make` writes good files into an empty folder. Of those that fit `spoils` one is spoilt at a time, the
    others are given to the reader as they are where `is_folder`, else not at all. `mend` then puts right what
    would hide the damage, such as hashes. `read(path)` gets the spoilt file and returns or raises what the
    project's own code does.
    """

    name: str
    inputs: int
    """Spoilt files in the whole suite."""
    make: Callable[[Path], None]
    read: Callable[[Path], object]
    spoils: tuple[str, ...] = ("*",)
    is_folder: bool = False
    mend: Callable[[Path], None] = nothing
    sets_aside: bool = False
    """It may rename a damaged file that is its own, never remove it."""
    is_slow: bool = False
    """Its libraries take seconds to load: it is left out of samples."""
    never_accepts: bool = False
    """No example of it can be good here: the hashes of the real files are pinned."""

    def examples(self, folder: Path) -> list[Path]:
        """The good files that are spoilt, in an order that does not change."""
        found = {path for pattern in self.spoils for path in folder.rglob(pattern) if path.is_file()}
        return sorted(found)


def each(*readers: Callable[[], object]) -> None:
    """Let every reader look at the file, whatever the others think of it; raises the first one's refusal."""
    refusals = [refusal for reader in readers if (refusal := _refusal(reader)) is not None]
    if refusals:
        raise refusals[0]


def drain(values: Iterable[object]) -> int:
    """Read to the end, keeping nothing."""
    return sum(1 for _ in values)


def _refusal(reader: Callable[[], object]) -> MegActorError | None:
    try:
        reader()
    except MegActorError as error:
        return error
    return None
