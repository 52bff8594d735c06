"""Run a command on a disk that fails at each of its calls in turn, and look at what is left.

    FAILING_DISK=disk LD_PRELOAD=failing_disk.so python fault_trials.py FOLDER KINDS COMMAND MOST ...

MOST calls of a command, 0 for all of them, each with every one of the KINDS of fault. Prints a line of JSON
for the healthy run and one for each trial. Every run is a fork of this process, which has imported everything
and computed nothing.
"""

import atexit
import errno
import fnmatch
import hashlib
import importlib
import itertools
import json
import mmap
import os
import re
import shutil
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from fault_commands import COMMANDS, Command, make_inputs

from megactor_core.files import sole_owner

SEED = 20_262
SECONDS_A_RUN = 120
"""Far more than any takes."""
OFF, COUNT, FAIL = range(3)
HEAD = struct.Struct("7l1024s")
LOG_BYTES = 1 << 22
KINDS = {
    "killed": 0,
    "full": errno.ENOSPC,
    "broken": errno.EIO,
    "read-only": errno.EROFS,
    "terminated": -signal.SIGTERM,
    "interrupted": -signal.SIGINT,
}
"""What happens at a call: SIGKILL, no space from then on, one input/output error, no writing from then on, a
signal."""
STOPPED = {"terminated": 143, "interrupted": 130}
"""Exit codes of a run that a signal has stopped; one that was nearly done may end well."""
STAYS = frozenset({"full", "read-only"})
MADE_BY = {
    "nano": "weights init",
    "home": "animate, first key",
    "out": "animate, first key",
    "kept": "curate",
    "samples": "preprocess",
}
"""What commands need of other commands."""
TIMES = re.compile(
    r"seconds|_at$|^at$|time|host|pid|sha256|started|ended|^run$|free|workers|created|run_id|bytes|^cpu_|^computed$|^resume$"
)
"""Names of facts that say when and where a run was; a signature, and so a hash of a video, is random."""


