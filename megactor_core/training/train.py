"""`megactor train`: one stage of training, from what came before to a checkpoint that `animate` loads."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from megactor_core.animation.listener import Listener, OnNote, OnProgress
from megactor_core.config.recipes import save_config
from megactor_core.config.train import TrainConfig
from megactor_core.errors import ConfigError, MegActorError
from megactor_core.training.autoencoder import FrameBatches, autoencoder_task, fit_linear_path
from megactor_core.training.batches import BatchSource, FolderBatches, read_batches, sample_numbers
from megactor_core.training.devices import make_accelerator
from megactor_core.training.loop import Loop
from megactor_core.training.run import CONFIG, Run, open_run, replace_final, sole_run
from megactor_core.training.run_checkpoint import clear_leftovers, save_state, start_folder
from megactor_core.training.stopping import StopRequest, interruption
from megactor_core.training.task import Task, stage_task
from megactor_core.training.watch import (
    LOSS_PLOT,
    METRICS,
    VALIDATION,
    MetricsFile,
    StepMetrics,
    ValidationMetrics,
    plot_loss,
    read_metrics,
)


@dataclass(frozen=True, slots=True)
class TrainReport:
    """A finished run."""

    stage: int | str | None
    step: int
    loss: float
    samples_per_second: float
    """Median over the steps of the run; 0 where it took none."""
    checkpoint: Path
    """The final checkpoint."""
    trained_parameters: int
    seconds: float
    """Of this process; 0 for a run that was finished before."""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "checkpoint": str(self.checkpoint)}


def train(
    config: TrainConfig,
    *,
    source: BatchSource[Any] | None = None,
    validation: BatchSource[Any] | None = None,
    on_progress: OnProgress | None = None,
    on_note: OnNote | None = None,
) -> TrainReport:
    """Train one stage, or go on with it (`config.resume`).

    `source` stands for the data folder of the configuration, `validation` for its held-out identities.
    Raises a UsageError before anything is written for what cannot work, Interrupted after a signal (the step
    in hand is finished and saved), and MegActorError for work that fails on the way; the last checkpoint is
    whole in each case.
    """
    if config.stage is None:
        raise ConfigError("`stage` is missing.", fix="Set it to 1, 2, 3 or 'autoencoder'.")
    accelerator = make_accelerator(config)
    listener = Listener.of(on_progress, on_note) if accelerator.is_main_process else Listener()
    # One process holds the folder for all of them.
    owner = sole_run(config.folder) if accelerator.is_main_process else nullcontext()
    with StopRequest() as stop, owner:
        run = open_run(config, listener)
        if source is None:
            source, validation = _open_data(run), _open_validation(run, listener)
        if not source.holds_latents:
            run = replace(run, model=run.model.with_autoencoder())
        _require_same_data(run, source)
        if run.is_finished:
            listener.note(f"'{run.final}' is finished already.")
            return _report(run, trained_parameters=0, seconds=0.0)
        accelerator.wait_for_everyone()  # all have looked before one of them writes
        if run.is_new and accelerator.is_main_process:
            _begin(run, source)
        accelerator.wait_for_everyone()
        with _kept_when_failing(run):
            return _train(run, source, validation, accelerator, listener, stop)


def _train(
    run: Run,
    source: BatchSource[Any],
    validation: BatchSource[Any] | None,
    accelerator: Accelerator,
    listener: Listener,
    stop: StopRequest,
) -> TrainReport:
    started = time.perf_counter()
    loop = Loop(run.config, _make_task(run, source, accelerator.device), accelerator)
    if run.state is not None:
        loop.load(run.state)
    keeper = _Keeper(run, loop, source, validation) if accelerator.is_main_process else None
    batches = read_batches(source, _numbers(run, loop, accelerator), workers=run.config.workers)
    for metrics in loop.steps(batches):
        stopped = _agreed_signal(stop, accelerator)
        if keeper is not None:
            keeper.after_step(metrics, listener, stopped=bool(stopped))
        if stopped and metrics.step < run.config.steps:
            raise interruption(
                stopped,
                f"Stopped after step {metrics.step} of {run.config.steps}; it is saved in '{run.folder}'.",
                fix="Run the same command with --resume to go on.",
            )
    if keeper is not None:
        keeper.finish(loop, listener)
    accelerator.wait_for_everyone()
    trained = sum(parameter.numel() for parameter in loop.parameters.values())
    return _report(run, trained_parameters=trained, seconds=time.perf_counter() - started)


class _Keeper:
    """What one process writes for all: metrics, checkpoints, the plot, the final model."""

    def __init__(
        self, run: Run, loop: Loop, source: BatchSource[Any], validation: BatchSource[Any] | None
    ) -> None:
        self._run, self._loop, self._source, self._validation = run, loop, source, validation
        done = run.steps_done
        self._metrics = MetricsFile(run.folder / METRICS, StepMetrics, steps_done=done)
        self._validated = MetricsFile(run.folder / VALIDATION, ValidationMetrics, steps_done=done)

    def after_step(self, metrics: StepMetrics, listener: Listener, *, stopped: bool) -> None:
        config = self._run.config
        self._metrics.add(metrics)
        listener.progress("training", metrics.step, config.steps)
        if metrics.step % config.validate_every == 0 or metrics.step == config.steps:
            self._validate(listener)
        if stopped or metrics.step % config.checkpoint_every == 0 or metrics.step == config.steps:
            self._save()
            listener.note(
                f"step {metrics.step}: loss {metrics.loss:.4g}, {metrics.samples_per_second:.3g} samples/s"
            )

    def finish(self, loop: Loop, listener: Listener) -> None:
        """Write final/ from the moving average."""
        replace_final(self._run, loop.averaged_model(), card=_card(self._run))
        listener.note(f"Wrote '{self._run.final}'.")

    def _validate(self, listener: Listener) -> None:
        """Measure the loss on held-out samples: the same ones, with the same noise, every time."""
        config = self._run.config
        if self._validation is None or config.validation_samples == 0:
            return
        starts = range(0, config.validation_samples, config.batch_size)
        groups = [range(i, min(i + config.batch_size, config.validation_samples)) for i in starts]
        found = self._loop.validate(self._validation.batch(group) for group in groups)
        self._validated.add(found)
        listener.note(f"step {found.step}: validation loss {found.loss:.4g}")

    def _save(self) -> None:
        state = self._loop.state()
        progress = replace(state.progress, data=self._source.fingerprint)
        save_state(self._run.folder, replace(state, progress=progress), keep=self._run.config.keep)
        plot_loss(read_metrics(self._run.folder / METRICS, StepMetrics), self._run.folder / LOSS_PLOT)


@contextmanager
def _kept_when_failing(run: Run) -> Iterator[None]:
    """Say what is kept where the disk gives out; raises MegActorError in place of OSError."""
    try:
        yield
    except OSError as error:
        raise MegActorError(
            f"{error.strerror or error}; the checkpoints in '{run.folder}' are whole.",
            fix="Mend that (free some space, say) and run the same command with --resume to go on.",
        ) from None


def _open_data(run: Run) -> BatchSource[Any]:
    if run.config.stage == "autoencoder":
        return FrameBatches.open(run.config)
    return FolderBatches.open(run.config, run.model.config)


def _open_validation(run: Run, listener: Listener) -> BatchSource[Any] | None:
    """Held-out identities without augmentation; None, with a note, where the data have none."""
    config = run.config
    if config.validation_samples == 0:
        return None
    held_out = config.draw.without_augmentation().model_copy(update={"split": "validation"})
    try:
        return _open_data(replace(run, config=config.model_copy(update={"draw": held_out})))
    except ConfigError:
        listener.note(f"'{config.data}' has no held-out clips that fit: validation is skipped.")
        return None


def _make_task(run: Run, source: BatchSource[Any], device: torch.device) -> Task:
    if run.config.stage == "autoencoder":
        return autoencoder_task(run.config, run.model, source, device=device)
    return stage_task(run.config, run.model, device=device)


def _begin(run: Run, source: BatchSource[Any]) -> None:
    clear_leftovers(run.folder)
    if run.config.stage == "autoencoder":
        fit_linear_path(run.model, source, run.config.autoencoder)
    save_config(run.config, run.folder / CONFIG)
    run.model.save(
        start_folder(run.folder), info=run.model.info, card="The model as this training run found it.\n"
    )


def _require_same_data(run: Run, source: BatchSource[Any]) -> None:
    known = "" if run.state is None else run.state.progress.data
    if known and known != source.fingerprint:
        raise ConfigError(
            f"Cannot go on with '{run.folder}': the index of its data was {known[:12]}..., "
            f"now {source.fingerprint[:12]}...",
            fix="Give the --data that it began with, or start another run from its checkpoint with --init.",
        )


def _numbers(run: Run, loop: Loop, accelerator: Accelerator) -> Iterator[list[int]]:
    return sample_numbers(
        loop.progress.next_index,
        steps=run.config.steps - loop.progress.step,
        accumulate=run.config.accumulate,
        batch_size=run.config.batch_size,
        processes=accelerator.num_processes,
        process=accelerator.process_index,
    )


def _agreed_signal(stop: StopRequest, accelerator: Accelerator) -> int:
    """The signal to stop for, 0 for none: the same in all processes, which hear of it at different steps."""
    number = 0 if stop.signal is None else int(stop.signal)
    if accelerator.num_processes == 1:
        return number
    seen = accelerator.gather(torch.tensor([number], device=accelerator.device))
    return int(seen.max())


def _report(run: Run, *, trained_parameters: int, seconds: float) -> TrainReport:
    lines = read_metrics(run.folder / METRICS, StepMetrics)
    rates = sorted(line.samples_per_second for line in lines)
    return TrainReport(
        stage=run.config.stage,
        step=run.config.steps,
        loss=lines[-1].loss if lines else float("nan"),
        samples_per_second=rates[len(rates) // 2] if rates else 0.0,
        checkpoint=run.final,
        trained_parameters=trained_parameters,
        seconds=seconds,
    )


def _card(run: Run) -> str:
    config = run.config
    return (
        f"# Stage {config.stage}, {config.steps} steps\n\n"
        f"Trained by megactor, starting from {run.model.info.name}. Settings: config.yaml of the run.\n"
        f"{config.domain}\n"
    )
