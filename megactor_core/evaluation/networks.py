"""The networks of the paper's metrics: their files, what those are known by, and loading them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from megactor_core import weights
from megactor_core.config.evaluate import MetricName, NetworkFiles
from megactor_core.errors import WeightsError
from megactor_core.evaluation.catalogue import NETWORK_METRICS
from megactor_core.files import sha256_of
from megactor_core.metrics import i3d, inception, syncnet
from megactor_core.metrics import lpips as lpips_metric

ENTRIES: Final[dict[MetricName, str]] = {
    "lpips": lpips_metric.ENTRY,
    "fid": inception.ENTRY,
    "fvd": i3d.ENTRY,
    "sync": syncnet.ENTRY,
}
"""The entry in the registry of weights that a metric needs."""


@dataclass(frozen=True, slots=True)
class NetworkWeights:
    """The files of one network, in the order in which its loader takes them, and the SHA-256 of each."""

    files: tuple[Path, ...]
    sha256: tuple[str, ...]


Located = dict[MetricName, NetworkWeights]


def locate(wanted: Iterable[MetricName], own: NetworkFiles) -> tuple[Located, dict[MetricName, WeightsError]]:
    """The weights of the wanted metrics, and for those without, the error that says how to get them."""
    found: Located = {}
    absent: dict[MetricName, WeightsError] = {}
    for metric in wanted:
        if metric in NETWORK_METRICS:
            try:
                files = _files(metric, own)
                found[metric] = NetworkWeights(files, tuple(sha256_of(path) for path in files))
            except WeightsError as error:
                absent[metric] = error
    return found, absent


def missing_together(absent: dict[MetricName, WeightsError]) -> WeightsError:
    """One error for all metrics that were asked for by name, with one command."""
    if len(absent) == 1:
        return next(iter(absent.values()))
    entries = " ".join(ENTRIES[metric] for metric in absent)
    return WeightsError(
        f"The weights of {', '.join(absent)} are missing.",
        fix=f"Run `megactor weights pull {entries}`, or leave these metrics out.",
    )


@dataclass(slots=True)
class Networks:
    """The networks of a worker; those that are not wanted are None."""

    lpips: lpips_metric.LPIPS | None = None
    fid: inception.InceptionV3 | None = None
    fvd: i3d.InceptionI3d | None = None
    sync: syncnet.SyncNet | None = None


def load_networks(located: Located, *, device: str) -> Networks:
    """Load them onto a device; raises WeightsError for files that are damaged or of other networks."""
    networks = Networks()
    for metric, found in located.items():
        match metric:
            case "lpips":
                trunk, heads = found.files
                networks.lpips = lpips_metric.load_lpips(trunk=trunk, heads=heads).to(device)
            case "fid":
                networks.fid = inception.load_inception(found.files[0]).to(device)
            case "fvd":
                networks.fvd = i3d.load_i3d(found.files[0]).to(device)
            case "sync":
                networks.sync = syncnet.load_syncnet(found.files[0]).to(device)
    return networks


def _files(metric: MetricName, own: NetworkFiles) -> tuple[Path, ...]:
    """The files of a metric's network; raises WeightsError where one is missing."""
    match metric:
        case "lpips":
            names = {lpips_metric.TRUNK_FILE: own.lpips_trunk, lpips_metric.HEADS_FILE: own.lpips_heads}
        case "fid":
            names = {inception.WEIGHTS_FILE: own.fid}
        case "fvd":
            names = {i3d.WEIGHTS_FILE: own.fvd}
        case _:
            names = {syncnet.WEIGHTS_FILE: own.syncnet}
    entry = ENTRIES[metric]
    cached = weights.find(entry) if None in names.values() else None
    files = [path if path is not None else _in(cached, name) for name, path in names.items()]
    _require_files(files)
    return tuple(path.absolute() for path in files)


def _in(folder: Path | None, name: str) -> Path:
    assert folder is not None, "looked up wherever a path is missing"
    return folder / name


def _require_files(files: Sequence[Path]) -> None:
    for path in files:
        if not path.is_file():
            raise WeightsError(f"There is no weights file '{path}'.", fix="Check the path under `networks`.")
