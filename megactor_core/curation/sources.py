"""What there is to curate: folders of videos and manifests, as one row a clip with where it comes from.

A layout turns a folder into SourceClips. Here are the plain folder (every video below it) and the manifest
(a Parquet file that names parts of videos, as `megactor synth` and this command write); layouts of public
data sets give the same rows.
"""

import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeGuard

from megactor_core.config.curate import CurateConfig
from megactor_core.config.splits import SPLITS, Split, split_of
from megactor_core.engine.stage import Row
from megactor_core.errors import UsageError, first_line
from megactor_core.files import read_column_names, read_table

DEFAULT_SOURCES: Final = Path("data/raw")
MANIFEST: Final = "manifest.parquet"
VIDEO_SUFFIXES: Final = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})

_HASHED_BYTES: Final = 64 * 1024
"""Of the head and of the tail of a file: enough to tell files of one size apart (ours)."""
_NAME_CHARACTERS: Final = 48
_COLUMNS: Final = (
    *("source_uri", "dataset", "identity", "source_id", "split", "start_s", "end_s"),
    "driver_path",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceClip:
    """A clip before anything is measured."""

    dataset: str
    identity: str
    """Who is shown; clips of one identity are in one split."""
    path: Path
    """Absolute."""
    name: str
    """Of the clip within its data set, unique there together with the part."""
    source_id: str | None = None
    """What the original is known by wherever it was taken from, such as a YouTube id; None: unknown."""
    split: Split | None = None
    """The data set's own; None: by the identity's hash."""
    source_start_s: float | None = 0.0
    """Where the file begins in that original; None: unknown."""
    start_s: float | None = None
    end_s: float | None = None
    """The part of the file, in its own time; None: from its beginning, to its end."""
    driver: Path | None = None
    """Absolute: the same motion and speech on another person. Nothing is measured of it; it is handed on."""
    fault: str | None = None
    """What is wrong with it, known before it is opened: the clip's own error."""

    @property
    def clip_id(self) -> str:
        """A name that people recognise and a hash that keeps it unique: `smile-2f0c9b1e77aa`."""
        part = "" if self.start_s is None and self.end_s is None else f"{self.start_s} {self.end_s}"
        digest = hashlib.blake2b(f"{self.dataset}\0{self.name}\0{part}".encode(), digest_size=6).hexdigest()
        safe = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(self.name).stem).lstrip(".") or "clip"
        return f"{safe[:_NAME_CHARACTERS]}-{digest}"

    def to_row(self) -> Row:
        """The clip as the engine carries it."""
        return {
            "row_id": self.clip_id,
            "dataset": self.dataset,
            "identity": self.identity,
            "source_id": self.source_id,
            "source_start_s": self.source_start_s,
            "split": self.split or split_of(self.identity),
            "source_path": str(self.path),
            "start_s": self.start_s,
            "end_s": self.end_s,
            "driver_path": None if self.driver is None else str(self.driver),
            "fault": self.fault,
        }


