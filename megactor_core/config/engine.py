"""How many workers go through a list of rows, what they wait for, and how often they try again."""

from typing import Literal, Self

from pydantic import Field, model_validator

from megactor_core.config.base import Config


class EngineConfig(Config):
    """Where and how the stages of a job run. No field changes what a row's result is. (All values ours.)"""

    engine: Literal["local", "ray"] = "local"
    """`local`: worker processes on this machine. `ray`: workers on a Ray cluster (pip install megactor[ray])
    whose machines all see the sources, the weights and the output at the same paths."""
    workers: int | None = Field(None, ge=0, le=10_000)
    """Worker processes for stages that run on the CPU. 0: none, the work is done in this very process,
    without time limits. None: as many as the cores and the memory of the machine or the cluster carry."""
    ray_address: str | None = None
    """Cluster to work on: `auto` finds the one that this machine is part of, HOST:6379 or ray://HOST:10001
    names one. None: Ray on this machine alone, started for the run."""
    ray_gpus: float = Field(1.0, gt=0, le=8)
    """Share of a GPU that a worker for stages that want one takes on a cluster: 0.25 puts four on each."""
    ray_batch_rows: int = Field(16, ge=1, le=10_000)
    """Rows that a worker on a cluster gets at once; what its machine had in hand is done again where it is
    lost."""
    ray_wave_rows: int = Field(20_000, ge=1)
    """Rows that Ray is given at once: its own records grow with them."""
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

    @model_validator(mode="after")
    def _require_one_engine(self) -> Self:
        if self.engine == "ray" and self.workers == 0:
            raise ValueError("workers is 0, but the engine `ray` works in workers alone; give 1 or more")
        if self.engine != "ray" and self.ray_address is not None:
            raise ValueError(
                f"ray_address is '{self.ray_address}', but the engine is `{self.engine}`; give engine=ray too"
            )
        return self
