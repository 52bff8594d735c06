"""Give spoilt files to parsers, in child processes with limits on memory, time and processor time.

    python tests/hostile/trials.py GROUP EVERY FOLDER

GROUP is media or files, EVERY 20 takes each twentieth input of each parser. Prints a line of JSON for every
input. A child that dies, whatever of, costs the input that it died of, and the next child goes on behind it.
"""

import importlib
import json
import os
import resource
import shutil
import signal
import sys
import traceback
import unicodedata
import warnings
import zlib
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from mutations import mutate
from parsers import Parser

from megactor_cli.app import LIBRARY_SETTINGS
from megactor_core.errors import MegActorError

SEED = 20_261
SECONDS_AN_INPUT = 60
"""Far more than any takes: a hang is a file that is never done with, not a slow machine."""
CPU_SECONDS_A_CHILD = 400
INPUTS_A_CHILD = 200
MEMORY_BYTES = 2 * 2**30
"""That a child may take beyond what it has when it begins."""

Case = tuple[Parser, int]


def main(group: str, every: int, folder: Path) -> None:
    os.environ.update(LIBRARY_SETTINGS)
    known: Sequence[Parser] = importlib.import_module(f"{group}_parsers").PARSERS
    parsers = [parser for parser in known if every == 1 or not parser.is_slow]
    _in_child(lambda: _make_examples(parsers, folder))
    cases = [
        (parser, number)
        for parser in parsers
        for number in (*_unspoilt(parser, folder), *range(0, parser.inputs, every))
    ]
    done = 0
    while done < len(cases):
        for line in _child_lines(cases[done : done + INPUTS_A_CHILD], folder):
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
            done += 1


def _unspoilt(parser: Parser, folder: Path) -> range:
    """Numbers below 0 are the good examples themselves, which must be accepted."""
    return range(-len(parser.examples(_examples(parser, folder))), 0)


def spoilt(parser: Parser, number: int, examples: Path) -> tuple[Path, bytes]:
    """The example that this input is made of, and the input."""
    paths = parser.examples(examples)
    if number < 0:
        return paths[number], paths[number].read_bytes()
    rng = np.random.default_rng([SEED, zlib.crc32(parser.name.encode()), number])
    chosen = paths[rng.integers(len(paths))]
    others = [path.read_bytes() for path in paths]
    return chosen, mutate(chosen.name, chosen.read_bytes(), others, rng)


def _make_examples(parsers: Sequence[Parser], folder: Path) -> None:
    for parser in parsers:
        examples = _examples(parser, folder)
        examples.mkdir(parents=True)
        parser.make(examples)


def _examples(parser: Parser, folder: Path) -> Path:
    return folder / "examples" / parser.name.replace(" ", "-")


def _child_lines(cases: Sequence[Case], folder: Path) -> Iterator[dict[str, Any]]:
    """What a child says of its inputs, and where it dies what it died of, for the input that it was at."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _work(cases, folder, writer)
    os.close(writer)
    said = 0
    with os.fdopen(reader, encoding="utf-8") as lines:
        for line in lines:
            said += 1
            yield json.loads(line)
    _, status = os.waitpid(child, 0)
    if said < len(cases):
        parser, number = cases[said]
        yield {"parser": parser.name, "number": number, **_death(status)}


def _death(status: int) -> dict[str, str]:
    if not os.WIFSIGNALED(status):
        return {"verdict": "crash", "what": f"the child ended with {os.waitstatus_to_exitcode(status)}"}
    number = os.WTERMSIG(status)
    is_hang = number in (signal.SIGALRM, signal.SIGXCPU)
    return {"verdict": "hang" if is_hang else "crash", "what": signal.Signals(number).name}


def _work(cases: Sequence[Case], folder: Path, writer: int) -> None:
    """The child: never returns."""
    status = 1
    try:
        _limit_myself()
        noise = os.open(folder / "noise.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(noise, 1)
        os.dup2(noise, 2)
        warnings.simplefilter("error")
        for parser, number in cases:
            signal.setitimer(signal.ITIMER_REAL, SECONDS_AN_INPUT)  # its default action ends the process
            line = {"parser": parser.name, "number": number, **_try(parser, number, folder)}
            os.write(writer, (json.dumps(line) + "\n").encode())
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _limit_myself() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS_A_CHILD, CPU_SECONDS_A_CHILD + 10))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _try(parser: Parser, number: int, folder: Path) -> dict[str, str]:
    examples, case = _examples(parser, folder), folder / "case"
    shutil.rmtree(case, ignore_errors=True)
    chosen, content = spoilt(parser, number, examples)
    place = case / "input"
    if parser.is_folder:
        shutil.copytree(examples, place)
    else:
        place.mkdir(parents=True)
    path = place / chosen.relative_to(examples)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    parser.mend(place)
    before = _files(case)
    verdict, what = _verdict(parser, path)
    if number < 0 and verdict in ("accepted", "refused") and parser.never_accepts != (verdict == "refused"):
        verdict = "wrong"
    after = _files(case)
    if parser.sets_aside:
        before, after = (dict.fromkeys(sorted(files.values())) for files in (before, after))
    if after != before and verdict in ("accepted", "refused"):
        changed = sorted(set(before.items()) ^ set(after.items()))
        return {"verdict": "changed", "what": f"{changed[:3]}"}
    return {"verdict": verdict, "what": what, "input": chosen.name, "sha256": sha256(content).hexdigest()}


def _verdict(parser: Parser, path: Path) -> tuple[str, str]:
    try:
        parser.read(path)
    except MegActorError as error:
        text = str(error)
        is_tidy = text and not any(
            unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text
        )
        return ("refused", text) if is_tidy else ("traceback", f"untidy message: {text!r}")
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [
            f"{Path(frame.filename).name}:{frame.lineno}"
            for frame in frames
            if "megactor_core" in frame.filename
        ]
        return "traceback", f"{type(error).__name__}: {str(error)[:200]} ({' < '.join(reversed(ours))})"
    return "accepted", ""


def _files(folder: Path) -> dict[str, str]:
    """The hash of every file below the folder, by name."""
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _in_child(work: Any) -> None:
    """Libraries start threads as they write examples: that must not be where children are forked from."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.environ["SVT_LOG"] = "0"
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1]:
        sys.exit("The examples could not be made.")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
