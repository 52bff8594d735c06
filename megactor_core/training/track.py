"""The metrics for TensorBoard, where that is asked for."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from megactor_core.config.train import TrainConfig
from megactor_core.errors import ConfigError
from megactor_core.training.watch import StepMetrics, ValidationMetrics

FOLDER = "tensorboard"


class Tracker(Protocol):
    """Takes metrics as they come."""

    def add(self, group: str, metrics: StepMetrics | ValidationMetrics) -> None:
        """Take one line's numbers."""

    def close(self) -> None:
        """Write what is still in memory."""


def require_tracker(config: TrainConfig) -> None:
    """Raises ConfigError where what is asked for is not installed."""
    if config.track == "tensorboard" and find_spec("tensorboard") is None:
        raise ConfigError(
            "track = tensorboard, but the package tensorboard is not installed.",
            fix="Install it with pip install 'megactor[track]', or leave --track out: metrics.jsonl and "
            "loss.png are always written.",
        )


def open_tracker(kind: str, run: Path, *, steps_done: int) -> Tracker:
    """The tracker of a run; what an earlier process wrote of later steps is hidden."""
    return _TensorBoard(run / FOLDER, steps_done=steps_done) if kind == "tensorboard" else _Nothing()


class _TensorBoard:
    """A curve for each number."""

    def __init__(self, folder: Path, *, steps_done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder), purge_step=steps_done + 1)

    def add(self, group: str, metrics: StepMetrics | ValidationMetrics) -> None:
        for name, value in _numbers(metrics).items():
            self._writer.add_scalar(f"{group}/{name}", value, global_step=metrics.step)

    def close(self) -> None:
        self._writer.close()


class _Nothing:
    """No tracker."""

    def add(self, group: str, metrics: StepMetrics | ValidationMetrics) -> None:
        """Nobody listens."""

    def close(self) -> None:
        """Nothing is open."""


def _numbers(metrics: StepMetrics | ValidationMetrics) -> dict[str, float]:
    """Everything but the step, by name; psnr_db by mode."""
    known = {name: getattr(metrics, name) for name in type(metrics).__slots__ if name != "step"}
    likeness = known.pop("psnr_db", None) or {}
    known |= {f"psnr_db_{mode}": value for mode, value in likeness.items()}
    return {name: float(value) for name, value in known.items() if value is not None}
