"""Spoilt files given to every parser, and what became of them, as a table.

python tests/hostile/count.py            all of them: a minute
python tests/hostile/count.py 20         each twentieth
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
GROUPS = ("media", "files")
COLUMNS = ("refused", "accepted", "crash", "hang", "traceback", "changed")
"""Ends of an input. traceback: any error but this project's own; changed: files are not as they were."""
TIMEOUT_SECONDS = 1800

Line = dict[str, Any]


def run_trials(group: str, *, every: int, folder: Path) -> list[Line]:
    """The trials of a group of parsers, a dict an input: parser, number, verdict, what."""
    command = [sys.executable, "-B", str(HERE / "trials.py"), group, str(every), str(folder)]
    # A process that is to be forked must not have threads.
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        command,
        env=os.environ | one_thread,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the trials of {group} ended with {done.returncode}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def spoilt_only(lines: Sequence[Line]) -> list[Line]:
    """Without the good examples, which are tried first."""
    return [line for line in lines if line["number"] >= 0]


def survivors(lines: Sequence[Line]) -> list[Line]:
    """Those that a parser neither took nor refused as it should."""
    return [line for line in lines if line["verdict"] not in ("accepted", "refused")]


def table(lines: Sequence[Line]) -> str:
    """A row a parser and one of sums, in Markdown."""
    counts: dict[str, Counter[str]] = {}
    for line in spoilt_only(lines):
        counts.setdefault(line["parser"], Counter())[line["verdict"]] += 1
    total = sum(counts.values(), Counter())
    rows = [*sorted(counts.items()), ("**all**", total)]
    head = ["parser", "inputs", *COLUMNS]
    return "\n".join(
        [
            f"| {' | '.join(head)} |",
            f"|---|{'--:|' * (len(head) - 1)}",
            *(
                f"| {name} | {sum(found.values())} | {' | '.join(str(found[column]) for column in COLUMNS)} |"
                for name, found in rows
            ),
        ]
    )


def main() -> None:
    every = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    lines: list[Line] = []
    for group in GROUPS:
        with tempfile.TemporaryDirectory(prefix="megactor-hostile-") as folder:
            lines += run_trials(group, every=every, folder=Path(folder))
    sys.stdout.write(table(lines) + "\n")
    for line in survivors(lines):
        sys.stdout.write(json.dumps(line) + "\n")
    sys.exit(bool(survivors(lines)))


if __name__ == "__main__":
    main()
