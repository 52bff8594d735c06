"""How many workers go through a list of rows, what they wait for, and how often they try again."""

from typing import Literal

from pydantic import Field

from megactor_core.config.base import Config


class EngineConfig(Config):
    """Where and how the stages of a job run. No field changes what a row's result is. (All values ours.)"""

    engine: Literal["local"] = "local"
    """Worker processes on this machine."""
    workers: int | None = Field(None, ge=0, le=1024)
    """Worker processes for stages that run on the CPU. 0: none, the work is done in this very process,
    without time limits. None: as many as the cores and the memory of this machine carry."""
    devices: tuple[str, ...] | None = None
    """Devices for stages that want a GPU, one worker each: cuda:0, cuda:1. None: every CUDA device there is.
    Where there is none, these stages run on the CPU with the others."""
    timeout_seconds: float | None = Field(None, gt=0)
    """Time limit of one row in one stage. None: the stage's own."""
    max_attempts: int = Field(2, ge=1, le=10)
    """Tries of a row that fails for an unknown reason; known reasons are not tried again."""
    retry_errors: bool = False
    """Try rows again that ended as errors in an earlier run."""
    batch_seconds: float = Field(2.0, gt=0)
    """About this much work is handed to a worker at once, and at most this much is lost when it dies."""
    recycle_after_tasks: int = Field(500, ge=0)
    """A worker is replaced after so many batches, against libraries that leak. 0: never."""
