"""Denoising a clip of any length in windows that shift from step to step.

Shape legend:
    F frames of the clip   W frames of a window   G windows at once   C latent channels   H, W' latent sides
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from megactor_core.animation.conditions import Conditions
from megactor_core.animation.listener import Listener
from megactor_core.animation.windows import Span, batches, windows
from megactor_core.config.animate import AnimateConfig, WindowConfig
from megactor_core.config.model import ModelConfig
from megactor_core.diffusion.sampler import frame_noise, guide, make_solver, split_prediction
from megactor_core.diffusion.schedule import add_noise, make_schedule
from megactor_core.models.layers import KeysValues
from megactor_core.models.sigma import Sigma


@dataclass(frozen=True, slots=True)
class Sampling:
    """Settled settings of the sampler; see AnimateConfig."""

    steps: int
    guidance: float
    audio_scale: float
    seed: int
    from_reference: bool
    window: WindowConfig
    window_batch: int

    @staticmethod
    def of(config: AnimateConfig, model: ModelConfig) -> "Sampling":
        """The user's settings, and the checkpoint's where the user says nothing."""
        return Sampling(
            steps=model.sampling.steps if config.steps is None else config.steps,
            guidance=model.sampling.guidance if config.guidance is None else config.guidance,
            audio_scale=config.audio_scale,
            seed=config.seed,
            from_reference=config.initial_latents == "reference",
            window=config.window,
            window_batch=config.window_batch,
        )


@torch.no_grad()
def denoise(sigma: Sigma, conditions: Conditions, sampling: Sampling, listener: Listener) -> Tensor:
    """Latents of the whole clip: (F, C, H, W') float32 on the CPU.

    Each step predicts every frame once, then guidance and one solver step follow on the whole clip.
    """
    solver = make_solver(sigma.config.diffusion, steps=sampling.steps)
    latents = initial_latents(sigma, conditions, sampling)
    clip = _Denoiser(sigma, conditions, sampling)
    total = sampling.steps * conditions.frames
    done = 0
    for step, t in enumerate(solver.timesteps):
        clip.start_step(t)
        prediction = torch.empty_like(latents)
        spans = windows(conditions.frames, size=sampling.window.frames, offset=step * sampling.window.shift)
        for group in batches(spans, count=sampling.window_batch):
            for (start, stop), predicted in zip(group, clip.predict(latents, group), strict=True):
                prediction[start:stop] = predicted
                done += stop - start
            listener.progress("denoising", done, total)
        latents = solver.step(prediction, t, latents).prev_sample
    return latents


def initial_latents(sigma: Sigma, conditions: Conditions, sampling: Sampling) -> Tensor:
    """Noise of each frame, or the reference latent under that noise at the last step [R]: (F, C, H, W')."""
    reference = conditions.reference_latent.float().cpu()
    noise = frame_noise(range(conditions.frames), tuple(reference.shape[1:]), seed=sampling.seed)
    if not sampling.from_reference:
        return noise
    schedule = make_schedule(sigma.config.diffusion)
    return add_noise(
        schedule, reference.expand_as(noise), noise, torch.full((len(noise),), schedule.steps - 1)
    )


class _Denoiser:
    """One clip's conditions and what is shared by all windows of a step."""

    def __init__(self, sigma: Sigma, conditions: Conditions, sampling: Sampling) -> None:
        self.sigma, self.conditions, self.sampling = sigma, conditions, sampling
        weight = next(sigma.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        self.t = torch.zeros(1, dtype=torch.long, device=self.device)
        self.reference: list[KeysValues] = []

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

    def predict(self, latents: Tensor, group: list[Span]) -> Tensor:
        """Guided prediction of G windows of equal length: (G, W, C, H, W')."""
        noisy = torch.stack([latents[start:stop] for start, stop in group]).to(self.device, self.dtype)
        frames = torch.tensor([range(start, stop) for start, stop in group])  # (G, W)
        conditional = self._run(noisy, frames, null=False)
        if self.sampling.guidance == 1:
            return conditional
        return guide(conditional, self._run(noisy, frames, null=True), scale=self.sampling.guidance)

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
