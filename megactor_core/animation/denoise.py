"""Denoising a clip of any length in windows, from file to file.

A step reads the latents of the step before and writes its own beside them, so that a run that is killed goes
on with the step that it was in.

Shape legend:
    F frames of the clip   W frames of a window   G windows at once   C latent channels   H, W' latent sides
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from megactor_core.animation.backoff import WINDOWS, Batches, recorder
from megactor_core.animation.conditions import Conditions
from megactor_core.animation.fitting import fitting_windows
from megactor_core.animation.store import FrameFile, RunFolder
from megactor_core.animation.windows import (
    Span,
    blend_weights,
    noise_numbers,
    of_equal_length,
    step_windows,
)
from megactor_core.config.animate import AnimateConfig, WindowConfig
from megactor_core.config.model import ModelConfig, NoiseKind
from megactor_core.diffusion.sampler import frame_noise, guide, split_prediction
from megactor_core.diffusion.schedule import add_noise, make_schedule
from megactor_core.diffusion.solver import Solver
from megactor_core.listener import Listener
from megactor_core.models.layers import KeysValues
from megactor_core.models.sigma import Sigma

CHUNK_FRAMES = 64  # frames of elementwise work at once: bounds memory, does not change the result


@dataclass(frozen=True, slots=True)
class Sampling:
    """Settled settings of the sampler; see AnimateConfig."""

    steps: int
    guidance: float
    guidance_interval: tuple[float, float]
    audio_scale: float
    seed: int
    noise: NoiseKind
    from_reference: bool
    window: WindowConfig
    window_batch: int | None

    @staticmethod
    def of(config: AnimateConfig, model: ModelConfig) -> "Sampling":
        """The user's settings, and the checkpoint's where the user says nothing."""
        return Sampling(
            steps=model.sampling.steps if config.steps is None else config.steps,
            guidance=model.sampling.guidance if config.guidance is None else config.guidance,
            guidance_interval=config.guidance_interval,
            audio_scale=config.audio_scale,
            seed=config.seed,
            noise=config.noise or model.sampling.noise,
            from_reference=config.initial_latents == "reference",
            window=config.window,
            window_batch=config.window_batch,
        )

    def is_guided(self, step: int) -> bool:
        """Whether a solver step needs the unconditional prediction too."""
        low, high = self.guidance_interval
        return self.guidance != 1 and low <= step / self.steps < high


@torch.no_grad()
def denoise(
    sigma: Sigma, conditions: Conditions, sampling: Sampling, folder: RunFolder, listener: Listener
) -> FrameFile:
    """The clip's clean latents, a record (C, H, W') a frame.

    Each step predicts every frame, then the solver steps the whole clip; the folder's state counts the steps.
    Where memory runs out, fewer windows are denoised at once from then on; raises OutOfMemory where one is
    too much.
    """
    solver = Solver(sigma.config.diffusion, steps=sampling.steps)
    clip = _Clip(sigma, conditions, sampling, folder, listener)
    first = folder.state().get("steps_done", 0)
    if first == 0:
        clip.write_initial_latents()
    done, total = first * conditions.frames, sampling.steps * conditions.frames
    for step in range(first, sampling.steps):
        clip.start_step(solver.timesteps[step])
        for frames in clip.predict(step):
            done += frames
            listener.progress("denoising", min(done, (step + 1) * conditions.frames), total)
        clip.advance(solver, step)
        done = (step + 1) * conditions.frames
        folder.save({**folder.state(), "steps_done": step + 1})
    return clip.latents(sampling.steps)


class _Clip:
    """One clip: its files, its conditions, and what is shared by all windows of a step."""

    def __init__(
        self,
        sigma: Sigma,
        conditions: Conditions,
        sampling: Sampling,
        folder: RunFolder,
        listener: Listener,
    ) -> None:
        self.sigma, self.conditions, self.sampling = sigma, conditions, sampling
        weight = next(sigma.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        self.t = torch.zeros(1, dtype=torch.long, device=self.device)
        self.reference: list[KeysValues] = []
        self._batches = Batches(
            WINDOWS, self._windows_at_once(), device=self.device, on_lowered=recorder(folder, listener)
        )
        shape = tuple(conditions.reference_latent.shape[1:])
        self.prediction = folder.file("prediction", shape=shape)
        self._latents = [folder.file(f"latents-{parity}", shape=shape) for parity in (0, 1)]
        self._past = [folder.file(f"past-{parity}", shape=shape) for parity in (0, 1)]

    def _windows_at_once(self) -> int:
        return self.sampling.window_batch or fitting_windows(
            self.sigma.config,
            device=self.device,
            item_bytes=self.dtype.itemsize,
            size_px=self.conditions.size_px,
            frames=self.sampling.window.frames,
            guided=self.sampling.guidance != 1,
        )

    def latents(self, step: int) -> FrameFile:
        """Latents before solver step `step`; two files take turns."""
        return self._latents[step % 2]

    def write_initial_latents(self) -> None:
        """Noise of each frame, or the reference latent under that noise at the last time step [R]."""
        schedule = make_schedule(self.sigma.config.diffusion)
        reference = self.conditions.reference_latent.float().cpu()
        numbers = self._noise_numbers()
        for start, stop in _chunks(self.conditions.frames):
            noise = frame_noise(numbers[start:stop], tuple(reference.shape[1:]), seed=self.sampling.seed)
            if self.sampling.from_reference:
                last = torch.full((len(noise),), schedule.steps - 1)
                noise = add_noise(schedule, reference.expand_as(noise), noise, last)
            self.latents(0).write(start, noise.numpy())

    def _noise_numbers(self) -> list[int]:
        frames, window = self.conditions.frames, self.sampling.window
        match self.sampling.noise:
            case "independent":
                return list(range(frames))
            case "shared":
                return [0] * frames
            case "freenoise":
                stride = max(1, window.frames // 4)  # FreeNoise shuffles quarters of its 16-frame window
                return noise_numbers(frames, size=window.frames, stride=stride, seed=self.sampling.seed)

    def start_step(self, t: Tensor) -> None:
        """Run the Reference Transformer and project its keys and values once for all windows of the step.

        A reference at time step zero is the same at every step and is computed at the first only.
        """
        self.t = t.reshape(1).to(self.device)
        if self.reference and self.sigma.config.reference.timestep == "zero":
            return
        latent = self.conditions.reference_latent.to(self.device, self.dtype)
        states = self.sigma.reference(latent, self.sigma.reference_time(self.t))
        self.reference = self.sigma.denoiser.reference_keys(states)

    def predict(self, step: int) -> Iterator[int]:
        """Predict every frame into the prediction file; yields the frames done by each batch of windows."""
        spans = step_windows(self.conditions.frames, self.sampling.window, step=step)
        weights = dict(zip(spans, blend_weights(spans), strict=True))
        blended = self.sampling.window.scheme == "overlap"
        if blended:
            self._clear_prediction()
        predict = partial(self._predict_windows, self.latents(step), is_guided=self.sampling.is_guided(step))
        for group in of_equal_length(spans):
            for batch, predicted in self._batches.run(predict, group):
                for (start, stop), part in zip(batch, predicted, strict=True):
                    if blended:
                        part = part * weights[start, stop][:, None, None, None]
                        part += self.prediction.read(start, stop)
                    self.prediction.write(start, part)
                yield sum(stop - start for start, stop in batch)

    def _clear_prediction(self) -> None:
        for start, stop in _chunks(self.conditions.frames):
            self.prediction.write(start, np.zeros((stop - start, *self.prediction.shape), np.float32))

    def advance(self, solver: Solver, step: int) -> None:
        """One solver step for all frames."""
        for start, stop in _chunks(self.conditions.frames):
            past = torch.from_numpy(self._past[step % 2].read(start, stop)) if step else None
            following, estimate = solver.step(
                torch.from_numpy(self.prediction.read(start, stop)),
                torch.from_numpy(self.latents(step).read(start, stop)),
                step=step,
                past=past,
            )
            self.latents(step + 1).write(start, following.numpy())
            self._past[(step + 1) % 2].write(start, estimate.numpy())

    def _predict_windows(self, latents: FrameFile, group: Sequence[Span], *, is_guided: bool) -> np.ndarray:
        """Prediction of G windows of equal length: (G, W, C, H, W')."""
        noisy = torch.from_numpy(np.stack([latents.read(start, stop) for start, stop in group]))
        noisy = noisy.to(self.device, self.dtype)
        frames = torch.tensor([range(start, stop) for start, stop in group])  # (G, W)
        conditional = self._run(noisy, frames, null=False)
        if not is_guided:
            return conditional.numpy()
        return guide(conditional, self._run(noisy, frames, null=True), scale=self.sampling.guidance).numpy()

    def _run(self, noisy: Tensor, frames: Tensor, *, null: bool) -> Tensor:
        """The null branch has no reference keys, no driver and no audio [R, MagicAnimate]."""
        window = self.conditions.null_window(frames) if null else self.conditions.window(frames)
        output = self.sigma.denoiser(
            noisy,
            self.t.expand(len(noisy)),
            motion=window.motion.to(self.device, self.dtype),
            audio=window.audio.to(self.device, self.dtype),
            reference=None if null else self.reference,
            mask=None if window.mask is None else window.mask.to(self.device),
            audio_scale=self.sampling.audio_scale,
        )
        return split_prediction(output, channels=noisy.shape[2]).float().cpu()


def _chunks(frames: int) -> Iterator[Span]:
    for start in range(0, frames, CHUNK_FRAMES):
        yield start, min(start + CHUNK_FRAMES, frames)
