"""`megactor train`: one stage of training, from what came before to a checkpoint that `animate` loads."""

import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from accelerate import Accelerator

from megactor_core.config.recipes import save_config
from megactor_core.config.train import TrainConfig
from megactor_core.data.loader import BatchSource, DataBatches, Stream, read_batches
from megactor_core.errors import ConfigError, MegActorError, UsageError
from megactor_core.listener import Listener, OnNote, OnProgress
from megactor_core.models.device import deterministic_algorithms
from megactor_core.training.autoencoder import FrameBatches, autoencoder_task, fit_linear_path
from megactor_core.training.devices import processes
from megactor_core.training.held_out import HeldOut, HeldOutClips
from megactor_core.training.held_out_pictures import HeldOutPictures
from megactor_core.training.keeper import Keeper, Validation
from megactor_core.training.loop import Loop
from megactor_core.training.run import CONFIG, Run, open_run, sole_run
from megactor_core.training.run_checkpoint import clear_leftovers, start_folder
from megactor_core.training.sharding import shares_out_weights
from megactor_core.training.stopping import StopRequest, interruption
from megactor_core.training.task import Task, stage_task
from megactor_core.training.throughput import in_words
from megactor_core.training.track import require_tracker
from megactor_core.training.watch import METRICS, StepMetrics, read_metrics


@dataclass(frozen=True, slots=True)
class TrainReport:
    """A finished run."""

    stage: int | str | None
    step: int
    loss: float
    samples_per_second: float
    """Median over the steps of the run, of all processes together; 0 where it took none."""
    samples_per_cpu_second: float | None
    """Median over the steps of the run: see StepMetrics."""
    sample_flops: int | None
    """Counted work of one sample; None for a run that was finished before."""
    flops_per_second: float | None
    """Median over the steps of the run."""
    peak_share: float | None
    """The same over what the devices reach in large matrix products."""
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
    validation: Validation | None = None,
    on_progress: OnProgress | None = None,
    on_note: OnNote | None = None,
) -> TrainReport:
    """Train one stage, or go on with it (`config.resume`).

    `source` and `validation` stand for the data folder of the configuration and its held-out identities.
    Raises a UsageError before anything is written for what cannot work, Interrupted after a signal (the step
    in hand is finished and saved), and MegActorError for work that fails on the way; the last checkpoint is
    whole in each case.
    """
    if config.stage is None:
        raise ConfigError("`stage` is missing.", fix="Set it to 1, 2, 3 or 'autoencoder'.")
    require_tracker(config)
    with deterministic_algorithms(config.deterministic), processes(config) as accelerator:
        return _train_in(accelerator, config, source, validation, Listener.of(on_progress, on_note))


def _train_in(
    accelerator: Accelerator,
    config: TrainConfig,
    source: BatchSource[Any] | None,
    validation: Validation | None,
    listener: Listener,
) -> TrainReport:
    """The run as this process has its part in it."""
    if not accelerator.is_main_process:
        listener = Listener()
    _require_possible_sharding(config, accelerator)
    # One process holds the folder for all of them.
    owner = sole_run(config.folder) if accelerator.is_main_process else nullcontext()
    with StopRequest() as stop, owner:
        run = open_run(config, listener)
        given, source = source, source or _open_data(run)
        if not source.holds_latents:
            run = replace(run, model=run.model.with_autoencoder())
        if given is None and accelerator.is_main_process:
            validation = _open_validation(run, listener)
        if validation is not None and shares_out_weights(accelerator):
            listener.note(
                "The weights are shared out (FSDP): validation, which one process does, is skipped."
            )
            validation = None
        _require_same_data(run, source)
        if run.is_finished:
            listener.note(f"'{run.final}' is finished already.")
            return _report(run, None, trained_parameters=0, seconds=0.0)
        accelerator.wait_for_everyone()  # all have looked before one of them writes
        if run.is_new and accelerator.is_main_process:
            _begin(run, source)
        accelerator.wait_for_everyone()
        with _kept_when_failing(run):
            return _train(run, source, validation or Validation(), accelerator, listener, stop)


def _train(
    run: Run,
    source: BatchSource[Any],
    validation: Validation,
    accelerator: Accelerator,
    listener: Listener,
    stop: StopRequest,
) -> TrainReport:
    started = time.perf_counter()
    loop = Loop(run.config, _make_task(run, source, accelerator.device), accelerator)
    if run.state is not None:
        loop.load(run.state)
    listener.note(_work_in_words(loop))
    keeper = Keeper(run, loop, source, validation) if accelerator.is_main_process else None
    batches = read_batches(source, _stream(run, loop, accelerator), workers=run.config.workers)
    with nullcontext() if keeper is None else closing(keeper):
        if keeper is not None:
            keeper.before_steps(listener)
        for metrics in loop.steps(batches):
            _after_step(run, loop, keeper, metrics, listener, stopped=_agreed_signal(stop, accelerator))
        last = loop.state()
        if keeper is not None:
            keeper.finish(last, listener)
    accelerator.wait_for_everyone()
    trained = sum(parameter.numel() for parameter in loop.parameters.values())
    return _report(run, loop, trained_parameters=trained, seconds=time.perf_counter() - started)


