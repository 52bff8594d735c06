"""What a run leaves in its folder while it goes on: metrics, validation, checkpoints, the final model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from megactor_core.data.loader import BatchSource
from megactor_core.listener import Listener
from megactor_core.training.held_out import AnimatedClip, HeldOut
from megactor_core.training.held_out_grid import FOLDER, mean_psnr_db, write_grid
from megactor_core.training.loop import Loop
from megactor_core.training.run import Run, replace_final
from megactor_core.training.run_checkpoint import RunState, keep_newest, save_state, start_folder
from megactor_core.training.start import read_model
from megactor_core.training.throughput import in_words
from megactor_core.training.track import open_tracker
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
class Validation:
    """What a run is measured on; None where there is nothing, or nothing is asked for."""

    batches: BatchSource[Any] | None = None
    clips: HeldOut | None = None


class Keeper:
    """Writes for all processes of a run; one of them has it."""

    def __init__(self, run: Run, loop: Loop, source: BatchSource[Any], validation: Validation) -> None:
        self._run, self._loop, self._source, self._validation = run, loop, source, validation
        done = run.steps_done
        self._metrics = MetricsFile(run.folder / METRICS, StepMetrics, steps_done=done)
        self._validated = MetricsFile(run.folder / VALIDATION, ValidationMetrics, steps_done=done)
        self._tracker = open_tracker(run.config.track, run.folder, steps_done=done)

    def before_steps(self, listener: Listener) -> None:
        """Measure what a new run starts from: what it gains is told from there."""
        validated = read_metrics(self._run.folder / VALIDATION, ValidationMetrics)
        if self._loop.progress.step == 0 and not validated:
            self._validate(listener, animates=False)

    def after_step(self, metrics: StepMetrics, state: RunState | None, listener: Listener) -> None:
        """Write what this step is to leave, and its state where it is given.

        Raises OSError where the disk gives out.
        """
        config = self._run.config
        self._metrics.add(metrics)
        self._tracker.add("training", metrics)
        listener.progress(_in_progress(metrics), metrics.step, config.steps)
        if metrics.step % config.validate_every == 0 or metrics.step == config.steps:
            self._validate(listener, animates=True)
        if state is not None:
            self._save(state)
            listener.note(_in_words(metrics))

    def finish(self, state: RunState, listener: Listener) -> None:
        """Write final/ from the moving average; `state` is that of the last step."""
        if self._loop.is_sharded:  # no process has the whole network
            model = read_model(start_folder(self._run.folder))
            model.set_weights(state.average)
        else:
            model = self._loop.averaged_model()
        replace_final(self._run, model, card=_card(self._run))
        keep_newest(self._run.folder, self._run.config.keep)
        listener.note(f"Wrote '{self._run.final}'.")

    def close(self) -> None:
        """Nothing more comes, however the run ended."""
        self._tracker.close()

    def _validate(self, listener: Listener, *, animates: bool) -> None:
        """Measure the moving average on held-out samples: the same ones, with the same noise, every time."""
        batches = self._validation.batches
        if batches is None:
            return
        config = self._run.config
        starts = range(0, config.validation_samples, config.batch_size)
        groups = [range(i, min(i + config.batch_size, config.validation_samples)) for i in starts]
        with self._loop.averaged():
            found = self._loop.validate(batches.batch(group) for group in groups)
            clips = self._animate(listener) if animates else []
        if clips:
            video = write_grid(clips, self._run.folder / FOLDER, step=found.step)
            found = replace(found, psnr_db=mean_psnr_db(clips))
            listener.note(f"Wrote '{video}' and a sheet of it.")
        self._validated.add(found)
        self._tracker.add("validation", found)
        listener.note(_validation_in_words(found))

    def _animate(self, listener: Listener) -> Sequence[AnimatedClip]:
        if self._validation.clips is None:
            return []
        return self._loop.animate(self._validation.clips, listener)

    def _save(self, state: RunState) -> None:
        progress = replace(state.progress, data=self._source.fingerprint)
        save_state(self._run.folder, replace(state, progress=progress), keep=self._run.config.keep)
        folder = self._run.folder
        plot_loss(
            read_metrics(folder / METRICS, StepMetrics),
            read_metrics(folder / VALIDATION, ValidationMetrics),
            folder / LOSS_PLOT,
        )


def _in_progress(metrics: StepMetrics) -> str:
    """The phase, and after its comma what changes from step to step."""
    return f"training, loss {metrics.loss:.4g}, {metrics.samples_per_second:.3g} samples/s"


def _in_words(metrics: StepMetrics) -> str:
    return (
        f"step {metrics.step}: loss {metrics.loss:.4g}, {metrics.samples_per_second:.3g} samples/s, "
        f"{in_words(metrics.flops_per_second or 0)}/s, {metrics.peak_share or 0:.0%} of the peak"
    )


def _validation_in_words(found: ValidationMetrics) -> str:
    likeness = "".join(f", {mode} {decibels:.2f} dB" for mode, decibels in (found.psnr_db or {}).items())
    return f"step {found.step}: validation loss {found.loss:.4g}{likeness}"


def _card(run: Run) -> str:
    config = run.config
    return (
        f"# Stage {config.stage}, {config.steps} steps\n\n"
        f"Trained by megactor, starting from {run.model.info.name}. Settings: config.yaml of the run.\n"
        f"{config.domain}\n"
    )