class Disk:
    """The file that failing_disk.c maps too."""

    def __init__(self, path: Path) -> None:
        file = os.open(path, os.O_RDWR)
        self._memory = mmap.mmap(file, HEAD.size + LOG_BYTES)
        os.close(file)

    def set(self, mode: int, *, folder: Path, turn: int = 0, error: int = 0, stays: bool = False) -> None:
        head = HEAD.pack(mode, 0, turn, error, stays, 0, 0, os.fsencode(folder))
        self._memory[: HEAD.size] = head

    @property
    def failed(self) -> bool:
        return bool(HEAD.unpack(self._memory[: HEAD.size])[5])

    @property
    def calls(self) -> list[list[str]]:
        """[call, path, other path] of each."""
        used = HEAD.unpack(self._memory[: HEAD.size])[6]
        assert used < LOG_BYTES
        text = self._memory[HEAD.size : HEAD.size + used].decode(errors="surrogateescape")
        return [line.split("\t") for line in text.splitlines()]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: its exit code, below 0 a signal, and what it wrote to stderr."""

    code: int
    said: str


def main(folder: Path, kinds: Sequence[str], plan: Sequence[str]) -> None:
    disk = Disk(Path(os.environ["FAILING_DISK"]))
    disk.set(OFF, folder=folder)
    _import_all()
    inputs = folder / "inputs"
    inputs.mkdir(parents=True)
    _forked(lambda: make_inputs(inputs), inputs, log=folder / "said")
    for name, most in zip(plan[::2], map(int, plan[1::2]), strict=True):
        command = next(command for command in COMMANDS if command.name == name)
        _try_command(command, most, kinds, inputs, folder, disk)


def _try_command(
    command: Command, most: int, kinds: Sequence[str], inputs: Path, folder: Path, disk: Disk
) -> None:
    before, case = folder / "before", folder / "case"
    _prepare(command, inputs, before)
    healthy, calls, again = _healthy(command, before, case, disk)
    _say(
        command=command.name, kind="healthy", calls=len(calls), unflushed=_unflushed(calls, case), wrong=again
    )
    if command.lock:
        found = _trial_beside_another(command, command.lock, before=before, case=case, healthy=healthy)
        _say(command=command.name, kind="second run", **found)
    for kind, turn in _trials(calls, most, kinds, command.name):
        found = _trial(command, kind, turn, before=before, case=case, healthy=healthy, disk=disk)
        call, path, _ = calls[turn]
        where = f"{call} {os.path.relpath(path, case)}"
        _say(command=command.name, kind=kind, turn=turn, where=where, **found)


def _say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _import_all() -> None:
    os.environ.update(importlib.import_module("megactor_cli.app").LIBRARY_SETTINGS)
    for path in sorted(Path(importlib.import_module("megactor_core").__path__[0]).rglob("*.py")):
        parts = path.with_suffix("").parts
        name = ".".join(parts[len(parts) - 1 - parts[::-1].index("megactor_core") :])
        if not name.endswith(("__init__", "ray_runner", "__main__")):
            importlib.import_module(name)
    for name in (
        "matplotlib.pyplot",
        "c2pa",
        "cryptography.x509",
        "ai_edge_litert.interpreter",
        "pyarrow.parquet",
    ):
        importlib.import_module(name)


def _prepare(command: Command, inputs: Path, before: Path) -> None:
    """Make the folder that each trial of the command begins with, and what it needs of other commands."""
    for need in command.needs:
        if not (inputs / need).exists():
            maker = next(known for known in COMMANDS if known.name == MADE_BY[need])
            _prepare(maker, inputs, before)
            shutil.copytree(before, inputs, dirs_exist_ok=True)
            ended = _run(maker.arguments, inputs)
            if ended.code:
                raise RuntimeError(f"{maker.name} ended with {ended.code}: {ended.said}")
    shutil.rmtree(before, ignore_errors=True)
    before.mkdir()
    for need in command.needs:
        copy = shutil.copytree if (inputs / need).is_dir() else shutil.copy
        copy(inputs / need, before / need)
    command.prepare(before)


def _healthy(
    command: Command, before: Path, case: Path, disk: Disk
) -> tuple[dict[str, Any], list[list[str]], list[str]]:
    """What an undisturbed run makes, its calls, and what a second one makes otherwise: to be nothing."""
    results = []
    for _ in range(2):
        _begin(before, case)
        disk.set(COUNT, folder=case)
        ended = _run(command.arguments, case)
        calls = disk.calls
        disk.set(OFF, folder=case)
        if ended.code:
            raise RuntimeError(f"{command.name} ended with {ended.code}: {ended.said}")
        results.append(_contents(case))
    return results[1], calls, _differences(command, results[0], results[1])


def _begin(before: Path, case: Path) -> None:
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(before, case)


def _unflushed(calls: Sequence[Sequence[str]], case: Path) -> list[str]:
    """Files that got their final name while a part was in memory alone: a power cut would tear them."""
    unsafe: set[str] = set()
    found = []
    for call, path, other in calls:
        if call in ("write", "truncate"):
            unsafe.add(path)
        elif call == "fsync":
            unsafe.discard(path)
        elif call == "rename":
            moved = {name for name in unsafe if name == path or name.startswith(path + "/")}
            unsafe = unsafe - moved | {other + name[len(path) :] for name in moved}
            found += [os.path.relpath(other + name[len(path) :], case) for name in moved]
    # A file that is hidden is no result yet, and marks of rows at work may be lost.
    return sorted(name for name in found if "/." not in f"/{name}" and "/inflight/" not in name)


def _trials(
    calls: Sequence[Sequence[str]], most: int, kinds: Sequence[str], name: str
) -> Iterator[tuple[str, int]]:
    """All pairs of a kind and a call, or `most` of each kind, drawn so that they are spread over the run.

    One alone is of a third of the kinds; the next commands in the table have the others.
    """
    rng = np.random.default_rng([SEED, *name.encode()])
    count = min(most, len(calls)) if most else len(calls)
    edges = np.linspace(0, len(calls), count + 1).astype(int)
    third = [command.name for command in COMMANDS].index(name) % 3
    for kind in kinds[third::3] if most == 1 else kinds:
        for start, end in itertools.pairwise(edges):
            yield kind, int(rng.integers(start, end))


def _trial_beside_another(
    command: Command, lock: str, *, before: Path, case: Path, healthy: dict[str, Any]
) -> dict[str, Any]:
    """A second run while a first one, this process, is at work in the same place."""
    _begin(before, case)
    earlier = _contents(case)
    with sole_owner(case / lock):
        ended = _run(command.arguments, case)
    wrong = [] if "Traceback" not in ended.said else [f"traceback: {ended.said[-1500:]}"]
    if ended.code != 2 or "in use by another run" not in ended.said:
        wrong.append(f"end: {ended.code}: {ended.said[-300:]}")
    left = _contents(case)
    wrong += [
        f"lost: {name}"
        for name in sorted(earlier.keys() | left.keys())
        if earlier.get(name) != left.get(name)
    ]
    return {
        "failed": True,
        "code": ended.code,
        "wrong": wrong + _rerun(command, case, healthy, left),
        "litter": [],
    }


def _trial(
    command: Command, kind: str, turn: int, *, before: Path, case: Path, healthy: dict[str, Any], disk: Disk
) -> dict[str, Any]:
    _begin(before, case)
    earlier = _contents(case)
    disk.set(FAIL, folder=case, turn=turn, error=KINDS[kind], stays=kind in STAYS)
    ended = _run(command.arguments, case)
    failed = disk.failed
    disk.set(OFF, folder=case)
    left = _contents(case)
    wrong = _wrong_end(command, ended, kind, failed)
    wrong += _lost(command, earlier, left, healthy) + _torn(command, earlier, left, healthy)
    wrong += _rerun(command, case, healthy, left)
    litter = [str(path.relative_to(case)) for path in case.rglob(".*") if ".partial-" in path.name]
    return {"failed": failed, "code": ended.code, "wrong": wrong, "litter": litter}


def _rerun(command: Command, case: Path, healthy: dict[str, Any], left: dict[str, Any]) -> list[str]:
    """What the same command makes otherwise, now that nothing disturbs it."""
    rerun = _run(command.rerun, case)
    if rerun.code == 2 and "exists already" in rerun.said:  # the disturbed run had got so far
        found = left
    elif rerun.code:
        return [f"rerun: ended with {rerun.code}: {rerun.said[-600:]}"]
    else:
        found = _contents(case)
    return [f"rerun: {name}" for name in _differences(command, healthy, found)]


def _wrong_end(command: Command, ended: Ended, kind: str, failed: bool) -> list[str]:
    """What is wrong with how the disturbed run ended."""
    if not failed:
        return [] if ended.code == 0 else [f"end: {ended.code} without a fault: {ended.said[-300:]}"]
    if kind == "killed":
        return [] if ended.code == -signal.SIGKILL else [f"end: {ended.code}, not killed"]
    if kind in STOPPED and ended.code == STOPPED[kind] and "Traceback" not in ended.said:
        return []
    if "Traceback" in ended.said or "This is a bug" in ended.said:
        return [f"traceback: {ended.said[-1500:]}"]
    if ended.code == 0:
        return []  # what failed was not needed; that the results are right is looked at
    if ended.code not in (1, 2):
        return [f"end: {ended.code}: {ended.said[-300:]}"]
    if command.tells_in_table and ended.code == 1:
        return []
    errors = [line for line in ended.said.splitlines() if line.startswith("Error: ")]
    return [] if len(errors) == 1 else [f"end: {len(errors)} messages: {ended.said[-300:]}"]


def _lost(
    command: Command, earlier: dict[str, Any], left: dict[str, Any], healthy: dict[str, Any]
) -> list[str]:
    """Files of before that are gone or changed into neither what they were nor what they should become."""
    return [
        f"lost: {name}"
        for name in earlier
        if left.get(name) != earlier[name]
        and not _matches(name, command.forgets + command.grows)
        and (name not in left or left[name] != healthy.get(name))
    ]


def _torn(
    command: Command, earlier: dict[str, Any], left: dict[str, Any], healthy: dict[str, Any]
) -> list[str]:
    """New files under names that a finished run uses, which are not what it makes."""
    return [
        f"torn: {name}"
        for name, value in left.items()
        if name in healthy
        and name not in earlier
        and (_is_unreadable(value) if _matches(name, command.grows) else value != healthy[name])
    ]


def _differences(command: Command, healthy: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Results that are not those of the undisturbed run."""
    return [
        f"{name} ({_first_difference(healthy.get(name), found.get(name))})"
        for name in sorted(healthy.keys() | found.keys())
        if healthy.get(name) != found.get(name) and not _matches(name, command.grows)
    ]


