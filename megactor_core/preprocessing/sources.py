"""What there is to preprocess: a folder of videos or a manifest, as one row a clip."""

import csv
import difflib
import hashlib
import io
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.config.splits import SPLITS, Split, split_of
from megactor_core.data.sample import ARRAYS, FACTS
from megactor_core.engine.stage import Row
from megactor_core.errors import UsageError, first_line
from megactor_core.files import read_bytes, read_column_names, read_table

DEFAULT_SOURCE: Final = Path("data/curated")
MANIFEST: Final = "manifest.parquet"
VIDEO_SUFFIXES: Final = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})
MANIFEST_SUFFIXES: Final = (".parquet", ".csv", ".jsonl")

MAX_MANIFEST_BYTES: Final = 2 * 2**30
"""Of a manifest in text: some ten million clips (ours)."""

_HASHED_BYTES: Final = 64 * 1024
"""Of the head and of the tail of a clip: enough to tell apart files of one size and time of change (ours)."""
_NAME_CHARACTERS: Final = 48
_MOST_NAME_CHARACTERS: Final = 200
_COLUMNS: Final = ("source_uri", "clip_id", "identity", "split", "start_s", "end_s", "keep", "driver_path")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A clip to preprocess."""

    sample_id: str
    identity: str
    split: Split
    relative: Path
    """As the folder or manifest names it."""
    path: Path
    driver: Path | None = None
    start_s: float | None = None
    end_s: float | None = None
    fault: str | None = None
    """What is wrong with its row of the manifest: the clip's own error, which does not stop the rest."""

    @property
    def source_uri(self) -> str:
        """`relative` for people: bytes that are no text are shown as \\xNN."""
        return _text(self.relative)

    def to_row(self) -> Row:
        """The clip as the engine carries it; its version is the content of its files and all that is said."""
        said = [self.identity, self.split, self.source_uri, self.start_s, self.end_s, self.fault]
        hashes = [content_hash(self.path), None if self.driver is None else content_hash(self.driver)]
        return {
            "row_id": self.sample_id,
            "row_version": json.dumps([hashes, said]),
            "identity": self.identity,
            "split": self.split,
            "source_uri": self.source_uri,
            "source_path": path_to_text(self.path),
            "source_hash": hashes[0],
            "driver_path": None if self.driver is None else path_to_text(self.driver),
            "start_s": self.start_s,
            "end_s": self.end_s,
            "fault": self.fault,
        }


@dataclass(frozen=True, slots=True)
class Source:
    """Clips, sorted by sample_id, and how they were found."""

    clips: tuple[Clip, ...]
    described: str
    """For people: `the folder 'x'`, `the manifest 'x/manifest.parquet'`."""
    not_kept: int = 0
    """Rows of the manifest that it says not to keep."""
    notes: tuple[str, ...] = ()
    """What people should know of it before the work starts."""


def find_source(config: PreprocessConfig) -> Source:
    """The clips that the configuration names; raises UsageError where there are none, or nonsense."""
    path = _source_path(config)
    if os.path.realpath(path if path.is_dir() else path.parent) == os.path.realpath(config.output):
        raise UsageError(
            f"The source and --output are the same folder, '{config.output}'.",
            fix="Choose another --output: a source is never written to.",
        )
    if path.is_file():
        source = _from_manifest(path)
    elif (path / MANIFEST).is_file():
        source = _from_manifest(path / MANIFEST)
    elif not path.is_dir():
        raise UsageError(
            f"'{path}' is a device or pipe.", fix="Give a folder of videos, or a manifest that is a file."
        )
    else:
        source = _from_folder(path, exclude=config.output)
    if not source.clips:
        raise UsageError(
            f"There is no clip in {source.described}"
            + (f" ({source.not_kept} rows are not to be kept)." if source.not_kept else "."),
            fix=f"Videos end in {', '.join(sorted(VIDEO_SUFFIXES))}.",
        )
    if config.drivers is not None:
        source = _with_drivers(source, config.drivers)
    _require_unique(source)
    return replace(source, clips=tuple(sorted(source.clips, key=lambda clip: clip.sample_id)))


