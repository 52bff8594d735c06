"""Guidance, and noise that belongs to a frame.

Shape legend:  B clips   F frames   C latent channels   H, W latent height and width
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


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
