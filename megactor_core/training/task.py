"""What one run trains, apart from how: a network, its parameters, its loss, and what comes out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from megactor_core.config.train import TrainConfig
from megactor_core.diffusion.loss import Losses
from megactor_core.training.network import TrainedNetwork
from megactor_core.training.objective import Objective
from megactor_core.training.stages import STAGES
from megactor_core.training.start import Model
from megactor_core.training.work import count_sample


@dataclass(frozen=True, slots=True)
class Task:
    """`objective(network, batch)` gives a batch's losses (B,), `network` being perhaps what distributes it.

    `finish` gives the model to keep, once the parameters have their last values.
    """

    network: nn.Module
    parameters: Mapping[str, nn.Parameter]
    objective: Callable[[Callable[..., Tensor], Any], Losses]
    finish: Callable[[], Model]
    sample_flops: int
    """Work of one sample, forward and backward."""


def stage_task(
    config: TrainConfig, model: Model, *, device: torch.device, holds_latents: bool = True
) -> Task:
    """One of the paper's stages."""
    stage = STAGES[config.stage_number]
    network = TrainedNetwork(model.sigma, model.audio_encoder, stage=stage)
    parameters = network.freeze_the_rest()
    model.sigma.denoiser.recompute = model.sigma.reference.recompute = config.gradient_checkpointing
    if config.compile:
        for block in model.sigma.denoiser.blocks:
            block.compile()
    objective = Objective(config, model.config, autoencoder=model.autoencoder, device=device)
    work = count_sample(
        model.config,
        stage,
        frames=config.draw.target_frames,
        times=config.draw.frames_per_reference,
        holds_latents=holds_latents,
    )
    return Task(network, parameters, objective, finish=lambda: model, sample_flops=work.total)