def path_to_text(path: Path) -> str:
    """An absolute path as text that every store keeps, whatever bytes the name has."""
    return quote_from_bytes(os.fsencode(path.absolute()))


def text_to_path(text: str) -> Path:
    """The inverse of `path_to_text`."""
    return Path(os.fsdecode(unquote_to_bytes(text)))


def content_hash(path: Path) -> str:
    """What a file's content is known by: its size, time of change, head and tail.

    A file that cannot be read has one too, so that it is looked at again when it can be; so has a pipe or
    device, which is not read: it might never end, or never begin.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "no file"
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            digest.update(f"{status.st_size} {status.st_mtime_ns} ".encode())
            digest.update(file.read(_HASHED_BYTES))
            file.seek(max(0, status.st_size - _HASHED_BYTES))
            digest.update(file.read(_HASHED_BYTES))
    except OSError as error:
        digest.update(f"unreadable {error.errno}".encode())
    except ValueError:  # no file has such a name
        return "no file"
    return digest.hexdigest()


def _source_path(config: PreprocessConfig) -> Path:
    if config.source is not None:
        if not config.source.exists():
            raise UsageError(
                f"There is no '{config.source}'.",
                fix="Give a folder of videos, or a manifest (parquet, csv, jsonl).",
            )
        return config.source
    if not DEFAULT_SOURCE.exists():
        raise UsageError(
            f"Nothing to preprocess: no SOURCE was given, and there is no '{DEFAULT_SOURCE}'.",
            fix="Give a folder of videos or a manifest, or make clips to try it out with: `megactor synth`, "
            "then `megactor preprocess data/raw/synthetic`.",
        )
    return DEFAULT_SOURCE


# ---------------------------------------------------------------- a folder of videos


def _from_folder(folder: Path, *, exclude: Path) -> Source:
    clips = []
    for path in _videos(folder, exclude=exclude):
        relative = path.relative_to(folder)
        identity = _text(relative.parts[0] if len(relative.parts) > 1 else relative.stem)
        clips.append(
            Clip(
                sample_id=_id_of(relative),
                identity=identity,
                split=split_of(identity),
                relative=relative,
                path=path,
            )
        )
    return Source(tuple(clips), described=f"the folder '{folder}'")


def _videos(folder: Path, *, exclude: Path) -> Iterator[Path]:
    """Videos by suffix, in sub-folders and linked ones too, but none that is hidden, in the output or part
    of a sample: of this output or another."""
    seen, output = set(), os.path.realpath(exclude)
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        is_sample = {FACTS, ARRAYS} <= set(files)
        if real == output or is_sample or real in seen:  # a link can lead back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES:
                yield Path(place, name)


# ---------------------------------------------------------------- a manifest


def _from_manifest(path: Path) -> Source:
    rows = list(_manifest_rows(path))
    kept = [row for row in rows if row.get("keep") is not False]
    splits = _splits_of(kept, path=path)
    clips = tuple(_clip_of(row, manifest=path, splits=splits) for row in kept)
    return Source(clips, described=f"the manifest '{path}'", not_kept=len(rows) - len(kept))


def _manifest_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows with the columns that are known here, checked; `where` says where a row stands."""
    for number, raw in enumerate(_raw_rows(path), start=1):
        where = f"Row {number} of the manifest '{path}'"
        faults: list[str] = []
        yield {
            "where": where,
            "faults": faults,
            "source_uri": _required_text(raw, where=where),
            **{
                name: _optional_text(raw.get(name), name=name, where=where)
                for name in ("clip_id", "identity", "split", "driver_path")
            },
            "start_s": _seconds(raw.get("start_s"), name="start_s", faults=faults),
            "end_s": _seconds(raw.get("end_s"), name="end_s", faults=faults),
            "segment": f"{raw.get('start_s')} {raw.get('end_s')}",
            "keep": _flag(raw.get("keep"), where=where),
        }


