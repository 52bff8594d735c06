"""Public weights: whether they are whole, and the folder they live in.

Where the registry pins no SHA-256, the hash found at pull time is recorded beside the files in
`manifest.json` and every later check compares against that record.
"""

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

from megactor_core.config.base import nearest
from megactor_core.errors import OutputError, WeightsError
from megactor_core.files import flush_folder, read_json, require_writable_folder, sha256_of, write_json
from megactor_core.weights_registry import REGISTRY, Entry, WeightsFile
from megactor_core.weights_sources import ProgressCallback, fetch, take_given

MANIFEST_NAME = "manifest.json"
PULLS_AT_ONCE = 4
STOP_SECONDS = 2.0
"""How long an interrupted pull waits for its threads; a hub's client cannot be stopped in a file's middle."""
HASHED_WHEN_FOUND_BYTES = 8 * 2**20
"""Files up to this size are hashed whenever they are looked for: a millisecond a megabyte (ours)."""


@dataclass(frozen=True, slots=True)
class FileStatus:
    """The state of one file in the cache; `expected_sha256` is the pinned or the recorded hash."""

    name: str
    state: Literal["ok", "missing", "damaged"]
    expected_sha256: str | None
    found_sha256: str | None


@dataclass(frozen=True, slots=True)
class EntryStatus:
    """The state of an entry in the cache, file by file."""

    name: str
    folder: Path
    files: tuple[FileStatus, ...]

    @property
    def state(self) -> Literal["ok", "missing", "damaged"]:
        """The worst state of its files: damaged before missing before ok."""
        states = {file.state for file in self.files}
        if "damaged" in states:
            return "damaged"
        return "missing" if "missing" in states else "ok"