def _after_step(
    run: Run, loop: Loop, keeper: Keeper | None, metrics: StepMetrics, listener: Listener, *, stopped: int
) -> None:
    """Keep what the step is to leave; raises Interrupted after the signal `stopped`, 0 for none."""
    # Where weights are shared out, every process has to take part in gathering them.
    state = loop.state() if _is_kept(metrics.step, run.config, stopped=bool(stopped)) else None
    if keeper is not None:
        keeper.after_step(metrics, state, listener)
    if stopped and metrics.step < run.config.steps:
        raise interruption(
            stopped,
            f"Stopped after step {metrics.step} of {run.config.steps}; it is saved in '{run.folder}'.",
            fix="Run the same command with --resume to go on.",
        )


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
    config = run.config
    return DataBatches.open(config.data, config=config.draw, model=run.model.config, seed=config.seed)


def _open_validation(run: Run, listener: Listener) -> Validation:
    """Held-out identities without augmentation; nothing, with a note, where the data have none."""
    config = run.config
    if config.validation_samples == 0:
        return Validation()
    held_out = config.draw.without_augmentation().model_copy(update={"split": "validation"})
    try:
        batches = _open_data(replace(run, config=config.model_copy(update={"draw": held_out})))
    except ConfigError:
        listener.note(f"'{config.data}' has no held-out clips that fit: validation is skipped.")
        return Validation()
    return Validation(batches, _open_clips(run, listener))


def _open_clips(run: Run, listener: Listener) -> HeldOut | None:
    """Clips to animate; None, with a note, where none is long enough or nothing can decode them."""
    config = run.config
    if config.validation_clips == 0:
        return None
    try:
        if config.stage == "autoencoder":
            return HeldOutPictures.open(config, run.model)
        return HeldOutClips.open(config, run.model)
    except UsageError as error:
        listener.note(f"No held-out clips are animated: {error.message}")
        return None


def _make_task(run: Run, source: BatchSource[Any], device: torch.device) -> Task:
    if run.config.stage == "autoencoder":
        return autoencoder_task(run.config, run.model, source, device=device)
    return stage_task(run.config, run.model, device=device, holds_latents=source.holds_latents)


def _begin(run: Run, source: BatchSource[Any]) -> None:
    clear_leftovers(run.folder)
    if run.config.stage == "autoencoder":
        fit_linear_path(run.model, source, run.config.autoencoder)
    save_config(run.config, run.folder / CONFIG)
    run.model.save(
        start_folder(run.folder), info=run.model.info, card="The model as this training run found it.\n"
    )


def _require_possible_sharding(config: TrainConfig, accelerator: Accelerator) -> None:
    if not shares_out_weights(accelerator):
        return
    if config.stage == "autoencoder":
        raise ConfigError("The autoencoder is too small to be shared out.", fix="Train it without FSDP.")
    if accelerator.mixed_precision == "fp16":
        raise ConfigError(
            "precision float16 does not go with weights that are shared out (FSDP).",
            fix="Use bfloat16 or float32.",
        )


def _require_same_data(run: Run, source: BatchSource[Any]) -> None:
    known = "" if run.state is None else run.state.progress.data
    if known and known != source.fingerprint:
        raise ConfigError(
            f"Cannot go on with '{run.folder}': the index of its data was {known[:12]}..., "
            f"now {source.fingerprint[:12]}...",
            fix="Give the --data that it began with, or start another run from its checkpoint with --init.",
        )


def _is_kept(step: int, config: TrainConfig, *, stopped: bool) -> bool:
    """Whether a checkpoint is made of this step."""
    return stopped or step % config.checkpoint_every == 0 or step == config.steps


def _stream(run: Run, loop: Loop, accelerator: Accelerator) -> Stream:
    """The samples that this process reads from here on."""
    return Stream(
        batch_size=run.config.batch_size,
        steps=run.config.steps - loop.progress.step,
        start=loop.progress.next_index,
        accumulate=run.config.accumulate,
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


def _report(run: Run, loop: Loop | None, *, trained_parameters: int, seconds: float) -> TrainReport:
    lines = read_metrics(run.folder / METRICS, StepMetrics)
    return TrainReport(
        stage=run.config.stage,
        step=run.config.steps,
        loss=lines[-1].loss if lines else float("nan"),
        samples_per_second=_median(line.samples_per_second for line in lines) or 0.0,
        samples_per_cpu_second=_median(line.samples_per_cpu_second for line in lines),
        sample_flops=None if loop is None else loop.throughput.sample_flops,
        flops_per_second=_median(line.flops_per_second for line in lines),
        peak_share=_median(line.peak_share for line in lines),
        checkpoint=run.final,
        trained_parameters=trained_parameters,
        seconds=seconds,
    )


def _work_in_words(loop: Loop) -> str:
    throughput = loop.throughput
    return (
        f"A sample is {in_words(throughput.sample_flops)} of work, forward and backward; matrix products "
        f"run at {in_words(throughput.peak_flops_per_second)}/s here."
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
