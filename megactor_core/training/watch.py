"""What a run says of itself while it trains: metrics.jsonl, validation.jsonl and loss.png."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from pydantic import TypeAdapter

from megactor_core.files import atomic_path

METRICS, VALIDATION, LOSS_PLOT = "metrics.jsonl", "validation.jsonl", "loss.png"
SMOOTHING_STEPS = 50
"""Steps that one point of the plot's smooth curve averages; ours."""


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One line of metrics.jsonl: means over the step's samples, and samples per second of wall time.

    `loss` is what was minimised; `mse` and `vb` are its parts before any weight of the time step.
    """

    step: int
    loss: float
    mse: float
    vb: float
    samples_per_second: float
    learning_rate: float
    gradient_norm: float
    """Before clipping."""
    samples_per_cpu_second: float | None = None
    """Over the processor time of one training process and its share of the samples; readers ahead are not
    in it. None: a line of an earlier version."""
    flops_per_second: float | None = None
    """Counted work of all processes over wall time."""
    peak_share: float | None = None
    """Of what the devices reach in large matrix products."""


@dataclass(frozen=True, slots=True)
class ValidationMetrics:
    """One line of validation.jsonl: the moving average's mean losses on held-out samples, always the same."""

    step: int
    loss: float
    mse: float
    vb: float
    psnr_db: dict[str, float] | None = None
    """Of the animated clips, by what drives them: A, V, A+V. None: none were animated."""


Line = TypeVar("Line", StepMetrics, ValidationMetrics)


class MetricsFile(Generic[Line]):
    """Lines of one kind; opened with the steps done, it drops those of steps to be done again."""

    def __init__(self, path: Path, kind: type[Line], *, steps_done: int) -> None:
        self._path = path
        kept = [line for line in read_metrics(path, kind) if line.step <= steps_done]
        with atomic_path(path) as temporary:
            temporary.write_text("".join(map(_as_text, kept)), encoding="utf-8")

    def add(self, line: Line) -> None:
        # Opened anew for each line: it costs nothing beside a step, and however the run ends, it is closed.
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_as_text(line))


def read_metrics(path: Path, kind: type[Line]) -> list[Line]:
    """The lines of a file up to the first that is not whole, as a killed run may leave one."""
    lines: list[Line] = []
    known = TypeAdapter(kind)
    try:
        for text in path.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            kind(**line)  # refuses unknown names, which the check of types passes over
            lines.append(known.validate_python(line))
    except (OSError, ValueError, TypeError, RecursionError):
        return lines
    return lines


def plot_loss(metrics: Sequence[StepMetrics], held_out: Sequence[ValidationMetrics], path: Path) -> None:
    """Draw the loss over the steps, its mean over neighbours and the held-out loss, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    steps = np.array([line.step for line in metrics])
    loss = np.array([line.loss for line in metrics])
    figure = Figure(figsize=(8, 4.5), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.09, 0.12, 0.88, 0.84))
    axes.plot(steps, loss, color="#9db8d6", linewidth=0.8, label="step")
    width = max(1, min(SMOOTHING_STEPS, len(loss) // 4))
    axes.plot(steps, _smoothed(loss, width), color="#1f4e8c", linewidth=1.8, label=f"mean of {width} steps")
    if held_out:
        axes.plot(
            [line.step for line in held_out],
            [line.loss for line in held_out],
            color="#c2571a",
            linewidth=1.4,
            marker="o",
            markersize=4,
            label="held out",
        )
    if (loss > 0).all():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}" if loss.max() < 10 * loss.min() else NullFormatter())
    axes.set(xlabel="step", ylabel="loss", xlim=(0, max(1, int(steps[-1]))))
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    with atomic_path(path) as temporary:
        canvas.print_png(temporary)


def _smoothed(values: np.ndarray, width: int) -> np.ndarray:
    """Mean of the `width` values up to each one; of fewer at the beginning."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    stop = np.arange(1, len(values) + 1)
    start = np.maximum(0, stop - width)
    return (sums[stop] - sums[start]) / (stop - start)


def _as_text(line: StepMetrics | ValidationMetrics) -> str:
    return json.dumps(asdict(line)) + "\n"
