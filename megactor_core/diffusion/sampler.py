"""DPM-Solver++ through diffusers, guidance, and noise that belongs to a frame.

Shape legend:  B clips   F frames   C latent channels   H, W latent height and width
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from megactor_core.config.model import DiffusionConfig


def make_solver(config: DiffusionConfig, *, steps: int) -> Any:
    """DPM-Solver++(2M) with `timesteps` set, for latents of any shape (PixArt-alpha's sampler).

    The variance half of the output must be cut off before `step` (see `split_prediction`): the library's own
    learned-variance mode slices three channels, as for RGB.
    """
    from diffusers import DPMSolverMultistepScheduler

    solver = DPMSolverMultistepScheduler(
        num_train_timesteps=config.train_steps,
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        beta_schedule="linear",
        prediction_type="epsilon" if config.prediction == "eps" else "v_prediction",
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        lower_order_final=True,
        timestep_spacing="linspace",
    )
    solver.set_timesteps(steps)
    return solver


def split_prediction(output: Tensor, *, channels: int) -> Tensor:
    """The predicted noise or velocity of a model output (B, F, C or 2 C, H, W): (B, F, C, H, W)."""
    return output[:, :, :channels]


def guide(conditional: Tensor, null: Tensor, *, scale: float) -> Tensor:
    """Classifier-free guidance: null + scale * (conditional - null)."""
    return null + scale * (conditional - null)


def frame_noise(frames: Iterable[int], shape: tuple[int, ...], *, seed: int) -> Tensor:
    """Standard normal noise (F, *shape) float32 that depends on the seed and each frame's number only.

    Counter-based, so a frame's noise is the same whatever the batching, the device and the clip's length.
    """
    noise = [
        np.random.Generator(np.random.Philox(key=[seed, frame])).standard_normal(shape, dtype=np.float32)
        for frame in frames
    ]
    return torch.from_numpy(np.stack(noise))
