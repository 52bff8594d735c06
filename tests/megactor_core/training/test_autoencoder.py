"""The small autoencoder: its linear start is the best there is, training improves on it, stage 1 takes it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange

from megactor_core.config.model import ModelConfig
from megactor_core.config.train import AutoencoderTrainingConfig, TrainConfig
from megactor_core.errors import ConfigError
from megactor_core.models.checkpoint import load_checkpoint
from megactor_core.training.autoencoder import FrameBatch, fit_linear_path, new_autoencoder
from megactor_core.training.train import train

SIDE = 64


class Waves:
    """Pictures of a few coloured waves over an off-grey ground."""

    holds_latents = True
    fingerprint = "waves"

    def batch(self, numbers: Sequence[int]) -> FrameBatch:
        pictures = torch.stack([self._picture(number) for number in numbers])
        face = torch.zeros(len(pictures), 1, SIDE, SIDE, dtype=torch.bool)
        face[..., 16:32, 16:48] = True
        return FrameBatch(torch.tensor(list(numbers)), pictures, face)

    def _picture(self, number: int) -> torch.Tensor:
        rng = np.random.default_rng(number)
        y, x = np.mgrid[:SIDE, :SIDE] / SIDE
        picture = np.full((3, SIDE, SIDE), -0.2) + np.array([0.1, 0.0, -0.1])[:, None, None]
        for _ in range(4):
            u, v, phase = rng.uniform(0, 12), rng.uniform(0, 12), rng.uniform(0, 6.3)
            picture += rng.uniform(0, 0.2, (3, 1, 1)) * np.cos(2 * np.pi * (u * x + v * y) + phase)
        return torch.from_numpy(picture.astype(np.float32)).clamp(-1, 1)


def config_of(tmp_path: Path, **changes) -> TrainConfig:
    values = {"stage": "autoencoder", "preset": "nano", "steps": 16, "batch_size": 8, "workers": 0}
    values |= {"learning_rate": 3e-3, "checkpoint_every": 16, "device": "cpu", "output": tmp_path / "run"}
    values |= {"ema": {"decay": 0.5}, "autoencoder": {"fit_frames": 32}}
    return TrainConfig.build({**values, **changes}, source="test")


def squared_error(checkpoint: Path) -> float:
    autoencoder = load_checkpoint(checkpoint).autoencoder
    pictures = Waves().batch(range(1000, 1032)).pictures / 2 + 0.5
    return float(((autoencoder.decode(autoencoder.encode(pictures)) - pictures) ** 2).mean())


def test_the_linear_start_is_the_best_linear_code(tmp_path) -> None:
    model = new_autoencoder(config_of(tmp_path))
    fit_linear_path(model, Waves(), AutoencoderTrainingConfig(fit_frames=64))
    network = model.autoencoder.network
    pictures = Waves().batch(range(64)).pictures
    latents = network.encode(pictures)
    assert latents.mean(dim=(0, 2, 3)).abs().max() < 0.05  # the mean is one value a colour
    torch.testing.assert_close(latents.var(dim=(0, 2, 3)), torch.ones(4), rtol=1e-2, atol=1e-2)
    blocks = rearrange(pictures, "b c (h p) (w q) -> (b h w) (c p q)", p=8, q=8).double()
    least = torch.linalg.eigvalsh((blocks - blocks.mean(0)).T @ (blocks - blocks.mean(0)) / len(blocks))
    error = float(((network.decode(latents) - pictures) ** 2).mean())
    assert error == pytest.approx(float(least[:-4].sum()) / 192, rel=0.01)


def test_training_improves_on_it_and_measures_the_scale(tmp_path) -> None:
    report = train(config_of(tmp_path), source=Waves())
    assert squared_error(report.checkpoint) < 0.9 * squared_error(tmp_path / "run" / "checkpoints" / "start")
    checkpoint = load_checkpoint(report.checkpoint)
    assert (checkpoint.info.name, checkpoint.info.trained, checkpoint.info.stage) == (
        "nano-autoencoder",
        False,
        0,
    )
    latents = checkpoint.autoencoder.encode(Waves().batch(range(32)).pictures / 2 + 0.5)
    assert float(latents.std()) == pytest.approx(1, abs=1e-3)
    assert checkpoint.config.autoencoder.scaling_factor != 1


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(tmp_path) -> None:
    class Killed(BaseException):
        pass

    def on_progress(phase: str, done: int, total: int) -> None:
        if done == 3:
            raise Killed

    settings = {"steps": 4, "checkpoint_every": 2, "batch_size": 2}
    whole = train(config_of(tmp_path, output=tmp_path / "whole", **settings), source=Waves())
    config = config_of(tmp_path, **settings)
    with pytest.raises(Killed):
        train(config, source=Waves(), on_progress=on_progress)
    report = train(config.updated(resume=True), source=Waves())
    names = ("autoencoder.safetensors", "sigma.safetensors", "config.json")
    assert all((whole.checkpoint / n).read_bytes() == (report.checkpoint / n).read_bytes() for n in names)


def test_stage_1_takes_the_autoencoder_and_its_scale(tmp_path, monkeypatch, fake_source) -> None:
    monkeypatch.chdir(tmp_path)
    report = train(config_of(tmp_path, output=None, steps=2), source=Waves())
    assert report.checkpoint == Path("runs/autoencoder/final")
    values = {"stage": 1, "preset": "nano", "steps": 1, "workers": 0, "device": "cpu"}
    first = load_checkpoint(train(TrainConfig.build(values, source="t"), source=fake_source()).checkpoint)
    trained = load_checkpoint(report.checkpoint)
    assert first.config.autoencoder == trained.config.autoencoder
    for name, value in trained.autoencoder.state_dict().items():
        assert value.equal(first.autoencoder.state_dict()[name])


def test_a_public_autoencoder_is_not_trained(tmp_path) -> None:
    with pytest.raises(ConfigError, match="'sd-vae-ft-mse', which is not trained"):
        train(config_of(tmp_path, preset="paper"), source=Waves())
    assert ModelConfig.preset("paper").autoencoder.kind == "kl"
