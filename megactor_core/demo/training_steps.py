"""A short training run of the paper's first stage."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from megactor_core.config.train import TrainConfig
from megactor_core.demo.bricks import picture
from megactor_core.demo.command import Command
from megactor_core.demo.step import Shown, Step
from megactor_core.demo.workplace import IN_PROCESS, Workplace
from megactor_core.listener import Listener
from megactor_core.media.image import read_image
from megactor_core.pages.charts import Line, line_chart
from megactor_core.pages.page import Markup, paragraph, tag
from megactor_core.training.held_out_grid import FOLDER
from megactor_core.training.train import TrainReport, train
from megactor_core.training.watch import METRICS, StepMetrics, read_metrics

TARGETS: Final = 3
"""Frames of a reference: half of the recipe's."""
WARMUP_SHARE: Final = 0.1
SAVED_EVERY: Final = 25
"""Steps; a stopped demo goes on from the last one."""
SMOOTHED: Final = 10
"""Steps that a point of the chart's smooth line averages."""


def train_stage(workplace: Workplace) -> Step:
    """Stage 1 of the preset `tiny`, from the default checkpoint's autoencoder."""
    command = _stage_command(workplace)

    def work(listener: Listener) -> Shown:
        report = train(command.config(TrainConfig), on_progress=listener.progress, on_note=listener.note)
        return Shown(tuple(_of_run(report)))

    return Step("training", "A short training run", (command,), work)


def _stage_command(workplace: Workplace) -> Command:
    steps = workplace.scale.training_steps
    return Command(
        "train",
        recipe="tiny-stage1",
        options={
            "steps": steps,
            "data": workplace.samples,
            "init": workplace.model.folder,
            "output": workplace.training,
            "checkpoint_every": SAVED_EVERY,
            "resume": True,
            **IN_PROCESS,
        },
        overrides=(
            f"optimiser.warmup_steps={int(WARMUP_SHARE * steps)}",
            f"draw.frames_per_reference={TARGETS}",
            "validation_clips=1",
        ),
    )


def _of_run(stage: TrainReport) -> Iterator[Markup]:
    yield paragraph(
        f"Now a small model of random weights learns from the samples for {stage.step} steps. It sees a "
        "still picture of a person, and the driver's face, eyes and mouth. It learns to make the person do "
        "what the driver does. This is the first of three stages: sound comes in the second, smooth motion "
        "in the third."
    )
    yield paragraph(
        "A useful model takes thousands of steps. This run only shows how training goes; its checkpoint is "
        "not the one that animates below."
    )
    yield tag("div", {"class": "charts"}, _loss_chart(stage))
    sheet = _newest_sheet(stage.checkpoint.parent / FOLDER)
    if sheet is not None:
        yield paragraph(
            "After the last step it animates a person whom it has not seen. The target is what should come "
            "out, V is what does, driven by the video. The numbers are PSNR in dB: about 30 is close."
        )
        yield picture(read_image(sheet), shows="A held-out clip animated by the short run.")


def _loss_chart(report: TrainReport) -> Markup:
    lines = read_metrics(report.checkpoint.parent / METRICS, StepMetrics)
    steps = np.array([line.step for line in lines])
    loss = np.array([line.loss for line in lines])
    width = max(1, min(SMOOTHED, len(loss) // 2))
    smooth = np.convolve(loss, np.full(width, 1 / width), mode="valid")
    return line_chart(
        f"loss of stage {report.stage}",
        [
            Line("each step", "faint", steps, loss),
            Line(f"mean of {width} steps", "made", steps[width - 1 :], smooth),
        ],
        x_label="step",
    )


def _newest_sheet(folder: Path) -> Path | None:
    return max(folder.glob("step-*.png"), default=None)
