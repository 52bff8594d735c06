"""What is installed, found and missing, and how to mend each; it survives what it examines."""

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from megactor_core import weights
from megactor_core.errors import WeightsError
from megactor_core.files import read_json
from megactor_core.version import megactor_version
from megactor_core.weights_registry import REGISTRY, Entry

PACKAGES = (
    "accelerate",
    "ai-edge-litert",
    "av",
    "c2pa-python",
    "cryptography",
    "diffusers",
    "einops",
    "huggingface_hub",
    "matplotlib",
    "numpy",
    "opencv-python-headless",
    "pebble",
    "pillow",
    "pyarrow",
    "pydantic",
    "pyyaml",
    "rich",
    "safetensors",
    "scikit-video",
    "scipy",
    "soundfile",
    "soxr",
    "torch",
    "tqdm",
    "transformers",
    "typer",
)
"""The dependencies that pyproject.toml declares."""

HARMFUL_PACKAGES = {
    "torchvision": "beside a CPU build of torch its usual wheels break the import of diffusers",
    "torchaudio": "its usual wheels do not load beside a CPU build of torch; megactor reads sound without it",
    "torchcodec": "its usual wheels do not load beside a CPU build of torch; megactor reads video without it",
}
"""Packages that megactor does without on purpose, and why."""

CODECS = {
    "h264": "libx264",
    "hevc": "libx265",
    "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
    "mpeg4": "mpeg4",
    "mjpeg": "mjpeg",
    "aac": "aac",
    "opus": "libopus",
    "mp3": "libmp3lame",
    "flac": "flac",
}
"""Decoder name -> the encoder that goes with it, as FFmpeg calls them."""

OUTPUT_CODECS = ("h264", "aac")
LOW_DISK_BYTES = 2_000_000_000
"""Room for the largest public weights (ours)."""

_ASSETS = Path(__file__).parents[1] / "assets"
_CHECKPOINT_PLACES = ("*", "*/final", "*/checkpoints/*")
_CHECKPOINT_MARK = "sigma.safetensors"


@dataclass(frozen=True, slots=True)
class Device:
    """Something that torch can compute on; `name` is what `--device` takes."""

    name: str
    title: str
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Codec:
    """Whether the installed PyAV reads and writes a codec."""

    name: str
    reads: bool
    writes: bool


@dataclass(frozen=True, slots=True)
class WeightsState:
    """Whether public weights are in the cache, and the command that gets them."""

    name: str
    found: bool
    needed_by: str
    command: str


@dataclass(frozen=True, slots=True)
class CheckpointState:
    """A checkpoint folder; `trained` is None where its config.json cannot be read."""

    folder: str
    trained: bool | None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something to mend; `fatal` where `megactor animate` cannot run because of it."""

    message: str
    fix: str
    fatal: bool


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """All that was examined. `packages` maps a name to its version, None where it is missing."""

    system: dict[str, str]
    packages: dict[str, str | None]
    devices: list[Device]
    codecs: list[Codec]
    weights: list[WeightsState]
    checkpoints: list[CheckpointState]
    cache: str
    cache_free_bytes: int
    problems: list[Problem]

    @property
    def ok(self) -> bool:
        """Whether `megactor animate` can run."""
        return not any(problem.fatal for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {"ok": self.ok, **asdict(self)}


def examine(*, runs: Path = Path("runs")) -> DoctorReport:
    """Examine this installation; `runs` is the folder whose checkpoints are listed. Changes nothing."""
    packages = {name: package_version(name) for name in PACKAGES}
    devices, codecs, free = _devices(), _codecs(), free_bytes(weights.cache_folder())
    return DoctorReport(
        system=_system(),
        packages=packages,
        devices=devices,
        codecs=codecs,
        weights=[_weights_state(entry) for entry in REGISTRY.values()],
        checkpoints=_checkpoints(_ASSETS, runs),
        cache=str(weights.cache_folder()),
        cache_free_bytes=free,
        problems=[
            *_package_problems(packages),
            *_library_problems(devices, codecs, packages),
            *_disk_problems(free),
        ],
    )


def package_version(name: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def is_found(name: str) -> bool:
    """Whether the public weights of a name are whole in the cache."""
    try:
        weights.find(name)
    except WeightsError:
        return False
    return True


def free_bytes(folder: Path) -> int:
    """Free space where `folder` is or would be made."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def _system() -> dict[str, str]:
    return {
        "megactor": megactor_version(),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def _devices() -> list[Device]:
    """The devices of torch; none where torch does not load."""
    try:
        import torch
    except (ImportError, OSError, RuntimeError):  # a broken wheel fails in any of these ways
        return []
    devices = [Device("cpu", f"{torch.get_num_threads()} threads", _memory_bytes())]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        devices.append(Device(f"cuda:{index}", properties.name, properties.total_memory))
    if torch.backends.mps.is_available():
        devices.append(Device("mps", "Apple GPU", None))
    return devices


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not every system says
        return None


def _codecs() -> list[Codec]:
    """What PyAV reads and writes; nothing where PyAV does not load."""
    try:
        from av.codec import Codec as AvCodec
        from av.codec.codec import UnknownCodecError
    except (ImportError, OSError):
        return []

    def has(name: str, mode: Literal["r", "w"]) -> bool:
        try:
            AvCodec(name, mode)
        except UnknownCodecError:
            return False
        return True

    return [Codec(name, has(name, "r"), has(encoder, "w")) for name, encoder in CODECS.items()]


def _weights_state(entry: Entry) -> WeightsState:
    command = f"megactor weights pull {entry.name}"
    return WeightsState(entry.name, is_found(entry.name), entry.needed_by, command)


def _checkpoints(*roots: Path) -> list[CheckpointState]:
    marks = (
        mark
        for root in roots
        for place in _CHECKPOINT_PLACES
        for mark in root.glob(f"{place}/{_CHECKPOINT_MARK}")
    )
    return [CheckpointState(str(mark.parent), _is_trained(mark.parent)) for mark in sorted(set(marks))]


def _is_trained(folder: Path) -> bool | None:
    try:
        return bool(read_json(folder / "config.json")["trained"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _package_problems(packages: dict[str, str | None]) -> Iterator[Problem]:
    missing = [name for name, version in packages.items() if version is None]
    if missing:
        yield Problem(
            f"Packages are missing: {', '.join(missing)}.",
            "Install megactor again with `pip install`.",
            fatal=True,
        )
    for name, reason in HARMFUL_PACKAGES.items():
        if version := package_version(name):
            yield Problem(f"{name} {version} is installed: {reason}.", f"pip uninstall {name}", fatal=False)


def _library_problems(
    devices: list[Device], codecs: list[Codec], packages: dict[str, str | None]
) -> Iterator[Problem]:
    if not devices and packages["torch"]:
        yield Problem("torch is installed but does not load.", "Install torch again.", fatal=True)
    if not codecs and packages["av"]:
        yield Problem("PyAV is installed but does not load.", "Install av again.", fatal=True)
    for codec in codecs:
        if codec.name in OUTPUT_CODECS and not (codec.reads and codec.writes):
            yield Problem(
                f"PyAV cannot write {codec.name}, which every output needs.",
                "Install the av wheel of the package index, not a build of your own.",
                fatal=True,
            )


def _disk_problems(free: int) -> Iterator[Problem]:
    if free < LOW_DISK_BYTES:
        yield Problem(
            f"Only {free // 1_000_000} MB are free for the cache; weights take up to "
            f"{LOW_DISK_BYTES // 1_000_000} MB.",
            "Free some space, or name another folder with MEGACTOR_CACHE.",
            fatal=False,
        )
