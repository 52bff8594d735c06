"""The process that decodes for another one: `python -m megactor_core.media.decoder`.

Requests come on standard input, a line of JSON each; answers go to standard output, a line of JSON each and
the bytes that it announces. Nothing that goes back is ever run.
"""

import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np

from megactor_core.config.media import MediaLimits
from megactor_core.errors import MediaError
from megactor_core.media.audio import read_sound
from megactor_core.media.image import read_image
from megactor_core.media.video import probe_video, read_video
from megactor_core.processes import end_when_stuck, let_alarms_end_this_process, limit_memory

Answer = tuple[dict[str, Any], np.ndarray | None]
"""What is said, and the array that follows it."""


def main() -> None:
    """Answer requests until there are no more, or nobody listens."""
    limit_memory()
    let_alarms_end_this_process()
    nowhere = os.open(os.devnull, os.O_WRONLY)  # and standard error, where that was closed
    pipe = os.dup(1)
    os.dup2(nowhere, 1)  # what libraries print is no answer
    with suppress(BrokenPipeError), os.fdopen(pipe, "wb") as answers:
        for line in sys.stdin.buffer:
            _answer(json.loads(line), answers)


def _answer(request: dict[str, Any], answers: IO[bytes]) -> None:
    seconds = request["seconds"]
    end_when_stuck(seconds)
    for said, array in _answers(request):
        end_when_stuck(0)  # whoever listens may take any time
        answers.write(json.dumps(said).encode() + b"\n")
        if array is not None:
            answers.write(np.ascontiguousarray(array).data.cast("B"))
        answers.flush()
        end_when_stuck(seconds)
    end_when_stuck(0)


def _answers(request: dict[str, Any]) -> Iterator[Answer]:
    """One or, of a video, a frame each; the last one has `end` or what went wrong."""
    path, limits = Path(request["path"]), MediaLimits.model_validate(request["limits"])
    try:
        if request["folder"] is not None:
            os.chdir(request["folder"])
        match request["read"]:
            case "image":
                yield _array(read_image(path, limits=limits), end=True)
            case "probe":
                yield _info(path, limits), None
            case "sound":
                yield _sound(path, limits, request["begin_seconds"], request["length_seconds"])
            case "video":
                yield from _frames(path, limits, request)
    except MediaError as error:
        yield {"error": "media", "message": error.message, "fix": error.fix}, None
    except MemoryError:
        yield {"error": "memory"}, None
    except Exception as error:
        where = traceback.format_exc()
        yield {"error": "bug", "message": f"{type(error).__name__}: {error}", "traceback": where}, None


def _info(path: Path, limits: MediaLimits) -> dict[str, Any]:
    info = probe_video(path, limits=limits)
    facts = {name: getattr(info, name) for name in info.__slots__ if name not in ("path", "video_fps")}
    return {**facts, "video_fps": str(info.video_fps), "end": True}


def _sound(path: Path, limits: MediaLimits, begin_seconds: float, length_seconds: float | None) -> Answer:
    sound = read_sound(path, start_seconds=begin_seconds, seconds=length_seconds, limits=limits)
    return _array(sound.samples, audio_hz=sound.audio_hz, end=True)


def _frames(path: Path, limits: MediaLimits, request: dict[str, Any]) -> Iterator[Answer]:
    video_fps = None if request["video_fps"] is None else Fraction(request["video_fps"])
    for frame in read_video(
        path,
        video_fps=video_fps,
        start_seconds=request["begin_seconds"],
        seconds=request["length_seconds"],
        limits=limits,
    ):
        yield _array(frame)
    yield {"end": True}, None


def _array(array: np.ndarray, **facts: Any) -> Answer:
    return {"shape": array.shape, "type": array.dtype.name, **facts}, array


if __name__ == "__main__":
    main()