def _first_difference(one: str | None, other: str | None) -> str:
    if one is None or other is None:
        return "missing" if other is None else "too much"
    same = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    start = max(same - 60, 0)
    return f"{one[start : start + 120]} / {other[start : start + 120]}"


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _contents(folder: Path) -> dict[str, Any]:
    """What the files say that people see: times, places, locks and hidden files left out."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if (
            path.is_file()
            and not any(part.startswith(".") for part in name.parts)
            and "lock" not in name.name
        ):
            found[name.as_posix()] = _content(path)
    return found


def _is_unreadable(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("unreadable")


def _content(path: Path) -> Any:
    try:
        return READERS.get(path.suffix, _hash_of)(path)
    except Exception as error:
        return f"unreadable ({type(error).__name__}: {error})"


def _hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _packets(path: Path) -> str:
    import av

    seen = hashlib.sha256()
    with av.open(str(path)) as container:
        for packet in container.demux():
            seen.update(f"{packet.stream_index} {packet.pts} {packet.duration}".encode())
            seen.update(bytes(packet))
    return seen.hexdigest()


def _rows(path: Path) -> str:
    import pyarrow.parquet as pq

    table = pq.ParquetFile(path).read(use_threads=False)
    return repr(sorted(repr(_timeless(row)) for row in table.to_pylist()))


def _tensors(path: Path) -> str:
    from safetensors.numpy import load_file

    seen = hashlib.sha256()
    for name, values in sorted(load_file(path).items()):
        seen.update(f"{name} {values.dtype} {values.shape}".encode() + values.tobytes())
    return seen.hexdigest()


def _facts(path: Path) -> str:
    return repr(_timeless(json.loads(path.read_text())))


def _lines(path: Path) -> str:
    """Of a log, which grows by whole lines: one that has no end yet does not count, as in `read_metrics`."""
    whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return repr([_timeless(json.loads(line)) for line in whole])


def _timeless(value: Any) -> Any:
    match value:
        case dict():
            return {key: _timeless(item) for key, item in value.items() if not TIMES.search(str(key))}
        case list():
            return [_timeless(item) for item in value]
    return value


def _page(path: Path) -> str:
    text = path.read_text()
    if not text.rstrip().endswith("</html>"):
        raise ValueError("it has no end")
    return "whole"


def _settings(path: Path) -> str:
    return repr(_timeless(yaml.safe_load(path.read_text())))


READERS: dict[str, Callable[[Path], Any]] = {
    ".mp4": _packets,
    ".parquet": _rows,
    ".safetensors": _tensors,
    ".json": _facts,
    ".jsonl": _lines,
    ".html": _page,
    ".yaml": _settings,
}


def _run(arguments: Sequence[str], case: Path) -> Ended:
    """`megactor ARGUMENTS` in the folder `case`, in a fork of this process."""
    from megactor_cli.app import main as megactor

    def run() -> None:
        sys.argv = ["megactor", *arguments]
        os.environ["MEGACTOR_HOME"] = str(case / "home")
        if arguments[:2] == ("weights", "pull"):
            os.environ["MEGACTOR_CACHE"] = str(case / "cache")
        megactor()

    return _forked(run, case, log=case.parent / "said")


def _forked(work: Callable[[], None], folder: Path, *, log: Path) -> Ended:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _work(work, folder, log)
    _, status = os.waitpid(child, 0)
    return Ended(os.waitstatus_to_exitcode(status), log.read_text(errors="replace"))


def _work(work: Callable[[], None], folder: Path, log: Path) -> None:
    """The child: never returns."""
    status = 1
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        signal.alarm(SECONDS_A_RUN)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have turned it off
        noise = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(noise, 1)
        os.dup2(noise, 2)
        os.close(noise)
        work()
        status = 0
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2].split(","), sys.argv[3:])