@dataclass(frozen=True, slots=True)
class Sources:
    """All clips, sorted by clip_id, and what people should know of how they were found."""

    clips: tuple[SourceClip, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """What a file is known by.

    digest: of its size, head and tail, the same for copies. version: that and its time of change, so that a
    file that was written anew is measured anew.
    """

    digest: str
    version: str


def find_sources(config: CurateConfig) -> Sources:
    """The clips of all sources; raises UsageError where there is none, or a source does not exist."""
    paths = _given(config)
    names = _dataset_names(paths)
    notes = [
        f"'{path}' has the name of another source; its data set is called '{name}' here."
        for path, name in zip(paths, names, strict=True)
        if name != _plain_name(path)
    ]
    clips = [
        clip
        for path, name in zip(paths, names, strict=True)
        for clip in _clips_of(path, dataset=name, exclude=config.output)
    ]
    if not clips:
        said = ", ".join(f"'{path}'" for path in paths)
        raise UsageError(f"There is no clip in {said}.", fix=f"Videos end in {_suffixes()}.")
    unique = {clip.clip_id: clip for clip in clips}
    if len(unique) < len(clips):
        notes.append(f"{len(clips) - len(unique)} clips are named twice; each is taken once.")
    return Sources(tuple(unique[name] for name in sorted(unique)), tuple(notes))


def content_of(path: Path) -> Content:
    """What a file is known by now; one that cannot be read is known by the reason."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe might never end, or never begin
            return Content("no file", "no file")
        with path.open("rb") as file:
            digest = hashlib.blake2b(f"{status.st_size} ".encode(), digest_size=16)
            digest.update(file.read(_HASHED_BYTES))
            file.seek(max(0, status.st_size - _HASHED_BYTES))
            digest.update(file.read(_HASHED_BYTES))
    except OSError as error:
        return Content(f"unreadable {error.errno}", f"unreadable {error.errno}")
    except ValueError:  # no file has such a name
        return Content("no file", "no file")
    return Content(digest.hexdigest(), f"{digest.hexdigest()} {status.st_mtime_ns}")


def _given(config: CurateConfig) -> list[Path]:
    if config.sources:
        paths = [Path(os.path.abspath(path)) for path in dict.fromkeys(config.sources)]
    elif DEFAULT_SOURCES.is_dir():
        paths = sorted(path.absolute() for path in DEFAULT_SOURCES.iterdir() if path.is_dir())
    else:
        raise UsageError(
            f"Nothing to curate: no source was given, and there is no '{DEFAULT_SOURCES}'.",
            fix="Give folders of videos, or make clips to try it out with: `megactor synth`.",
        )
    if not paths:
        raise UsageError(f"'{DEFAULT_SOURCES}' holds no folder.", fix="Give folders of videos.")
    for path in paths:
        if not os.path.exists(path):  # unlike Path.exists it does not raise below a closed folder
            raise UsageError(f"There is no '{path}'.", fix="Give folders of videos, or manifests.")
        if not path.is_dir() and not (path.suffix == ".parquet" and path.is_file()):
            raise UsageError(
                f"'{path}' is no folder and no manifest.", fix="Give its folder, or a .parquet file."
            )
        if os.path.realpath(path) == os.path.realpath(config.output):
            raise UsageError(
                f"The source and --output are the same folder, '{config.output}'.",
                fix="Choose another --output: a source is never written to.",
            )
    return paths


def _plain_name(path: Path) -> str:
    """The folder's name; a manifest has that of its folder."""
    return _text(path.name if path.is_dir() else path.parent.name) or "data"


def _dataset_names(paths: Sequence[Path]) -> list[str]:
    """A name each: where two folders have one name, all but the first get a hash of where they lie."""
    seen: Counter[str] = Counter()
    names = []
    for path in paths:
        name = _plain_name(path)
        digest = hashlib.blake2b(os.fsencode(path), digest_size=3).hexdigest()
        names.append(f"{name}-{digest}" if seen[name] else name)
        seen[name] += 1
    return names


def _clips_of(path: Path, *, dataset: str, exclude: Path) -> Iterator[SourceClip]:
    if path.is_file():
        return _from_manifest(path, dataset=dataset)
    if os.path.isfile(path / MANIFEST):  # nor does this in one
        return _from_manifest(path / MANIFEST, dataset=dataset)
    return _from_folder(path, dataset=dataset, exclude=exclude)


# ---------------------------------------------------------------- a plain folder


def _from_folder(folder: Path, *, dataset: str, exclude: Path) -> Iterator[SourceClip]:
    """Every video below the folder; the identity is the first sub-folder's name, else the file's."""
    closed: list[OSError] = []
    for path in _videos(folder, exclude=exclude, on_error=closed):
        relative = path.relative_to(folder)
        yield _checked(
            SourceClip(
                dataset=dataset,
                identity=_text(relative.parts[0] if len(relative.parts) > 1 else relative.stem),
                path=path,
                name=_text(relative),
            )
        )
    for error in closed:
        path = Path(str(error.filename))
        yield SourceClip(
            dataset=dataset,
            identity=_text(path.name),
            path=path,
            name=_text(os.path.relpath(path, folder)),
            fault=f"The folder '{_text(path)}' cannot be read ({error.strerror}).",
        )


def _videos(folder: Path, *, exclude: Path, on_error: list[OSError]) -> Iterator[Path]:
    """Videos by suffix, in linked folders too, but none that is hidden or in the output."""
    seen, output = set(), os.path.realpath(exclude)
    for place, folders, files in os.walk(folder, onerror=on_error.append, followlinks=True):
        real = os.path.realpath(place)
        if real == output or real in seen:  # a link can lead back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES:
                yield Path(place, name)


def _checked(clip: SourceClip) -> SourceClip:
    try:
        str(clip.path).encode()
    except UnicodeEncodeError:
        return replace(
            clip,
            path=Path(_text(clip.path)),
            fault=f"The name of '{_text(clip.path)}' is no UTF-8 text, which a manifest holds: rename it.",
        )
    return clip


# ---------------------------------------------------------------- a manifest


def _from_manifest(path: Path, *, dataset: str) -> Iterator[SourceClip]:
    for number, row in enumerate(_manifest_rows(path), start=1):
        uri = row.get("source_uri")
        driver = row.get("driver_path")
        if not _is_path(uri):
            raise UsageError(f"Row {number} of the manifest '{path}' has no source_uri.")
        if driver and not _is_path(driver):
            raise UsageError(f"Row {number} of the manifest '{path}' has a driver_path that is no path.")
        start, end, fault = row.get("start_s"), row.get("end_s"), None
        if not _is_moment(start) or not _is_moment(end) or (end is not None and end <= (start or 0.0)):
            fault = f"Row {number} of the manifest '{path}': start_s is {start}, end_s is {end}."
            start = end = None
        split = next((split for split in SPLITS if split == row.get("split")), None)
        source_id = row.get("source_id")
        yield SourceClip(
            dataset=str(row.get("dataset") or dataset),
            identity=str(row.get("identity") or Path(uri).stem),
            path=Path(os.path.abspath(path.parent / uri)),
            name=uri if fault is None else f"{uri} {number}",
            source_id=None if source_id is None else str(source_id),
            split=split,
            start_s=start,
            end_s=end,
            driver=Path(os.path.abspath(path.parent / driver)) if driver else None,
            fault=fault,
        )


def _manifest_rows(path: Path) -> list[dict[str, Any]]:
    try:
        names = read_column_names(path)
        rows: list[dict[str, Any]] = read_table(path, columns=_COLUMNS).to_pylist()
    except (OSError, ValueError, OverflowError) as error:
        raise UsageError(f"The manifest '{path}' cannot be read: {first_line(error)}.") from None
    if "source_uri" not in names:
        raise UsageError(
            f"The manifest '{path}' has the columns {', '.join(names)}, but none is 'source_uri'.",
            fix="That column holds the paths of the clips, relative to the manifest.",
        )
    return rows


def _is_path(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value != "" and "\0" not in value


def _is_moment(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and 0 <= value < float("inf"))


def _text(path: Path | str) -> str:
    """For people: bytes that are no text are shown as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _suffixes() -> str:
    return ", ".join(sorted(VIDEO_SUFFIXES))
