"""How long `animate` takes here: counted work over what this machine's matrix products reach, measured now.

A clip's steps are counted one by one, with the windows that they have (animation.windows). The share of that
pace that the model reaches was measured on a CPU (`python tests/benchmarks/peak_share.py`); no GPU has been
measured, so there it is assumed.
"""

from collections import Counter
from dataclasses import dataclass

import torch

from megactor_core.animation.denoise import Sampling
from megactor_core.animation.timeline import output_frames
from megactor_core.animation.windows import step_windows
from megactor_core.config.animate import AnimateConfig
from megactor_core.config.model import ModelConfig
from megactor_core.models.flops import count_clip, count_denoiser, count_reference, count_reference_keys
from megactor_core.training.throughput import measure_peak


@dataclass(frozen=True, slots=True)
class Share:
    """Of the pace of matrix products: what denoising, decoding and training reach."""

    denoiser: float
    decoder: float
    training: float


CPU_SHARES = {
    "float32": Share(denoiser=0.9, decoder=1.0, training=0.8),
    "bfloat16": Share(denoiser=0.8, decoder=1.0, training=0.8),
}
"""Measured, by the denoiser's type; but training was in float32 only (docs/training.md). The decoder is in
float32 always, and its convolutions need not be slower than the square product that is the measure."""
GPU_SHARE = Share(denoiser=0.6, decoder=0.6, training=0.6)
"""Not measured: what this project aims at."""


@dataclass(frozen=True, slots=True)
class ClipWork:
    """FLOPs of one clip: `denoising` all its steps, `decoding` its frames, `once` what encodes its inputs."""

    denoising: int
    decoding: int
    once: int

    @property
    def total(self) -> int:
        return self.denoising + self.decoding + self.once


@dataclass(frozen=True, slots=True)
class Pace:
    """FLOPs a second of large matrix products: in the denoiser's type, and in the decoder's, float32."""

    denoiser: float
    decoder: float
    share: Share

    def seconds(self, work: ClipWork) -> float:
        """What a clip takes."""
        others = (work.denoising + work.once) / (self.denoiser * self.share.denoiser)
        return others + work.decoding / (self.decoder * self.share.decoder)


def count_work(config: ModelConfig, settings: AnimateConfig, *, seconds: float) -> ClipWork:
    """The work of a clip of `seconds` that a video of its length and its sound drive."""
    size_px = settings.size or config.native_px
    frames = output_frames(seconds, video_fps=settings.fps)
    once = count_clip(config, frames=frames, driving_frames=frames, sound_seconds=seconds, size_px=size_px)
    decoding = once.pop("decode")
    denoising = _count_denoising(config, settings, frames=frames, size_px=size_px)
    return ClipWork(denoising=denoising, decoding=decoding, once=sum(once.values()))


def _count_denoising(config: ModelConfig, settings: AnimateConfig, *, frames: int, size_px: int) -> int:
    sampling = Sampling.of(settings, config)
    lengths = Counter(
        stop - start
        for step in range(sampling.steps)
        for start, stop in step_windows(frames, sampling.window, step=step)
    )
    branches = (True,) if sampling.guidance == 1 else (True, False)
    windows = sum(
        count * sum(count_denoiser(config, frames=length, size_px=size_px, reference=branch).values())
        for length, count in lengths.items()
        for branch in branches
    )
    reference = count_reference(config, size_px=size_px) + count_reference_keys(config, size_px=size_px)
    runs = 1 if config.reference.timestep == "zero" else sampling.steps
    return windows + runs * reference


def measure_pace(device: str, dtype: str) -> Pace | None:
    """The pace of a device; None where it cannot be measured, as on a device without memory left."""
    try:
        where = torch.device(device)
        return Pace(
            denoiser=measure_peak(where, getattr(torch, dtype)),
            decoder=measure_peak(where, torch.float32),
            share=CPU_SHARES[dtype] if where.type == "cpu" else GPU_SHARE,
        )
    except RuntimeError:
        return None
