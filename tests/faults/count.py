"""Disks that fail under every command that writes, and what became of its files, as a table.

python tests/faults/count.py            eight calls of each command with each fault
python tests/faults/count.py 0          every call with every fault: 15 hours of a core
python tests/faults/count.py 0 killed   every call with that fault alone
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

HERE = Path(__file__).resolve().parent
DISK_BYTES = 7 * 8 + 1024 + (1 << 22)
"""Of the file that failing_disk.c maps."""
AT_CALLS = ("killed", "full", "broken", "read-only", "terminated", "interrupted")
KINDS = (*AT_CALLS, "second run")
LOSSES = ("lost", "torn", "rerun")
COMMANDS = (
    *("synth", "curate", "curate --decide", "preprocess", "train, autoencoder", "train, stage 1"),
    *("animate", "animate, first key", "animate, over an earlier video", "animate --jobs", "evaluate"),
    *("weights init", "weights convert", "weights pull --from", "recipes copy"),
)
DEFAULT_MOST = 8

Line = dict[str, Any]


def missing() -> str:
    """What this machine lacks for the trials; empty where nothing."""
    if not sys.platform.startswith("linux"):
        return "calls are caught by the loader of Linux"
    return "" if shutil.which("cc") else "there is no C compiler"


def run_trials(plan: Mapping[str, int], folder: Path, kinds: Sequence[str] = AT_CALLS) -> Iterator[Line]:
    """The trials of commands, each at most so many calls (0: all), in a folder: a dict each, as it ends."""
    library, disk = folder / "failing_disk.so", folder / "disk"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / "failing_disk.c"), "-ldl"],
        check=True,
    )
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    words = [word for name, most in plan.items() for word in (name, str(most))]
    command = [
        sys.executable,
        "-B",
        str(HERE / "fault_trials.py"),
        str(folder / "trials"),
        ",".join(kinds),
        *words,
    ]
    # A process that is to be forked must not have threads.
    settings = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    settings |= {"LD_PRELOAD": str(library), "FAILING_DISK": str(disk)}
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            command, env=os.environ | settings, stdout=subprocess.PIPE, stderr=said, text=True
        ) as process,
    ):
        assert process.stdout is not None
        yield from map(json.loads, process.stdout)
        if process.wait():
            said.seek(0)
            raise RuntimeError(f"the trials ended with {process.returncode}: {said.read()[-2000:]}")


def wrong(lines: Sequence[Line]) -> list[Line]:
    """Runs after which something was not as it must be, healthy ones too."""
    return [line for line in lines if line["wrong"] or line.get("unflushed")]


def table(lines: Sequence[Line]) -> str:
    """A row a command and one of sums, in Markdown."""
    head = ["command", "calls", *KINDS, "survived", "losses", "tracebacks", "changed sources"]
    rows: dict[str, Counter[str]] = {}
    for line in lines:
        _add(rows.setdefault(line["command"], Counter()), line)
    rows["**all**"] = sum(rows.values(), Counter())
    return "\n".join(
        [
            f"| {' | '.join(head)} |",
            f"|---|{'--:|' * (len(head) - 1)}",
            *(
                f"| {name} | {' | '.join(str(found[column]) for column in head[1:])} |"
                for name, found in rows.items()
            ),
        ]
    )


def _add(row: Counter[str], line: Line) -> None:
    if line["kind"] == "healthy":
        row["calls"] += line["calls"]
        return
    row[line["kind"]] += 1
    sorts = {text.partition(":")[0] for text in line["wrong"]}
    row["survived"] += not sorts
    row["losses"] += bool(sorts & set(LOSSES))
    row["tracebacks"] += "traceback" in sorts
    row["changed sources"] += "lost" in sorts


def main() -> None:
    most = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_MOST
    kinds = sys.argv[2:] or AT_CALLS
    if unknown := set(kinds) - set(AT_CALLS):
        sys.exit(f"there is no fault '{unknown.pop()}', only {', '.join(AT_CALLS)}")
    if missing():
        sys.exit(missing())
    with tempfile.TemporaryDirectory(prefix="megactor-faults-") as folder:
        trials = run_trials(dict.fromkeys(COMMANDS, most), Path(folder), kinds)
        lines = list(tqdm(trials, unit=" trials"))
    sys.stdout.write(table(lines) + "\n")
    for line in wrong(lines):
        sys.stdout.write(json.dumps(line) + "\n")
    sys.exit(bool(wrong(lines)))


if __name__ == "__main__":
    main()
