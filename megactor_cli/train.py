"""megactor train: one stage of training."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from megactor_cli.console import Console
from megactor_cli.options import (
    Json,
    Overrides,
    Quiet,
    Recipe,
    Text,
    config_flag,
    config_option,
    fields_given,
)
from megactor_core.config.recipes import build_config, config_layers
from megactor_core.config.train import TrainConfig
from megactor_core.errors import ConfigError, UsageError

_WHAT, _TRAINING, _OUT = "What to train", "Training", "Output"


def _of(field: str, panel: str, metavar: str) -> Any:
    return config_option(TrainConfig, field, panel=panel, metavar=metavar)


def train(
    stage: Annotated[Text, _of("stage", _WHAT, "1|2|3")] = None,
    preset: Annotated[Text, _of("preset", _WHAT, "NAME")] = None,
    data: Annotated[Path | None, _of("data", _WHAT, "DIR")] = None,
    init: Annotated[Path | None, _of("init", _WHAT, "DIR")] = None,
    steps: Annotated[Text, _of("steps", _TRAINING, "N")] = None,
    batch_size: Annotated[Text, _of("batch_size", _TRAINING, "N")] = None,
    accumulate: Annotated[Text, _of("accumulate", _TRAINING, "N")] = None,
    learning_rate: Annotated[Text, _of("learning_rate", _TRAINING, "F")] = None,
    seed: Annotated[Text, _of("seed", _TRAINING, "N")] = None,
    precision: Annotated[Text, _of("precision", _TRAINING, "TYPE")] = None,
    deterministic: Annotated[bool | None, config_flag(TrainConfig, "deterministic", panel=_TRAINING)] = None,
    device: Annotated[Text, _of("device", _TRAINING, "NAME")] = None,
    workers: Annotated[Text, _of("workers", _TRAINING, "N")] = None,
    checkpoint_every: Annotated[Text, _of("checkpoint_every", _OUT, "N")] = None,
    track: Annotated[Text, _of("track", _OUT, "NAME")] = None,
    output: Annotated[Path | None, _of("output", _OUT, "DIR")] = None,
    resume: Annotated[bool | None, config_flag(TrainConfig, "resume", panel=_OUT)] = None,
    recipe: Recipe = None,
    overrides: Overrides = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a stage of the model on preprocessed clips.

    On several GPUs or machines: accelerate launch -m megactor_cli train --stage 2

    Example: megactor train --recipe tiny-stage1 --data data/processed
    """
    options = fields_given(TrainConfig, locals())
    layers = config_layers(command="train", recipe=recipe, overrides=overrides or (), options=options)
    config = build_config(TrainConfig, layers)
    if config.stage is None:
        raise ConfigError(
            "--stage is missing.",
            fix="Give --stage 1, 2 or 3, or a recipe: see `megactor recipes list`.",
        )
    speaks = _process() == 0
    console = Console(json=json, quiet=quiet or not speaks)
    from megactor_core.training.train import train as run

    try:
        with console.progress() as on_progress:
            report = run(config, on_progress=on_progress, on_note=console.note)
    except UsageError as error:
        if speaks:
            raise
        raise typer.Exit(error.exit_code) from None  # every process has found the same; one says so
    if speaks:
        console.result(report.to_json())


def _process() -> int:
    """The number that `accelerate launch` gave this process; 0 alone."""
    return int(os.environ.get("RANK", "0"))
