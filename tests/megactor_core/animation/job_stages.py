"""Stages with faults for the tests of many jobs, in a module of their own that worker processes can import.

What a job does is in the name of its output.
"""

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

from megactor_core.animation import animate
from megactor_core.animation.jobs import AnimateJob
from megactor_core.engine.stage import Row, WorkerContext


class FaultyJob(AnimateJob):
    """A job kills its worker: `poison` each time, `middle` and `end` once, before or after its video."""

    def setup(self, worker: WorkerContext) -> None:
        super().setup(worker)
        animate.write_output = killing_once("middle", animate.write_output)
        animate.describe = killing_once("end", animate.describe)

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        if "poison" in batch[0]["row_id"]:
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().rows(batch)


def killing_once(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """`real`, but the process dies where a job of this name comes there for the first time."""

    def do(job: Any, *args: Any, **options: Any) -> Any:
        came_here = job.outputs.video.with_suffix(".killed")
        if job.outputs.video.stem == name and not came_here.exists():
            came_here.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return real(job, *args, **options)

    return do
