"""The metrics file and its picture."""

import numpy as np

from megactor_core.media.image import read_image
from megactor_core.training.watch import (
    MetricsFile,
    StepMetrics,
    ValidationMetrics,
    plot_loss,
    read_metrics,
)


def line(step: int, loss: float = 1.0) -> StepMetrics:
    return StepMetrics(step, loss, loss, 0.0, 10.0, 1e-3, 1.0)


def test_lines_come_back_as_they_were(tmp_path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl", StepMetrics, steps_done=0)
    lines = [line(step, loss=1 / 3 / step) for step in (1, 2, 3)]
    for metrics in lines:
        file.add(metrics)
    assert read_metrics(tmp_path / "metrics.jsonl", StepMetrics) == lines


def test_steps_to_be_done_again_and_a_line_cut_short_are_dropped(tmp_path) -> None:
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path, StepMetrics, steps_done=0)
    for step in (1, 2, 3):
        file.add(line(step))
    with path.open("a") as half:
        half.write('{"step": 4, "lo')
    again = MetricsFile(path, StepMetrics, steps_done=2)
    again.add(line(3, loss=5.0))
    assert [(metrics.step, metrics.loss) for metrics in read_metrics(path, StepMetrics)] == [
        (1, 1.0),
        (2, 1.0),
        (3, 5.0),
    ]


def test_the_plot_is_a_picture_of_the_loss(tmp_path) -> None:
    for name, losses in (("falling", [8, 4, 2, 1]), ("with zero", [1, 0.5, 0]), ("one", [1])):
        plot_loss([line(step, loss) for step, loss in enumerate(losses, 1)], [], tmp_path / f"{name}.png")
        picture = np.asarray(read_image(tmp_path / f"{name}.png"))
        assert picture.shape[:2] == (450, 800)
        assert picture.std() > 5


def test_the_held_out_loss_is_drawn_beside_it(tmp_path) -> None:
    lines = [line(step, 1 / step) for step in range(1, 9)]
    plot_loss(lines, [], tmp_path / "without.png")
    plot_loss(lines, [ValidationMetrics(step, 0.8, 0.8, 0.0) for step in (0, 4, 8)], tmp_path / "with.png")
    without, with_it = (np.asarray(read_image(tmp_path / f"{name}.png")) for name in ("without", "with"))
    orange = (with_it[..., 0] > 150) & (with_it[..., 2] < 80)
    assert orange.sum() > 500
    assert not ((without[..., 0] > 150) & (without[..., 2] < 80)).any()
