"""Parsers with every fault that the trials are to find, and one without."""

import os
import signal
import sys
import time
from pathlib import Path

from parsers import Parser

from megactor_core.errors import MediaError


def make(folder: Path) -> None:
    (folder / "some.txt").write_text("one\ntwo\nthree\n" * 20)


def _is_good(path: Path) -> bool:
    return path.read_bytes() == b"one\ntwo\nthree\n" * 20


def sound(path: Path) -> None:
    if not _is_good(path):
        raise MediaError("It is damaged.")


def leaking(path: Path) -> None:
    if not _is_good(path):
        raise ValueError("nobody foresaw this")


def crashing(path: Path) -> None:
    if not _is_good(path):
        os.kill(os.getpid(), signal.SIGSEGV)


def hanging(path: Path) -> None:
    if not _is_good(path):
        signal.setitimer(signal.ITIMER_REAL, 0.05)  # in the place of the trial's own, far longer limit
        time.sleep(60)


def greedy(path: Path) -> None:
    if not _is_good(path):
        bytearray(8 * 2**30)


def destructive(path: Path) -> None:
    if not _is_good(path):
        path.write_bytes(b"")


def littering(path: Path) -> None:
    if not _is_good(path):
        (path.parent / "left.tmp").touch()


def steering(path: Path) -> None:
    if not _is_good(path):
        error = MediaError("")
        error.args = ("\x1b]0;owned\x07",)
        raise error


def picky(_path: Path) -> None:
    raise MediaError("It refuses good files too.")


PARSERS = tuple(
    Parser(read.__name__, 2, make, read)
    for read in (sound, leaking, crashing, hanging, greedy, destructive, littering, steering, picky)
)
assert "torch" not in sys.modules
