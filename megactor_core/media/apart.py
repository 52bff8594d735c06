"""Media read in a process of its own, by the same names as in the modules that read it in this one.

A decoder that crashes, hangs or wants more memory than there is ends its own process: here that is an error,
MediaError or, where the next try may do better, OutOfMemory. Decoding runs beside the caller's work. The
process is started with the first request, or ahead, and kept for the next one.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np

from megactor_core.config.media import DEFAULT_LIMITS, MediaLimits
from megactor_core.errors import MediaError, MegActorError, OutOfMemory
from megactor_core.media.audio import Sound
from megactor_core.media.video import VideoInfo
from megactor_core.processes import signals_held
from megactor_core.signals import undisturbed

LEAST_SECONDS: Final = 60.0
SECONDS_PER_BYTE: Final = 1e-7
"""How long a piece, a picture or packet say, may take: a minute, and one more for each 600 MB of the
file, all of which may lie before it (ours)."""

_LONGEST_LINE_BYTES: Final = 1 << 20
_FAREWELL_SECONDS: Final = 5.0
"""How long a process whose pipes are closed may take to end."""
_ENCODE_AGAIN: Final = "Encode it again, with another tool if need be."

_idle: list["_Decoder"] = []


def start_ahead() -> None:
    """Start the process now, for a request that will come: it takes about half a second."""
    _idle.append(_free_decoder())


def read_image(path: Path, *, limits: MediaLimits = DEFAULT_LIMITS) -> np.ndarray:
    """As `image.read_image`."""
    return next(array for _, array in _ask(path, limits, read="image") if array is not None)


def probe_video(path: Path, *, limits: MediaLimits = DEFAULT_LIMITS) -> VideoInfo:
    """As `video.probe_video`."""
    facts, _ = next(_ask(path, limits, read="probe"))
    del facts["end"]
    return VideoInfo(path=path, video_fps=Fraction(facts.pop("video_fps")), **facts)


def read_sound(
    path: Path,
    *,
    start_seconds: float = 0.0,
    seconds: float | None = None,
    limits: MediaLimits = DEFAULT_LIMITS,
) -> Sound:
    """As `audio.read_sound`."""
    answers = _ask(path, limits, read="sound", begin_seconds=start_seconds, length_seconds=seconds)
    facts, samples = next(answers)
    assert samples is not None
    return Sound(samples, facts["audio_hz"])


def read_video(
    path: Path,
    *,
    video_fps: Fraction | None = None,
    start_seconds: float = 0.0,
    seconds: float | None = None,
    limits: MediaLimits = DEFAULT_LIMITS,
) -> Generator[np.ndarray, None, None]:
    """As `video.read_video`; to be closed where it is not read to its end: its process waits until then."""
    answers = _ask(
        path,
        limits,
        read="video",
        video_fps=None if video_fps is None else str(video_fps),
        begin_seconds=start_seconds,
        length_seconds=seconds,
    )
    with closing(answers):
        yield from (frame for _, frame in answers if frame is not None)


def _ask(
    path: Path, limits: MediaLimits, **request: Any
) -> Generator[tuple[dict[str, Any], np.ndarray | None], None, None]:
    """The answers to a request with the arrays that came with them; the process is free with the last one."""
    seconds = _seconds_for(path)
    request |= {
        "path": os.fspath(path),
        "folder": None if path.is_absolute() else os.getcwd(),
        "limits": limits.model_dump(mode="json"),
        "seconds": seconds,
    }
    decoder: _Decoder | None = _free_decoder()
    assert decoder is not None
    try:
        decoder.send(request)
        while decoder is not None:
            facts, array = decoder.receive()
            if "end" in facts or "error" in facts:
                _idle.append(decoder)
                decoder = None
            if "error" in facts:
                _raise(path, facts)
            yield facts, array
    except _Died as died:
        raise _as_known(path, died.code, seconds) from None
    finally:
        if decoder is not None:  # in the midst of something
            decoder.kill()


def _free_decoder() -> "_Decoder":
    with suppress(IndexError):
        while True:
            decoder = _idle.pop()
            if decoder.is_usable():
                return decoder
            decoder.kill()
    return _Decoder()


def _seconds_for(path: Path) -> float:
    try:
        return LEAST_SECONDS + SECONDS_PER_BYTE * path.stat().st_size
    except (OSError, ValueError):  # the answer will say so
        return LEAST_SECONDS


def _raise(path: Path, facts: dict[str, Any]) -> NoReturn:
    match facts["error"]:
        case "media":
            raise MediaError(facts["message"], fix=facts["fix"])
        case "memory":
            raise OutOfMemory(f"Reading '{path}' takes more memory than there is.", fix="Give a smaller one.")
        case _:
            error = RuntimeError(f"reading '{path}': {facts['message']}")
            error.add_note(facts["traceback"])
            raise error


def _as_known(path: Path, code: int, seconds: float) -> MegActorError:
    if code == -signal.SIGALRM:
        return MediaError(f"Reading '{path}' got nowhere for {seconds:.0f} s.", fix=_ENCODE_AGAIN)
    if code == -signal.SIGKILL:
        return OutOfMemory(f"What read '{path}' was killed; memory may have run out.", fix="Free some of it.")
    if code < 0:
        how = signal.Signals(-code).name
        return MediaError(f"The decoder crashed on '{path}' ({how}).", fix=_ENCODE_AGAIN)
    return MegActorError(
        f"The process that reads '{path}' could not start (exit code {code}).", fix="Install megactor again."
    )


class _Died(Exception):
    """The process is no more; `code` as in `subprocess.Popen.returncode`."""

    def __init__(self, code: int) -> None:
        self.code = code


class _Decoder:
    """A process that runs `decoder.main`; it ends when this one does, however that comes: its pipes close."""

    def __init__(self) -> None:
        # -P: a folder that somebody works in may hold a file named like a module.
        command = [sys.executable, "-P", "-m", "megactor_core.media.decoder"]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(os.path.isabs, sys.path)),
            "PYDANTIC_DISABLE_PLUGINS": "1",
        }
        with signals_held({signal.SIGINT, signal.SIGTERM}):
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._owner = os.getpid()

    def is_usable(self) -> bool:
        """Whether it waits for this very process, and not for one that this is a fork of."""
        return self._owner == os.getpid() and self._process.poll() is None

    def send(self, request: dict[str, Any]) -> None:
        """Raises `_Died`."""
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()
        except BrokenPipeError:
            raise _Died(self._ended()) from None

    def receive(self) -> tuple[dict[str, Any], np.ndarray | None]:
        """Raises `_Died`."""
        line = self._answers.readline(_LONGEST_LINE_BYTES)
        if not line.endswith(b"\n"):
            raise _Died(self._ended())
        facts = json.loads(line)
        if "shape" not in facts:
            return facts, None
        array = np.empty(facts.pop("shape"), {"uint8": np.uint8, "float32": np.float32}[facts.pop("type")])
        if self._answers.readinto(array.data.cast("B")) < array.nbytes:  # type: ignore[attr-defined]
            raise _Died(self._ended())
        return facts, array

    def kill(self) -> None:
        """End it whatever it is doing, unless it is another one's."""
        if self._owner == os.getpid():
            undisturbed(self._kill)

    def _kill(self) -> None:
        self._process.kill()
        with suppress(OSError):
            self._requests.close()
        self._answers.close()
        self._process.wait()

    def _ended(self) -> int:
        try:
            return self._process.wait(_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


@atexit.register
def _kill_all() -> None:
    while _idle:
        _idle.pop().kill()
