"""The folder of a run: a new one, one to go on with, or a finished one.

config.yaml   metrics.jsonl   loss.png   checkpoints/start/   checkpoints/step-*/   final/
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from megactor_core.config.model import ModelConfig
from megactor_core.config.recipes import read_recipe
from megactor_core.config.train import CADENCE, TrainConfig
from megactor_core.errors import ConfigError, OutputError, UsageError
from megactor_core.files import flush_folder, require_writable_folder, sole_owner
from megactor_core.listener import Listener
from megactor_core.models.checkpoint import CheckpointInfo
from megactor_core.training.autoencoder import new_autoencoder
from megactor_core.training.run_checkpoint import (
    RunState,
    load_state,
    newest_valid,
    start_folder,
    step_folders,
)
from megactor_core.training.start import FINAL, Model, find_start, flat_settings, read_model, with_scaling

CONFIG, LOCK = "config.yaml", ".lock"


@dataclass(frozen=True, slots=True)
class Run:
    """What a run begins with. `config` has every choice settled; `state` is None at step 0."""

    config: TrainConfig
    model: Model
    state: RunState | None
    is_new: bool

    @property
    def folder(self) -> Path:
        return self.config.folder

    @property
    def final(self) -> Path:
        return self.folder / FINAL

    @property
    def steps_done(self) -> int:
        return 0 if self.state is None else self.state.progress.step

    @property
    def is_finished(self) -> bool:
        return self.steps_done == self.config.steps and self.final.is_dir()


def open_run(config: TrainConfig, listener: Listener) -> Run:
    """Decide what to do with the output folder; writes nothing.

    Raises OutputError where it holds a run that is not to be gone on with, ConfigError where that run had
    other settings or has done more steps than asked for, WeightsError where its checkpoints are damaged or
    there is nothing to start from.
    """
    folder = config.folder
    if not start_folder(folder).is_dir():
        model = find_start(config, listener) if config.stage != "autoencoder" else new_autoencoder(config)
        _warn_of_a_low_rate(config, model, listener)
        return Run(config.model_copy(update={"model": model.config}), model, state=None, is_new=True)
    if not config.resume:
        raise OutputError(
            f"'{folder}' holds a run already ({_describe(folder)}).",
            fix="Add --resume to go on with it, or choose another --output.",
        )
    model = read_model(start_folder(folder))
    config = _require_same(config, model)
    newest = newest_valid(folder, listener.note)
    state = None if newest is None else load_state(newest)
    run = Run(config, model, state=state, is_new=False)
    if run.steps_done > config.steps:
        raise ConfigError(
            f"steps = {config.steps}, but the run in '{folder}' has done {run.steps_done} already.",
            fix="Give at least as many steps, or choose another --output.",
        )
    return run


@contextmanager
def sole_run(folder: Path) -> Iterator[None]:
    """Hold the output folder against other runs while the block goes on.

    Raises OutputError where another one has it, or where it holds something else than a run. A block that
    refuses its work before anything is begun leaves no new folder behind.
    """
    is_new = not folder.exists()
    # Hidden files are the system's, or what a run left that was killed at once.
    if not is_new and not (folder / LOCK).exists() and any(folder.glob("[!.]*")):
        raise OutputError(
            f"'{folder}' exists and is not a run of megactor.",
            fix="Choose another --output, or move it away.",
        )
    require_writable_folder(folder)
    try:
        with sole_owner(folder / LOCK):
            yield
    except UsageError:
        if is_new and [path.name for path in folder.iterdir()] == [LOCK]:
            shutil.rmtree(folder)
        raise


def replace_final(run: Run, model: Model, *, card: str) -> None:
    """Write final/; an earlier one, of fewer steps, stays until the new one is whole."""
    new, before = run.folder / ".final-new", run.folder / ".final-before"
    for leftover in (new, before):
        shutil.rmtree(leftover, ignore_errors=True)
    model.save(new, info=_final_info(run, model.info), card=card)
    if run.final.exists():
        run.final.rename(before)
    try:
        new.rename(run.final)
    except BaseException:
        if before.exists():
            before.rename(run.final)
        raise
    flush_folder(run.folder, contents=False)
    shutil.rmtree(before, ignore_errors=True)


def _final_info(run: Run, start: CheckpointInfo) -> CheckpointInfo:
    """`tiny-stage2`: the size's name comes down from stage 1. An autoencoder's run trains no Sigma."""
    config = run.config
    size = config.preset or start.name.rpartition("-stage")[0] or "sigma"
    if config.stage == "autoencoder":
        return start.updated(name=f"{size}-autoencoder")
    return start.updated(
        name=f"{size}-stage{config.stage}",
        trained=True,
        domain=config.domain or start.domain,
        stage=config.stage,
    )


def _warn_of_a_low_rate(config: TrainConfig, model: Model, listener: Listener) -> None:
    papers = TrainConfig.model_fields["learning_rate"].default
    if model.config.hidden < ModelConfig().hidden and config.learning_rate <= papers:
        listener.note(
            f"learning_rate = {config.learning_rate:g} is for fine-tuning the paper's model; "
            f"the recipe tiny-stage{config.stage} has settings for small ones."
        )


def _describe(folder: Path) -> str:
    steps = step_folders(folder)
    return f"its newest checkpoint is {steps[-1].name}" if steps else "without a checkpoint yet"


def _require_same(config: TrainConfig, model: Model) -> TrainConfig:
    """The settings to go on with; raises ConfigError where they are not those that the run began with."""
    path = config.folder / CONFIG
    earlier = TrainConfig.build(read_recipe(path), source=str(path))
    wanted = model.config
    if config.chooses_model:
        wanted = with_scaling(config.model, model.config.autoencoder.scaling_factor)
    config = config.model_copy(update={"model": wanted, "preset": config.preset or earlier.preset})
    if config.optimiser.decay != "none" and config.steps != earlier.steps:
        raise ConfigError(
            f"Cannot go on with '{config.folder}': steps was {earlier.steps}, now {config.steps}, and the "
            f"learning rate falls towards the last step (optimiser.decay = {config.optimiser.decay}).",
            fix="Keep `steps`, or start another run from its final checkpoint with --init.",
        )
    before, now = (dict(flat_settings(settings.model_dump(mode="json"))) for settings in (earlier, config))
    for key in before:
        if key.partition(".")[0] not in CADENCE and before[key] != now[key]:
            raise ConfigError(
                f"Cannot go on with '{config.folder}': {key} was {before[key]!r}, now {now[key]!r}.",
                fix="Use the settings of its config.yaml, or choose another --output.",
            )
    return config