def _raw_rows(path: Path) -> Iterable[Mapping[str, Any]]:
    suffix = path.suffix.lower()
    if suffix not in MANIFEST_SUFFIXES:
        raise UsageError(
            f"'{path}' is no folder and no manifest.",
            fix=f"A manifest ends in {', '.join(MANIFEST_SUFFIXES)}; for one clip give its folder.",
        )
    try:
        match suffix:
            case ".parquet":
                return _parquet_rows(path)
            case ".csv":
                return _csv_rows(path)
            case _:
                return _json_rows(path)
    except (OSError, ValueError, OverflowError, csv.Error) as error:
        raise UsageError(f"The manifest '{path}' cannot be read: {first_line(error)}.") from None


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    _require_column(read_column_names(path), path=path)
    rows: list[dict[str, Any]] = read_table(path, columns=_COLUMNS).to_pylist()
    return rows


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    text = read_bytes(path, max_bytes=MAX_MANIFEST_BYTES).decode("utf-8-sig")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if not reader.fieldnames:
        raise UsageError(
            f"The manifest '{path}' is empty.",
            fix="Its first line names the columns, source_uri among them; then comes a line a clip.",
        )
    _require_column(reader.fieldnames, path=path)
    return list(reader)


def _require_column(names: Sequence[str], *, path: Path) -> None:
    if "source_uri" not in names:
        close = difflib.get_close_matches("source_uri", names, n=1, cutoff=0.5)
        raise UsageError(
            f"The manifest '{path}' has the columns {', '.join(names)}, but none is 'source_uri'.",
            fix=f"Rename '{close[0]}' if it holds the paths of the clips."
            if close
            else "That column holds the paths of the clips, relative to the manifest.",
        )


def _json_rows(path: Path) -> list[dict[str, Any]]:
    rows = []
    text = read_bytes(path, max_bytes=MAX_MANIFEST_BYTES).decode("utf-8")
    # Not splitlines: JSON may hold other characters that end a line, as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UsageError(f"Line {number} of '{path}' is no JSON ({first_line(error)}).") from None
            if not isinstance(row, dict):
                raise UsageError(f"Line {number} of '{path}' is no JSON object.")
            rows.append(row)
    return rows


def _clip_of(row: dict[str, Any], *, manifest: Path, splits: dict[str, Split]) -> Clip:
    uri = row["source_uri"]
    identity = row["identity"] or Path(uri).stem
    start, end, faults = row["start_s"], row["end_s"], list(row["faults"])
    if end is not None and end <= (start or 0.0) and not faults:
        faults.append(f"end_s is {end:g}, but start_s is {start or 0.0:g}")
    segment = "" if start is None and end is None else f"{start} {end}"
    if faults:
        segment = row["segment"]
    driver = row["driver_path"]
    return Clip(
        sample_id=_safe_name(row["clip_id"]) if row["clip_id"] else _id_of(Path(uri), segment=segment),
        identity=identity,
        split=splits.get(identity) or split_of(identity),
        relative=Path(uri),
        path=manifest.parent / uri,
        driver=None if driver is None else manifest.parent / driver,
        start_s=start,
        end_s=end,
        fault=f"{row['where']}: {'; '.join(faults)}." if faults else None,
    )


