"""The counted work is what torch's FlopCounterMode counts over the real modules, to the last operation.

`paper` is built on the meta device, which has shapes and no numbers; the small sizes run on the CPU, whose
fused attention the counter does not know by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder as WhisperNetwork

from megactor_core.config.model import LATENT_STRIDE_PX, AutoencoderConfig, ModelConfig
from megactor_core.models.audio import AUDIO_HZ, LogMelEncoder, WhisperEncoder
from megactor_core.models.autoencoder import PatchAutoencoder
from megactor_core.models.flops import (
    count_audio_encoder,
    count_decode,
    count_denoiser,
    count_driven_encoder,
    count_encode,
    count_reference,
    count_reference_keys,
)
from megactor_core.models.masks import region_mask
from megactor_core.models.sigma import Sigma

aten = torch.ops.aten
FRAMES = 3
BRANCHES = ("audio_attention", "temporal")


def sdpa_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def counted(work: Callable[[], Any]) -> tuple[int, dict[str, int]]:
    """FLOPs of `work` in all, and of each module below the first one called."""
    fused = {aten._scaled_dot_product_flash_attention_for_cpu: sdpa_flops}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=fused) as counter:
        work()
    by_module = {name: sum(flops.values()) for name, flops in counter.get_flop_counts().items()}
    return counter.get_total_flops(), by_module


@dataclass(frozen=True)
class Work:
    """A model, and inputs of one window at a picture's side."""

    sigma: Sigma
    size_px: int
    device: str

    @property
    def config(self) -> ModelConfig:
        return self.sigma.config

    def zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, device=self.device)

    def time(self) -> Tensor:
        return torch.zeros(1, dtype=torch.long, device=self.device)

    def latent(self) -> Tensor:
        side = self.size_px // LATENT_STRIDE_PX
        return self.zeros(1, self.config.latent_channels, side, side)

    def reference(self) -> list[Tensor]:
        return self.sigma.reference(self.latent(), self.time())

    def reference_states(self) -> list[Tensor]:
        """States of the right shape without the work of the Reference Transformer."""
        tokens = (self.size_px // 16) ** 2
        readers = self.config.depth - self.config.reference_start
        return [self.zeros(1, tokens, self.config.hidden)] * readers

    def denoiser(self, *, reference: bool, mask: bool = False) -> Tensor:
        config, side = self.config, self.size_px // LATENT_STRIDE_PX
        states = self.reference_states()
        regions = torch.zeros(FRAMES, (self.size_px // 16) ** 2, dtype=torch.bool, device=self.device)
        return self.sigma.denoiser(
            self.latent()[:, None].expand(-1, FRAMES, -1, -1, -1),
            self.time(),
            motion=self.zeros(1, FRAMES, config.driven.out_channels, side, side),
            audio=self.zeros(1, FRAMES, config.audio.tokens, config.audio.width),
            reference=self.sigma.denoiser.reference_keys(states) if reference else None,
            mask=region_mask(mouth=regions, eyes=regions, mode="paper") if mask else None,
        )


def built(config: ModelConfig, *, device: str = "cpu", size_px: int | None = None) -> Work:
    with torch.device(device):
        sigma = Sigma(config).eval()
    return Work(sigma, size_px or config.native_px, device)


@pytest.fixture(params=["nano", "tiny", "small", "paper"], scope="module")
def work(request: pytest.FixtureRequest) -> Work:
    device = "meta" if request.param == "paper" else "cpu"
    return built(ModelConfig.preset(request.param), device=device)


def branch_flops(by_module: dict[str, int], branch: str) -> int:
    return sum(flops for name, flops in by_module.items() if name.endswith(f".{branch}"))


def assert_denoiser_counts(work: Work) -> None:
    """Every part, with and without the reference."""
    keys, _ = counted(lambda: work.sigma.denoiser.reference_keys(work.reference_states()))
    alone, by_module = counted(lambda: work.denoiser(reference=False))
    joined, _ = counted(lambda: work.denoiser(reference=True))
    audio, temporal = (branch_flops(by_module, branch) for branch in BRANCHES)
    assert min(audio, temporal) > 0
    assert count_denoiser(work.config, frames=FRAMES, size_px=work.size_px) == {
        "spatial": alone - audio - temporal,
        "reference attention": joined - keys - alone,
        "audio attention": audio,
        "temporal": temporal,
    }
    without = count_denoiser(work.config, frames=FRAMES, size_px=work.size_px, reference=False)
    assert sum(without.values()) == alone
    assert keys == count_reference_keys(work.config, size_px=work.size_px)


def test_parity_of_the_denoiser(work: Work) -> None:
    assert_denoiser_counts(work)


def test_parity_of_the_reference(work: Work) -> None:
    flops, _ = counted(work.reference)
    assert flops == count_reference(work.config, size_px=work.size_px)


def test_parity_of_the_driven_encoder(work: Work) -> None:
    driving = work.zeros(FRAMES, 3, work.size_px, work.size_px)
    flops, _ = counted(lambda: work.sigma.driven_encoder(driving))
    assert flops == count_driven_encoder(work.config, pictures=FRAMES, size_px=work.size_px)


@pytest.mark.parametrize(
    "changes",
    [
        {"audio": {"inner_width": 32}},
        {"audio": {"prenorm": True, "learned_positions": True}},
        {"temporal": {"grid": 1}},
        {"temporal": {"norm": "layer", "attentions": 1, "place": "after-block"}},
        {"reference": {"start_block": 1}},
        {"diffusion": {"learned_variance": False}},
        {"driven": {"out_channels": 7}},
        {"mlp_ratio": 2},
    ],
    ids=str,
)
def test_parity_of_every_choice(nano: ModelConfig, changes: dict[str, Any]) -> None:
    assert_denoiser_counts(built(nano.updated(**changes), size_px=96))


def test_parity_with_the_mask(nano: ModelConfig) -> None:
    """Eq. 2 leaves the products as they are."""
    work = built(nano)
    plain, _ = counted(lambda: work.denoiser(reference=True))
    assert counted(lambda: work.denoiser(reference=True, mask=True))[0] == plain


@pytest.mark.parametrize("name", ["nano", "tiny", "small"])
def test_parity_of_the_patch_autoencoder(name: str) -> None:
    config = ModelConfig.preset(name).autoencoder
    network = PatchAutoencoder(config)
    assert_autoencoder_counts(network, config, size_px=96, device="cpu")


def test_parity_of_stable_diffusions_autoencoder() -> None:
    config = AutoencoderConfig()
    with torch.device("meta"):
        network = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
            sample_size=512,
        )
    assert sum(parameter.numel() for parameter in network.parameters()) == 83_653_863
    assert_autoencoder_counts(network, config, size_px=512, device="meta")


def assert_autoencoder_counts(network: Any, config: AutoencoderConfig, *, size_px: int, device: str) -> None:
    latent_px = size_px // LATENT_STRIDE_PX
    pictures = torch.zeros(2, 3, size_px, size_px, device=device)
    latents = torch.zeros(2, config.latent_channels, latent_px, latent_px, device=device)
    assert counted(lambda: network.encode(pictures))[0] == count_encode(config, pictures=2, size_px=size_px)
    assert counted(lambda: network.decode(latents))[0] == count_decode(config, pictures=2, size_px=size_px)


@pytest.mark.parametrize("name", ["nano", "tiny", "small"])
def test_parity_of_the_log_mel_encoder(name: str) -> None:
    config = ModelConfig.preset(name)
    encoder = LogMelEncoder(config)
    windows = torch.zeros(FRAMES, 80, encoder.window)
    flops, _ = counted(lambda: encoder(windows))
    assert flops == count_audio_encoder(config, frames=FRAMES, sound_seconds=FRAMES / 25)


def whisper_tiny() -> nn.Module:
    """Whisper tiny's encoder in the published shape, random weights."""
    shape = WhisperConfig(
        d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536, num_mel_bins=80
    )
    return WhisperNetwork(shape)


def test_parity_of_whisper() -> None:
    with torch.device("meta"):
        encoder = whisper_tiny()
    features = torch.zeros(1, 80, 3000, device="meta")
    flops, _ = counted(lambda: encoder(features))
    assert flops == count_audio_encoder(ModelConfig(), frames=100, sound_seconds=4)


@pytest.mark.parametrize("seconds", [0.1, 30.0, 30.004, 30.02, 58.0, 58.02, 300.0])
def test_parity_of_whispers_chunks(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    chunks: list[int] = []

    def one_chunk(encoder: WhisperEncoder, sound: np.ndarray) -> Tensor:
        chunks.append(len(sound))
        return torch.zeros(1500, 5, 384)

    monkeypatch.setattr(WhisperEncoder, "_chunk_states", one_chunk)
    with torch.device("meta"):
        encoder = WhisperEncoder(whisper_tiny(), edges="clamp")
    encoder.track(np.zeros(round(seconds * AUDIO_HZ), np.float32), video_fps=Fraction(25), frames=2)
    one = count_audio_encoder(ModelConfig(), frames=2, sound_seconds=1.0)
    assert count_audio_encoder(ModelConfig(), frames=2, sound_seconds=seconds) == len(chunks) * one
