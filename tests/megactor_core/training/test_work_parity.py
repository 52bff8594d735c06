"""The counted work of a sample is what torch's FlopCounterMode counts over a real step, exactly."""

from collections.abc import Callable

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from megactor_core.config.model import ModelConfig
from megactor_core.config.train import TrainConfig
from megactor_core.models.audio import LogMelEncoder
from megactor_core.models.autoencoder import Autoencoder, PatchAutoencoder
from megactor_core.models.checkpoint import CheckpointInfo
from megactor_core.models.sigma import Sigma
from megactor_core.training.autoencoder import Reconstruction
from megactor_core.training.stages import STAGES
from megactor_core.training.start import Model
from megactor_core.training.task import stage_task
from megactor_core.training.work import count_picture, count_sample

SAMPLES = 2


def counted(step: Callable[[], torch.Tensor]) -> tuple[int, int]:
    """FLOPs of a loss and of its gradient; attention as its plain products, which the counter knows."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss = step()
        forward = counter.get_total_flops()
        loss.backward()
    return forward, counter.get_total_flops() - forward


def model_of(config: ModelConfig) -> Model:
    return Model(
        info=CheckpointInfo(name="nano", trained=False, model=config),
        sigma=Sigma(config),
        autoencoder=Autoencoder(PatchAutoencoder(config.autoencoder), scaling_factor=1.0),
        audio_encoder=LogMelEncoder(config),
    )


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temporal": {"place": "after-block", "grid": 1}},
        {"audio": {"inner_width": 32}, "temporal": {"norm": "layer"}},
    ],
)
def test_a_step_of_a_stage(stage: int, changes: dict, fake_source) -> None:
    settings = {"stage": stage, "draw": {"clip_frames": 4 if stage == 3 else 1}}
    train_config = TrainConfig.build({**settings, "preset": "nano", "model": changes}, source="test")
    config = train_config.model
    task = stage_task(train_config, model_of(config), device=torch.device("cpu"))
    batch = fake_source(stage=stage).batch(range(SAMPLES))
    forward, backward = counted(lambda: task.objective(task.network, batch).loss.mean())
    work = count_sample(config, STAGES[stage], frames=batch.driving.shape[1], holds_latents=True)
    assert (SAMPLES * work.forward, SAMPLES * work.backward) == (forward, backward)
    assert work.encode == 0


def test_a_step_on_frames_that_share_a_reference(fake_source) -> None:
    settings = {"stage": 1, "preset": "nano", "model": {"reference": {"timestep": "zero"}}}
    train_config = TrainConfig.build({**settings, "draw": {"frames_per_reference": 3}}, source="test")
    task = stage_task(train_config, model_of(train_config.model), device=torch.device("cpu"))
    batch = fake_source(frames=3).batch(range(SAMPLES))
    forward, backward = counted(lambda: task.objective(task.network, batch).loss.mean())
    assert SAMPLES * task.sample_flops == forward + backward


def test_frozen_layers_cost_no_gradient() -> None:
    """Of the paper's model; the plain rule of thumb would be twice the forward pass for every stage."""
    config = ModelConfig.preset("paper")
    works = [count_sample(config, STAGES[i], frames=1, holds_latents=True) for i in (1, 2)]
    clip = count_sample(config, STAGES[3], frames=16, holds_latents=True)
    assert [work.backward / work.forward for work in works] == pytest.approx([2, 2], abs=0.01)
    assert clip.backward / clip.forward == pytest.approx(1.416, abs=1e-3)
    assert [round(work.total / 1e12, 1) for work in (*works, clip)] == [6.7, 7.2, 85.2]


def test_pictures_are_encoded_where_the_data_hold_no_latents() -> None:
    config = ModelConfig.preset("paper")
    stored, pictures = (
        count_sample(config, STAGES[1], frames=1, holds_latents=holds) for holds in (True, False)
    )
    assert (stored.forward, stored.backward) == (pictures.forward, pictures.backward)
    assert pictures.total / stored.total == pytest.approx(1.334, abs=1e-3)


def test_a_step_of_the_autoencoder() -> None:
    config = ModelConfig.preset("tiny")
    network = Reconstruction(PatchAutoencoder(config.autoencoder))
    pictures = torch.zeros(SAMPLES, 3, config.native_px, config.native_px)
    noise = torch.zeros(SAMPLES, config.latent_channels, config.native_px // 8, config.native_px // 8)
    forward, backward = counted(lambda: network(pictures, noise).sum())
    work = count_picture(config.autoencoder, size_px=config.native_px)
    assert (SAMPLES * work.forward, SAMPLES * work.backward) == (forward, backward)
