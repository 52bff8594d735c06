"""The one training loop: a step is some batches, one gradient, one update; stages differ in data alone."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from megactor_core.config.train import TrainConfig
from megactor_core.diffusion.loss import Losses
from megactor_core.errors import MegActorError, WeightsError
from megactor_core.listener import Listener
from megactor_core.models.device import is_out_of_memory
from megactor_core.training.held_out import AnimatedClip, HeldOut
from megactor_core.training.optimiser import MovingAverage, learning_rate_at, make_optimiser
from megactor_core.training.run_checkpoint import Progress, RunState
from megactor_core.training.sharding import copy_into, shard, shared_like, shares_out_weights, whole
from megactor_core.training.start import Model
from megactor_core.training.task import Task
from megactor_core.training.throughput import Throughput, measure_peak
from megactor_core.training.watch import StepMetrics, ValidationMetrics

_DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Loop:
    """A task in training: the network, its optimiser, the moving average, and how far they are."""

    def __init__(self, config: TrainConfig, task: Task, accelerator: Accelerator) -> None:
        self.progress = Progress()
        self.is_sharded = shares_out_weights(accelerator)
        """Then every process has to take part in `state`."""
        self._config, self._task, self._accelerator = config, task, accelerator
        self._network = task.network.train()
        if self.is_sharded:
            shard(self._network, accelerator)
        named = dict(self._network.named_parameters())
        self.parameters = {name: named[name] for name in task.parameters}
        self._optimiser = self._stepper = make_optimiser(self.parameters, config)
        if not self.is_sharded:
            self._network, self._stepper = accelerator.prepare(self._network, self._optimiser)
        self._average = MovingAverage(self.parameters, decay=config.ema.decay)
        self.throughput = Throughput(
            sample_flops=task.sample_flops,
            peak_flops_per_second=accelerator.num_processes
            * measure_peak(accelerator.device, _DTYPES[accelerator.mixed_precision]),
        )

    @property
    def samples_per_step(self) -> int:
        """Over all processes."""
        return self._config.batch_size * self._config.accumulate * self._accelerator.num_processes

    def steps(self, batches: Iterator[Any]) -> Iterator[StepMetrics]:
        """Train on the batches of this process until they end, a step at a time.

        Raises MegActorError, before the weights change, where the loss is no number, and where memory is out.
        """
        started, cpu_started = time.perf_counter(), time.process_time()
        while group := list(islice(batches, self._config.accumulate)):
            learning_rate = learning_rate_at(self.progress.step, self._config)
            losses, gradient_norm = self._update(group, learning_rate)
            now, cpu_now = time.perf_counter(), time.process_time()
            rate = self.samples_per_step / (now - started)
            cpu_rate = self.samples_per_step / self._accelerator.num_processes / (cpu_now - cpu_started)
            started = now
            loss, mse, vb = losses.tolist()
            self.progress = self._advanced(loss)
            yield StepMetrics(
                step=self.progress.step,
                loss=loss,
                mse=mse,
                vb=vb,
                samples_per_second=rate,
                learning_rate=learning_rate,
                gradient_norm=gradient_norm,
                samples_per_cpu_second=cpu_rate,
                flops_per_second=self.throughput.flops_per_second(rate),
                peak_share=self.throughput.peak_share(rate),
            )
            cpu_started = time.process_time()  # what was done with the last step is no part of the next

    def state(self) -> RunState:
        """Everything that going on needs; tensors are the live ones, gathered where they are shared out."""
        moments = {
            f"{name}/{moment}": value
            for name, parameter in self.parameters.items()
            for moment, value in self._optimiser.state[parameter].items()
        }
        weights = {name: parameter.detach() for name, parameter in self.parameters.items()}
        return RunState(
            progress=self.progress,
            weights=self._gathered(weights),
            average=self._gathered(self._average.weights),
            optimiser=self._gathered(moments),
        )

    def _gathered(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Whole tensors, one by one in main memory; nothing in the processes that do not save."""
        if not self.is_sharded:
            return tensors
        keeps = self._accelerator.is_main_process
        gathered = ((name, whole(value)) for name, value in tensors.items())
        return {name: value.cpu() for name, value in gathered if keeps}

    @torch.no_grad()
    def load(self, state: RunState) -> None:
        """Go on from a state of whole tensors; raises WeightsError where it is of other parameters."""
        for tensors in (state.weights, state.average):
            if tensors.keys() != self.parameters.keys():
                raise WeightsError("The checkpoint holds other parameters than this stage trains.")
        self._set_weights(state.weights)
        self._average.load(state.average)
        for key, value in state.optimiser.items():
            name, _, moment = key.rpartition("/")
            parameter = self.parameters[name]
            # AdamW counts steps on the CPU
            known = value if moment == "step" else shared_like(value, parameter)
            self._optimiser.state[parameter][moment] = known
        self.progress = state.progress
        if self._accelerator.scaler is not None and state.progress.grad_scale is not None:
            scaler = self._accelerator.scaler
            scale = {"scale": state.progress.grad_scale, "_growth_tracker": state.progress.grad_scale_age}
            scaler.load_state_dict({**scaler.state_dict(), **scale})

    @torch.no_grad()
    def validate(self, batches: Iterable[Any]) -> ValidationMetrics:
        """Mean losses on the batches of what the loop holds: inside `averaged`, of the moving average."""
        with self._accelerator.autocast():
            found = [self._task.objective(self._task.network, batch) for batch in batches]
        loss, mse, vb = (float(torch.cat(part).mean()) for part in zip(*map(_parts, found), strict=True))
        return ValidationMetrics(self.progress.step, loss=loss, mse=mse, vb=vb)

    def animate(self, clips: HeldOut, listener: Listener) -> list[AnimatedClip]:
        """Held-out clips animated with the weights that the loop holds, of whose model they are."""
        with self._accelerator.autocast():
            return clips.animate(self._accelerator.device, listener)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The moving average stands in for the weights in training, which come back as they were."""
        kept = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self._set_weights(self._average.weights)
        try:
            yield
        finally:
            self._set_weights(kept)

    def averaged_model(self) -> Model:
        """The model with the moving average in the place of the trained weights, for good."""
        self._set_weights(self._average.weights)
        return self._task.finish()

    def _set_weights(self, weights: Mapping[str, Tensor]) -> None:
        copy_into(self.parameters, weights)

    def _update(self, group: list[Any], learning_rate: float) -> tuple[Tensor, float]:
        """One step on the group; mean loss, mse and vb (3,) over all processes, and the gradient's norm."""
        total = torch.zeros(3, device=self._accelerator.device)
        try:
            for batch in group:
                with self._accelerator.accumulate(self._network), self._accelerator.autocast():
                    losses = self._task.objective(self._network, batch)
                    self._accelerator.backward(losses.loss.mean())
                    total += torch.stack([part.detach().mean() for part in _parts(losses)]) / len(group)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise self._out_of_memory() from None
        total = self._accelerator.reduce(total, reduction="mean")
        self._require_numbers(total)
        norm = self._clip_gradients()
        if self._accelerator.scaler is None and not math.isfinite(norm):
            raise self._not_a_number("gradient", norm)
        for settings in self._optimiser.param_groups:
            settings["lr"] = learning_rate
        self._stepper.step()
        self._stepper.zero_grad()
        self._average.update(self.progress.step)
        return total, norm

    def _clip_gradients(self) -> float:
        """Shorten what is too long; the length before."""
        longest = self._config.optimiser.clip_norm
        if self.is_sharded:
            return float(whole(nn.utils.clip_grad_norm_(self.parameters.values(), longest)))
        return float(self._accelerator.clip_grad_norm_(self._network.parameters(), longest))

    def _advanced(self, loss: float) -> Progress:
        scale = self._accelerator.scaler.state_dict() if self._accelerator.scaler is not None else {}
        return Progress(
            step=self.progress.step + 1,
            next_index=self.progress.next_index + self.samples_per_step,
            loss=loss,
            grad_scale=scale.get("scale"),
            grad_scale_age=scale.get("_growth_tracker", 0),
        )

    def _require_numbers(self, losses: Tensor) -> None:
        if not torch.isfinite(losses).all():
            raise self._not_a_number("loss", float(losses[0]))

    def _not_a_number(self, what: str, value: float) -> MegActorError:
        return MegActorError(
            f"The {what} of step {self.progress.step + 1} is {value}; the step was not taken.",
            fix="Lower learning_rate, raise optimiser.warmup_steps, or look at the data of that step "
            f"(samples from number {self.progress.next_index} on).",
        )

    def _out_of_memory(self) -> MegActorError:
        return MegActorError(
            f"Not enough memory for step {self.progress.step + 1} with batch_size {self._config.batch_size}.",
            fix="Lower batch_size and raise accumulate alike, or set gradient_checkpointing=true.",
        )


def _parts(losses: Losses) -> tuple[Tensor, Tensor, Tensor]:
    return losses.loss, losses.mse, losses.vb
