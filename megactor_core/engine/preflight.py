"""What every machine of a cluster must have before it gets a row: this version, the files, decoders, room.

A machine that lacks one of them would end all of its rows as errors of theirs.
"""

import hashlib
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import av
import ray
from pydantic import BaseModel
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from megactor_core.engine.batch import Plan
from megactor_core.errors import ConfigError, first_line
from megactor_core.files import sha256_of
from megactor_core.version import megactor_version

DECODERS: Final = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "aac", "mp3", "opus", "vorbis", "flac")
"""What video of this field is kept in."""
WEIGHTS: Final = frozenset({".safetensors", ".bin", ".pth", ".pt", ".model", ".onnx", ".task", ".tflite"})
"""Files by which a folder is known, where it holds any."""
MIN_FREE_BYTES: Final = 2**30
"""Room for what a worker writes to its machine's temporary folder (ours)."""
NODE_SECONDS: Final = 300.0
"""A node that says nothing for so long is unfit; large weights take a while to read."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A machine as it is seen from a worker there.

    files: every path that a stage holds, with what it is: a digest, "folder", or "" where there is none.
    journal: what stands in the file that the run has written to the journal's folder, and whether the
    machine can write there too.
    """

    host: str
    version: str
    decoders: frozenset[str]
    files: Mapping[str, str]
    journal: tuple[str, bool]
    free_bytes: int


def check_nodes(plan: Plan) -> None:
    """Compare every live node that gets rows with this machine.

    Raises ConfigError naming the first that is unfit, and why.
    """
    token = plan.marks.parent / f".seen-{uuid4().hex}"
    token.write_text(token.name, encoding="ascii")
    try:
        paths = sorted({str(path) for stage in plan.stages for path in paths_in(stage)})
        here = look(paths, token)
        for address, facts in _looks(paths, token):
            require_fit(here, facts, where=f"'{facts.host}' ({address})")
    finally:
        for path in token.parent.glob(f"{token.name}*"):
            path.unlink(missing_ok=True)


def look(paths: Sequence[str], token: Path) -> NodeFacts:
    """The facts of the machine that this runs on."""
    return NodeFacts(
        host=socket.gethostname(),
        version=megactor_version(),
        decoders=frozenset(name for name in DECODERS if _decodes(name)),
        files={path: _identity(Path(path)) for path in paths},
        journal=_seen(token),
        free_bytes=shutil.disk_usage(tempfile.gettempdir()).free,
    )


def require_fit(here: NodeFacts, there: NodeFacts, *, where: str) -> None:
    """Raises ConfigError where a node lacks what this machine has."""
    if there.version != here.version:
        raise ConfigError(
            f"The node {where} has megactor {there.version}, this machine {here.version}.",
            fix="Install one version on all of them.",
        )
    if there.journal != here.journal:
        said = "does not see" if there.journal[0] != here.journal[0] else "cannot write to"
        raise ConfigError(
            f"The node {where} {said} the output's journal.",
            fix="Put --output on a file system that every machine of the cluster mounts at the same path.",
        )
    for path, known in here.files.items():
        if there.files[path] != known:
            raise ConfigError(
                f"'{path}' is {_said(there.files[path])} on the node {where}, {_said(known)} here.",
                fix="Put sources and weights (MEGACTOR_CACHE) where every machine sees them at one path.",
            )
    missing = sorted(here.decoders - there.decoders)
    if missing:
        raise ConfigError(
            f"The node {where} cannot decode {', '.join(missing)}, this machine can.",
            fix="Install the same PyAV wheel on all of them.",
        )
    if there.free_bytes < MIN_FREE_BYTES:
        raise ConfigError(
            f"The node {where} has {there.free_bytes / 1e9:.1f} GB free in its temporary folder; "
            f"{MIN_FREE_BYTES / 1e9:.1f} GB are wanted.",
            fix="Make room there, or set TMPDIR for its Ray processes.",
        )


def paths_in(value: Any) -> Iterator[Path]:
    """Every path in a stage's settings, however deep."""
    match value:
        case Path():
            yield value.absolute()
        case BaseModel():
            for name in type(value).model_fields:
                yield from paths_in(getattr(value, name))
        case dict():
            for item in value.values():
                yield from paths_in(item)
        case list() | tuple() | set() | frozenset():
            for item in value:
                yield from paths_in(item)
        case _ if is_dataclass(value):
            for field in fields(value):
                yield from paths_in(getattr(value, field.name, None))


def _looks(paths: Sequence[str], token: Path) -> Iterator[tuple[str, NodeFacts]]:
    """The facts of every live node that gets rows, all of which look at once."""
    task = ray.remote(num_cpus=0, max_retries=0)(look)
    asked = {
        node["NodeID"]: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(paths, token)
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) > 0
    }
    for name, reference in asked.items():
        try:
            facts, reason = ray.get(reference, timeout=NODE_SECONDS), ""
        except Exception as error:
            facts, reason = None, f"{type(error).__name__}: {first_line(error)}"
        node = next(node for node in ray.nodes() if node["NodeID"] == name)
        if facts is not None:
            yield node["NodeManagerAddress"], facts
        elif node["Alive"]:  # one that has gone meanwhile gets no rows either
            raise ConfigError(
                f"The node {node['NodeManagerAddress']} could not be looked at ({reason}).",
                fix="Install megactor[ray] there, in the same Python, or take the node out of the cluster.",
            )


def _identity(path: Path) -> str:
    if path.is_dir():
        weights = sorted(file for file in path.iterdir() if file.suffix in WEIGHTS and file.is_file())
        digests = "".join(f"{file.name}{sha256_of(file)}" for file in weights)
        return hashlib.sha256(digests.encode()).hexdigest() if weights else "folder"
    return sha256_of(path) if path.is_file() else ""


def _said(identity: str) -> str:
    return {"": "missing", "folder": "a folder"}.get(identity, f"known by SHA-256 {identity[:12]}...")


def _seen(token: Path) -> tuple[str, bool]:
    """What the run's file says here, and whether a file can be put beside it."""
    try:
        text = token.read_text(encoding="ascii")
    except OSError:
        return "", False
    try:
        beside = token.with_name(f"{token.name}-{uuid4().hex}")
        beside.touch()
        beside.unlink()
    except OSError:
        return text, False
    return text, True


def _decodes(name: str) -> bool:
    try:
        av.Codec(name, "r")
    except ValueError:  # what PyAV raises for a codec that it does not have
        return False
    return True
