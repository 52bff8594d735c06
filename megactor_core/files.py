"""Files that are read without trust, and written complete under their final name or not at all."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from megactor_core.errors import MegActorError, OutputError, first_line

if TYPE_CHECKING:
    import pyarrow as pa

MAX_JSON_BYTES: Final = 64 * 2**20
"""Far more than any JSON file of this project has (ours)."""
MAX_TABLE_BYTES: Final = 2 * 2**30
"""Of a table in memory: some ten million clips (ours)."""
_OS_ERROR: Final = re.compile(r"\(os error (\d+)\)")
"""How Rust's standard library ends what the system says; safetensors and c2pa are written in Rust."""
_ROWS_AT_ONCE: Final = 256
_LEAST_BYTES_A_ROW: Final = 100
"""A row of nothing takes no room in a table, but does as soon as it is looked at."""


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Yield a temporary path beside `final`; when the block ends well it is flushed to disk and renamed.

    The temporary name keeps the suffix, so that libraries that choose a format by suffix work.
    When the block raises, the temporary file is removed and an earlier `final` stays as it was.
    Raises OutputError where the folder cannot be made or written.
    """
    temporary = temporary_beside(final)
    try:
        with disk_errors(temporary):
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
        with disk_errors(temporary):
            yield temporary
        _make_readable(path for path in temporary.rglob("*") if path.is_file())
        flush_folder(temporary)
        os.rename(temporary, final)
        _flush(final.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raise OSError where the writers of tensors or signatures tell of the disk in words of their own."""
    try:
        yield
    except (OSError, MegActorError):
        raise
    except Exception as error:
        found = _OS_ERROR.search(str(error))
        if found is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number), str(path)) from None


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


def read_bytes(path: Path, *, max_bytes: int) -> bytes:
    """The content of a file that nobody vouches for.

    Raises OSError where it cannot be opened, and ValueError where it is longer than `max_bytes` or is a
    device or pipe, which might never end or never begin.
    """
    with _open_regular(path) as file:
        # Not max_bytes: room for all that is asked for would be made first.
        size = os.fstat(file.fileno()).st_size
        content = file.read(min(size, max_bytes) + 1)
    if len(content) > max_bytes:
        raise ValueError(f"it has {size} bytes, more than {max_bytes} bytes")
    return content


def read_json(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """The value in a JSON file that nobody vouches for; NaN and Infinity count as numbers.

    Raises OSError where it cannot be opened, and ValueError for anything but a JSON file of at most
    `max_bytes` in UTF-8: for values that are nested too deeply too.
    """
    try:
        return json.loads(read_bytes(path, max_bytes=max_bytes).decode("utf-8"))
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def read_table(
    path: Path, *, columns: Collection[str] | None = None, max_bytes: int = MAX_TABLE_BYTES
) -> "pa.Table":
    """A Parquet file that nobody vouches for, with those of `columns` that it has; None: all.

    The names of its folders mean nothing. Raises OSError where it cannot be opened, and ValueError for
    anything but a Parquet file of at most `max_bytes` once unpacked whose texts are UTF-8.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _open_regular(path) as file:
        try:
            source = pq.ParquetFile(file)
            fields = [
                _plain(field) for field in source.schema_arrow if columns is None or field.name in columns
            ]
            names = [field.name for field in fields]
            if len(set(names)) < len(names):
                raise ValueError("two of its columns have one name")
            batches, size = [], 0
            wanted = pa.schema(fields, source.schema_arrow.metadata)
            for packed in source.iter_batches(_ROWS_AT_ONCE, columns=names, use_threads=False):
                batch = packed.cast(wanted)
                size += batch.nbytes + _LEAST_BYTES_A_ROW * batch.num_rows
                if size > max_bytes:
                    raise ValueError(f"it unpacks to more than {max_bytes} bytes")
                batches.append(batch)
            table = pa.Table.from_batches(batches, schema=wanted)
            table.validate(full=True)
        except (OSError, pa.ArrowException) as error:
            raise ValueError(first_line(error)) from None
    return table


def read_column_names(path: Path) -> list[str]:
    """The columns of a Parquet file; raises as `read_table`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _open_regular(path) as file:
        try:
            return list(pq.read_schema(file).names)
        except (OSError, pa.ArrowException) as error:
            raise ValueError(first_line(error)) from None


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


def _plain(field: "pa.Field") -> "pa.Field":
    """The column with each value written out: a dictionary hides how much there is of them."""
    import pyarrow as pa

    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if "dictionary<" in str(kind):
        raise ValueError(f"its column '{field.name}' has dictionaries inside")
    return field.with_type(kind)


@contextmanager
def _open_regular(path: Path) -> Iterator[IO[bytes]]:
    """Open a file; raises OSError, and ValueError for a device or pipe."""
    with open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is a device or pipe, not a file")
        yield file


def _open_at_once(path: str, flags: int) -> int:
    """Without waiting for somebody to write into a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


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
