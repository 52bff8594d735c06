"""Files that are either complete under their final name or not there at all."""

import fcntl
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from megactor_core.errors import OutputError


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Yield a temporary path beside `final`; when the block ends well it is flushed to disk and renamed.

    The temporary name keeps the suffix, so that libraries that choose a format by suffix work.
    When the block raises, the temporary file is removed and an earlier `final` stays as it was.
    Raises OutputError where the folder cannot be made or written.
    """
    temporary = temporary_beside(final)
    try:
        yield temporary
        _make_readable([temporary])
        _flush(temporary)
        os.replace(temporary, final)
        _flush(final.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(final: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `final`; when the block ends well it is flushed and renamed.

    Raises OutputError if `final` exists, or where its parent cannot be written.
    """
    require_absent(final)
    temporary = temporary_beside(final)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        _make_readable(path for path in temporary.rglob("*") if path.is_file())
        flush_folder(temporary)
        os.rename(temporary, final)
        _flush(final.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def sole_owner(lock: Path) -> Iterator[None]:
    """Hold the lock file `lock` while the block runs, so that no second run writes in the same place.

    The system frees the lock when the process ends in any way; the file stays and says who had it last.
    Raises OutputError, naming the owner, where another process holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise OutputError(
                f"'{lock.parent}' is in use by another run ({file.read().strip() or 'unknown'}).",
                fix="Wait for it to end, or choose another --output.",
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def temporary_beside(final: Path) -> Path:
    """A hidden temporary path in the folder of `final`, which is made and checked to be writable."""
    require_writable_folder(final.parent)
    return final.parent / f".{final.stem}.partial-{os.getpid()}{final.suffix}"


def require_absent(folder: Path) -> None:
    """Refuse to write over a folder; raises OutputError."""
    if folder.exists():
        raise OutputError(f"'{folder}' exists already.", fix="Choose another folder, or remove it first.")


def require_writable_folder(folder: Path) -> None:
    """Make `folder` if need be and prove that a file can be written there; raises OutputError."""
    probe = folder / f".megactor-write-test-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"Cannot write into the folder '{folder}' ({error.strerror or error}).",
            fix="Give an --output in a folder that you may write to.",
        ) from None


def write_json(path: Path, value: dict[str, Any] | list[Any]) -> None:
    """Write `value` as indented JSON, atomically.

    File names may hold bytes that are no UTF-8, which Python carries as surrogates: they become escapes.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file as 64 hex digits, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush_folder(folder: Path, *, contents: bool = True) -> None:
    """Wait until a folder, and by default the files in it, are on the disk and not only in memory."""
    for path in folder.iterdir() if contents else ():
        _flush(path)
    _flush(folder)


def _make_readable(paths: Iterable[Path]) -> None:
    """Give files the mode that this user's new files have: safetensors writes for its owner's eyes alone."""
    umask = os.umask(0o077)  # can only be read by setting it
    os.umask(umask)
    for path in paths:
        path.chmod(0o666 & ~umask)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
