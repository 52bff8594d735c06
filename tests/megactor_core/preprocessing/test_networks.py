"""Sound features and latents: what a sample stores is what the networks give for its own sound and video."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from transformers import WhisperConfig, WhisperModel

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.data.sample import Sample, read_index
from megactor_core.errors import WeightsError
from megactor_core.models.audio import WhisperEncoder, log_mel
from megactor_core.models.autoencoder import Autoencoder, load_kl
from megactor_core.models.checkpoint import init_checkpoint, load_checkpoint
from megactor_core.preprocessing.preprocess import preprocess

WIDTH = 32
Run = Callable[..., Sample]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, make_clip: Callable[..., Path]) -> Path:
    return make_clip(tmp_path_factory.mktemp("networks") / "a.mp4").parent


@pytest.fixture
def run(clip: Path, tmp_path: Path, config_for: Callable[..., PreprocessConfig]) -> Run:
    """Preprocesses the clip with some settings."""

    def run(**changes: Any) -> Sample:
        preprocess(config_for(clip, tmp_path / "out", **changes))
        (row,) = read_index(tmp_path / "out")
        assert row.reason is None
        assert row.audio_features == changes.get("audio_features", "log-mel")
        assert row.has_latents == changes.get("latents", False)
        return Sample.open(tmp_path / "out" / str(row.path))

    return run


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random Whisper with tiny's four layers."""
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=WIDTH,
        encoder_layers=4,
        encoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=64,
        vocab_size=16,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        begin_suppress_tokens=None,
    )
    folder = tmp_path_factory.mktemp("whisper")
    WhisperModel(config).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def kl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random AutoencoderKL with stride 8."""
    torch.manual_seed(0)
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
    )
    folder = tmp_path_factory.mktemp("kl")
    model.save_pretrained(folder, safe_serialization=True)
    return folder


def test_log_mel_is_that_of_the_samples_own_sound(run: Run) -> None:
    sample = run()
    expected = log_mel(sample.sound()).to(torch.float16).numpy()
    np.testing.assert_allclose(sample.log_mel, expected, atol=2e-3)
    assert sample.log_mel.dtype == np.float16


def test_whisper_states_are_those_of_the_samples_own_sound(run: Run, whisper: Path) -> None:
    sample = run(audio_features="whisper", whisper=str(whisper))
    expected = WhisperEncoder.load(whisper, edges="clamp").states(sample.sound())
    assert sample.whisper_states.shape == (round(sample.facts.seconds * 50), 5, WIDTH)
    np.testing.assert_allclose(sample.whisper_states, expected.numpy(), rtol=2e-3, atol=2e-3)


def pictures_of(sample: Sample) -> torch.Tensor:
    frames = torch.from_numpy(sample.read_frames(range(sample.frames)))
    return frames.permute(0, 3, 1, 2).float() / 255


def test_latents_are_the_unscaled_moments_of_the_stored_video(run: Run, kl: Path) -> None:
    sample = run(latents=True, autoencoder=str(kl))
    mean, logvar = sample.latents(range(sample.frames))
    network = Autoencoder(load_kl(kl), scaling_factor=0.5)
    expected_mean, expected_logvar = network.moments(pictures_of(sample))
    assert mean.shape == (sample.frames, 4, 8, 8)
    np.testing.assert_allclose(mean, expected_mean.numpy(), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(logvar, expected_logvar.numpy(), rtol=2e-3, atol=2e-3)
    scaled = network.encode(pictures_of(sample))
    np.testing.assert_allclose(mean * 0.5, scaled.numpy(), rtol=2e-3, atol=2e-3)


def test_a_checkpoints_own_autoencoder_has_no_variance(run: Run, tmp_path: Path) -> None:
    init_checkpoint(tmp_path / "nano", preset="nano", seed=0)
    sample = run(latents=True, autoencoder=str(tmp_path / "nano"))
    mean, logvar = sample.latents(range(sample.frames))
    checkpoint = load_checkpoint(tmp_path / "nano")
    factor = checkpoint.config.autoencoder.scaling_factor
    expected = checkpoint.autoencoder.encode(pictures_of(sample)) / factor
    np.testing.assert_allclose(mean, expected.numpy(), rtol=2e-3, atol=2e-3)
    assert (logvar == -30).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"audio_features": "whisper"}, "megactor weights pull whisper-tiny"),
        ({"latents": True}, "megactor weights pull sd-vae-ft-mse"),
        ({"latents": True, "autoencoder": "sd-vae-ft-ms"}, "did you mean 'sd-vae-ft-mse'"),
    ],
)
def test_missing_weights_are_said_before_anything_is_written(
    clip: Path, tmp_path: Path, config_for, monkeypatch: pytest.MonkeyPatch, changes: dict, message: str
) -> None:
    monkeypatch.setattr("megactor_core.preprocessing.preprocess.prepare", lambda *_, **__: None)
    monkeypatch.setenv("MEGACTOR_CACHE", str(tmp_path / "cache"))
    with pytest.raises(WeightsError, match=message):
        preprocess(config_for(clip, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_other_weights_under_the_same_name_compute_the_samples_anew(
    run: Run, clip: Path, tmp_path: Path, config_for, kl: Path
) -> None:
    weights = tmp_path / "vae"
    weights.mkdir()
    for path in kl.iterdir():
        (weights / path.name).write_bytes(path.read_bytes())
    before = run(latents=True, autoencoder=str(weights)).latents([0])[0]
    network = load_kl(weights)
    tensors = {name: value * 1.5 for name, value in network.state_dict().items()}
    save_file(tensors, weights / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    report = preprocess(config_for(clip, tmp_path / "out", latents=True, autoencoder=str(weights)))
    assert report.computed == 1
    (row,) = read_index(tmp_path / "out")
    after = Sample.open(tmp_path / "out" / str(row.path)).latents([0])[0]
    assert np.abs(after - before).max() > 0.01
