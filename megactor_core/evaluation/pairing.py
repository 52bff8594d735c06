"""Which generated clip belongs to which real one: by name, and what did not find a partner is said."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from megactor_core.config.evaluate import Mode
from megactor_core.engine.stage import Row
from megactor_core.errors import UsageError
from megactor_core.preprocessing.sources import VIDEO_SUFFIXES, content_hash, path_to_text, text_to_path

_SHOWN: Final = 3
"""Names given as examples in messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A generated clip and the real one it is compared with."""

    name: str
    """Relative to both folders, without the suffix; bytes that are no text are shown as \\xNN."""
    generated: Path
    real: Path
    sound: Path | None = None
    """The sound that belongs to both. None: the generated clip's own, or else the real one's."""
    size: int | None = None
    """Side in pixels that both are resized to. None: the configuration's."""
    mode: Mode | None = None
    """What drove the generated clip, where it is one of several sets."""

    @property
    def row_id(self) -> str:
        """Unique over all sets."""
        return self.name if self.mode is None else f"{self.mode}/{self.name}"

    def to_row(self) -> Row:
        """The pair as the engine carries it; its version is the content of its files."""
        files = {"generated": self.generated, "real": self.real, "sound": self.sound}
        hashes = {key: None if path is None else content_hash(path) for key, path in files.items()}
        texts = {f"{key}_path": None if path is None else path_to_text(path) for key, path in files.items()}
        return {
            "row_id": self.row_id,
            "row_version": json.dumps([hashes, self.size]),
            "name": self.name,
            "mode": self.mode,
            "size": self.size,
            **texts,
        }


def pair_of(row: Row) -> Pair:
    """The inverse of `to_row`."""
    sound = row["sound_path"]
    return Pair(
        name=row["name"],
        generated=text_to_path(row["generated_path"]),
        real=text_to_path(row["real_path"]),
        sound=None if sound is None else text_to_path(sound),
        size=row["size"],
        mode=row["mode"],
    )


@dataclass(frozen=True, slots=True)
class Failure:
    """A clip that could not be generated, or a pair that could not be measured."""

    name: str
    error_kind: str
    error: str


@dataclass(frozen=True, slots=True)
class Pairing:
    """Pairs sorted by name, the names that only one side has, and clips that could not be generated."""

    pairs: tuple[Pair, ...]
    only_generated: tuple[str, ...] = ()
    only_real: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()


def pair_folders(generated: Path, real: Path, *, most: int | None = None) -> Pairing:
    """Pair two folders, sub-folders included, or two files whatever their names; the first `most` pairs.

    Raises UsageError where one of them is not there or holds no video, where two files of a folder differ in
    their suffix alone, and where no name is in both.
    """
    for path, option in ((generated, "--generated"), (real, "--real")):
        if not path.exists():
            raise UsageError(f"{option} '{path}' does not exist.", fix="Check the path.")
    if generated.is_file() and real.is_file():
        return Pairing((Pair(name=_printable(generated.stem), generated=generated, real=real),))
    made, true = _videos(generated, "--generated"), _videos(real, "--real")
    both = sorted(made.keys() & true.keys())
    if not both:
        raise UsageError(
            f"No clip of --generated '{generated}' ({_some(made)}) has the name of one in --real '{real}' "
            f"({_some(true)}).",
            fix="Give both the same names; the suffix may differ.",
        )
    return Pairing(
        pairs=tuple(Pair(name=name, generated=made[name], real=true[name]) for name in both[:most]),
        only_generated=tuple(sorted(made.keys() - true.keys())),
        only_real=tuple(sorted(true.keys() - made.keys())),
    )


def _videos(folder: Path, option: str) -> dict[str, Path]:
    """The videos of a folder by name."""
    if not folder.is_dir():
        raise UsageError(
            f"{option} '{folder}' is a file, the other a folder.", fix="Give two folders, or two files."
        )
    found: dict[str, Path] = {}
    for path in _visible_videos(folder):
        name = _printable(str(path.relative_to(folder).with_suffix("")))
        if name in found:
            raise UsageError(
                f"'{found[name]}' and '{path}' differ in their suffix alone, and clips are paired by name.",
                fix="Rename or remove one of them.",
            )
        found[name] = path
    if not found:
        raise UsageError(
            f"There is no video in {option} '{folder}'.",
            fix=f"Videos end in {', '.join(sorted(VIDEO_SUFFIXES))}.",
        )
    return found


def _visible_videos(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES:
                yield Path(place, name)


def _printable(name: str) -> str:
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _some(videos: dict[str, Path]) -> str:
    names = sorted(videos)
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