def _splits_of(rows: Iterable[dict[str, Any]], *, path: Path) -> dict[str, Split]:
    """The manifest's own splits by identity; an identity in two of them would leak into validation."""
    splits: dict[str, Split] = {}
    for row in rows:
        if row["split"] is None:
            continue
        split = next((split for split in SPLITS if split == row["split"]), None)
        if split is None:
            raise UsageError(
                f"{row['where']}: the split is '{row['split']}', but must be {' or '.join(SPLITS)}."
            )
        identity = row["identity"] or Path(row["source_uri"]).stem
        if splits.setdefault(identity, split) != split:
            raise UsageError(
                f"The manifest '{path}' has the identity '{identity}' in both {' and '.join(SPLITS)}.",
                fix="Put all clips of an identity into one split, or leave the column out.",
            )
    return splits


def _required_text(raw: Mapping[str, Any], *, where: str) -> str:
    text = _optional_text(raw.get("source_uri"), name="source_uri", where=where)
    if text is None:
        raise UsageError(f"{where} has no source_uri.", fix="Every row names its video there.")
    return text


def _optional_text(value: Any, *, name: str, where: str) -> str | None:
    if value is None or value == "":
        return None
    text = str(value)
    is_path = name in ("source_uri", "driver_path")
    # JSON can hold halves of characters, which are no text, and a path holds no zero.
    if (is_path and "\0" in text) or any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError(f"{where}: {name} is {text!r}, which is no {'path' if is_path else 'text'}.")
    return text


def _seconds(value: Any, *, name: str, faults: list[str]) -> float | None:
    """A moment; what is none is added to the faults of its row."""
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        faults.append(f"{name} is {value!r}, but must be seconds from 0 on")
        return None
    return seconds


def _flag(value: Any, *, where: str) -> bool:
    match str(value).lower():
        case "" | "none" | "true" | "1":
            return True
        case "false" | "0":
            return False
        case _:
            raise UsageError(f"{where}: keep is {value!r}, but must be true or false.")


# ---------------------------------------------------------------- drivers and names


def _with_drivers(source: Source, folder: Path) -> Source:
    """Each clip with the driver of its own name in `folder`, where there is one."""
    if not folder.is_dir():
        raise UsageError(f"--drivers '{folder}' is no folder.", fix="Give a folder with the source's names.")

    def driver_of(clip: Clip) -> Path | None:
        named = None if clip.relative.is_absolute() else folder / clip.relative
        # A driver that is there and cannot be read is its clip's error.
        return named if named is not None and os.path.lexists(named) else clip.driver

    clips = tuple(replace(clip, driver=driver_of(clip)) for clip in source.clips)
    if not any(clip.driver for clip in clips):
        raise UsageError(
            f"No driver in '{folder}' has the name of a clip, such as '{clips[0].source_uri}'.",
            fix="Drivers lie in the same sub-folders under the same names as their clips.",
        )
    without = [clip for clip in clips if clip.driver is None]
    note = (
        f"{len(without)} of {len(clips)} clips have no driver in '{folder}', such as "
        f"'{without[0].source_uri}'; they are augmented as clips without drivers are."
        if without
        else ""
    )
    return replace(source, clips=clips, notes=(*source.notes, note) if note else source.notes)


def _require_unique(source: Source) -> None:
    seen: dict[str, Clip] = {}
    for clip in source.clips:
        if (other := seen.setdefault(clip.sample_id, clip)) is not clip:
            raise UsageError(
                f"Two rows of {source.described} have the id '{clip.sample_id}': "
                f"'{other.source_uri}' and '{clip.source_uri}'.",
                fix="Give each row a clip_id of its own, or leave the column out.",
            )


def _id_of(relative: Path, *, segment: str = "") -> str:
    """A name that people recognise and a hash that keeps it unique: `smile-2f0c9b1e77aa`."""
    digest = hashlib.blake2b(os.fsencode(relative) + segment.encode(), digest_size=6).hexdigest()
    return f"{_safe_name(_text(relative.stem))[:_NAME_CHARACTERS]}-{digest}"


def _safe_name(text: str) -> str:
    """Text as the name of a visible folder, with room for what is added to it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".")[:_MOST_NAME_CHARACTERS] or "clip"


def _text(path: Path | str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