def cache_folder() -> Path:
    """The folder of all pulled weights: $MEGACTOR_CACHE, else ~/.cache/megactor (not created here)."""
    chosen = os.environ.get("MEGACTOR_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "megactor"


def find(name: str) -> Path:
    """The folder of a pulled entry, looked over: sizes, and the pinned hashes of small files.

    The runtimes of such small networks end the process on a damaged file. `verify` and `pull` check all.

    Raises WeightsError that names the missing or truncated files and `megactor weights pull NAME`.
    """
    entry = _entry(name)
    folder = _folder(entry)
    recorded = _read_manifest(folder)
    absent = [file.name for file in entry.files if not _looks_whole(folder / file.name, file, recorded)]
    if absent:
        raise WeightsError(
            f"The weights '{name}' ({entry.title}) are not complete in '{folder}': "
            f"{', '.join(absent)} missing or of the wrong size or content.",
            fix=f"Run `megactor weights pull {name}`.",
        )
    return folder


def verify(names: Sequence[str] = ()) -> list[EntryStatus]:
    """Hash every cached file of the named entries (of all entries where none is named).

    Raises WeightsError for a name that the registry does not have; missing and damaged files are results.
    """
    return [_entry_status(_entry(name)) for name in (names or REGISTRY)]


def pull(name: str, *, from_path: Path | None = None, on_progress: ProgressCallback | None = None) -> Path:
    """Put the files of an entry into the cache, checked, and return their folder.

    `from_path` takes them from a wheel, from a folder that holds files of these names, or is one such file;
    without it the entry's sources are tried in order. An entry that is there and valid returns at once.
    Raises WeightsError that lists what was tried and how to hand in a file; the cache then stays as it was.
    """
    entry = _entry(name)
    folder = _folder(entry)
    if from_path is None and _entry_status(entry).state == "ok":
        return folder
    report = on_progress or _no_progress
    with _staging_folder(entry) as staging:
        if from_path is None:
            source = fetch(entry, staging, report)
        else:
            source = take_given(entry, from_path, staging, report)
        _move_into_place(entry, staging, folder, source=source)
    _require_complete(entry)
    return folder


def pull_all(
    names: Sequence[str], *, from_path: Path | None = None, on_progress: ProgressCallback | None = None
) -> dict[str, Path]:
    """`pull` for several entries, some at once; `on_progress` hears the sum of their bytes.

    What one of them lacks stops none of the others. Raises WeightsError: for an unknown name before anything
    is fetched, else the first entry's after all have ended.
    """
    for name in names:
        _entry(name)
    if len(names) == 1:
        return {names[0]: pull(names[0], from_path=from_path, on_progress=on_progress)}
    pulls = _Pulls(on_progress or _no_progress, from_path)
    threads = [
        threading.Thread(target=pulls.pull, args=(name,), daemon=True) for name in dict.fromkeys(names)
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        pulls.stopped.set()
        for thread in threads:
            thread.join(timeout=STOP_SECONDS)
        raise
    failed = [pulls.errors[name] for name in names if name in pulls.errors]
    if failed:
        raise failed[0]
    return {name: pulls.folders[name] for name in names}


class _Pulls:
    """Pulls in threads: what came out of each, and their progress together."""

    def __init__(self, on_progress: ProgressCallback, from_path: Path | None) -> None:
        self._on_progress, self._from_path = on_progress, from_path
        self._lock, self._places = threading.Lock(), threading.Semaphore(PULLS_AT_ONCE)
        self._progress: dict[str, tuple[int, int]] = {}
        self.stopped = threading.Event()
        self.folders: dict[str, Path] = {}
        self.errors: dict[str, Exception] = {}

    def pull(self, name: str) -> None:
        with self._places:
            try:
                if not self.stopped.is_set():
                    report = partial(self._report, name)
                    self.folders[name] = pull(name, from_path=self._from_path, on_progress=report)
            except _Stopped:
                return
            except Exception as error:  # a full disk, say: whoever waits for the thread raises it
                self.errors[name] = error

    def _report(self, name: str, done: int, total: int) -> None:
        if self.stopped.is_set():
            raise _Stopped
        with self._lock:
            self._progress[name] = done, total
            totals = [total for _, total in self._progress.values()]
            self._on_progress(
                sum(done for done, _ in self._progress.values()), sum(totals) if all(totals) else 0
            )


class _Stopped(Exception):
    """Somebody pressed Ctrl-C while a thread was pulling."""


def _entry(name: str) -> Entry:
    if name not in REGISTRY:
        raise WeightsError(
            f"There are no weights named '{name}'; {nearest(name, list(REGISTRY))}",
            fix="`megactor weights list` shows them all.",
        )
    return REGISTRY[name]


def _folder(entry: Entry) -> Path:
    return cache_folder() / entry.name


def _no_progress(_done: int, _total: int) -> None:
    return None


# ---------------------------------------------------------------- state of the cache


def _read_manifest(folder: Path) -> dict[str, dict[str, str | int]]:
    """What `pull` recorded: file name -> sha256 and bytes; empty where there is no readable record."""
    try:
        files = read_json(folder / MANIFEST_NAME)["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return files if isinstance(files, dict) else {}


def _looks_whole(path: Path, file: WeightsFile, recorded: dict[str, dict[str, str | int]]) -> bool:
    expected_bytes = file.bytes or recorded.get(file.name, {}).get("bytes")
    if expected_bytes is None:
        return False
    if not path.is_file() or path.stat().st_size != expected_bytes:
        return False
    if file.sha256 is None or path.stat().st_size > HASHED_WHEN_FOUND_BYTES:
        return True
    return _small_hash(path, path.stat().st_mtime_ns) == file.sha256


@lru_cache
def _small_hash(path: Path, _changed: int) -> str | None:
    """Networks are looked for again and again: each version of a file is hashed once."""
    return _hash_if_readable(path)


def _entry_status(entry: Entry) -> EntryStatus:
    folder = _folder(entry)
    recorded = _read_manifest(folder)
    files = tuple(_file_status(folder / file.name, file, recorded) for file in entry.files)
    return EntryStatus(name=entry.name, folder=folder, files=files)


def _file_status(path: Path, file: WeightsFile, recorded: dict[str, dict[str, str | int]]) -> FileStatus:
    known = file.sha256 or recorded.get(file.name, {}).get("sha256")
    expected = None if known is None else str(known)
    if not path.is_file():
        return FileStatus(name=file.name, state="missing", expected_sha256=expected, found_sha256=None)
    found = _hash_if_readable(path)
    state: Literal["ok", "damaged"] = "ok" if found is not None and found == expected else "damaged"
    return FileStatus(name=file.name, state=state, expected_sha256=expected, found_sha256=found)


def _hash_if_readable(path: Path) -> str | None:
    try:
        return sha256_of(path)
    except OSError:
        return None


def _require_complete(entry: Entry) -> None:
    missing = [file.name for file in _entry_status(entry).files if file.state != "ok"]
    if missing:
        raise WeightsError(
            f"What was given is in '{_folder(entry)}', but '{entry.name}' still lacks {', '.join(missing)}.",
            fix=f"Give the others too: `megactor weights pull {entry.name} --from FILE`.",
        )


@contextmanager
def _staging_folder(entry: Entry) -> Iterator[Path]:
    """A private folder on the same disk as the cache, so that the final move is a rename."""
    root = cache_folder()
    try:
        require_writable_folder(root)
        with tempfile.TemporaryDirectory(prefix=f".{entry.name}.partial-", dir=root) as staging:
            yield Path(staging)
    except OutputError as error:
        raise WeightsError(error.message, fix="Set MEGACTOR_CACHE to a folder you may write to.") from None


def _move_into_place(entry: Entry, staging: Path, folder: Path, *, source: str) -> None:
    """Rename the staged files into the entry's folder; the record is written last."""
    require_writable_folder(folder)
    recorded = _read_manifest(folder)
    flush_folder(staging)
    for file in entry.files:
        staged = staging / file.name
        if staged.is_file():
            recorded[file.name] = {"sha256": sha256_of(staged), "bytes": staged.stat().st_size}
            os.replace(staged, folder / file.name)
    write_json(folder / MANIFEST_NAME, {"entry": entry.name, "source": source, "files": recorded})
