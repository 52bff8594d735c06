"""Whisper's states and filters against transformers' own model and feature extractor."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

from megactor_core.models.audio import AUDIO_HZ, WhisperEncoder, log_mel

WIDTH = 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small random Whisper with tiny's four layers."""
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
    model = WhisperModel(config)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.normal_(std=(parameter[0].numel() if parameter.ndim > 1 else 25) ** -0.5)
    model.save_pretrained(tmp_path / "whisper")
    return tmp_path / "whisper"


@pytest.fixture
def encoder(folder: Path) -> WhisperEncoder:
    return WhisperEncoder.load(folder, edges="clamp")


def noise(seconds: float) -> np.ndarray:
    """Noise whose loudness wanders, so that no two seconds are alike."""
    time = np.arange(round(seconds * AUDIO_HZ)) / AUDIO_HZ
    envelope = 0.05 * (1.5 + np.sin(2 * np.pi * 0.31 * time))
    return (envelope * np.random.default_rng(0).standard_normal(len(time))).astype(np.float32)


@torch.no_grad()
def their_states(folder: Path, sound: np.ndarray) -> tuple[list[Tensor], Tensor]:
    """transformers' hidden states, the last one after the final LayerNorm, and what enters that norm."""
    model = WhisperModel.from_pretrained(folder, local_files_only=True).eval()
    entered: list[Tensor] = []
    model.encoder.layer_norm.register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    features = WhisperFeatureExtractor()(sound, sampling_rate=AUDIO_HZ, return_tensors="pt").input_features
    hidden = model.encoder(features, output_hidden_states=True).hidden_states
    return [state[0] for state in hidden], entered[-1][0]


def test_states_parity_with_transformers(folder: Path, encoder: WhisperEncoder) -> None:
    sound = noise(3)
    ours = encoder.states(sound)
    hidden, last = their_states(folder, sound)
    assert ours.shape == (150, 5, WIDTH)
    for layer in range(4):
        torch.testing.assert_close(ours[:, layer], hidden[layer][:150], rtol=0, atol=1e-5)
    torch.testing.assert_close(ours[:, 4], last[:150], rtol=0, atol=1e-5)
    assert (ours[:, 4] - hidden[4][:150]).abs().max() > 0.1  # the last state is before the LayerNorm


def test_encoder_is_frozen(encoder: WhisperEncoder) -> None:
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not any(module.training for module in encoder.encoder.modules())


def test_log_mel_parity_with_the_feature_extractor() -> None:
    """Whisper's features are ours before its floor, which is two below the clip's loudest value."""
    sound = noise(30)
    theirs = WhisperFeatureExtractor()(sound, sampling_rate=AUDIO_HZ, return_tensors="pt").input_features[0]
    ours = log_mel(sound)[:, :-1]
    torch.testing.assert_close(ours.clamp(min=ours.max().item() - 2), theirs, rtol=0, atol=1e-4)
    assert (ours > ours.max() - 2).float().mean() > 0.9


def test_log_mel_filters_parity() -> None:
    """Recomputed by NumPy's FFT and the extractor's filters at single frames."""
    sound = noise(1)
    padded, window = np.pad(sound, 200, mode="reflect"), np.hanning(401)[:-1]
    ours = log_mel(sound).numpy()
    for frame in (0, 37, 100):
        power = np.abs(np.fft.rfft(padded[160 * frame : 160 * frame + 400] * window)) ** 2
        expected = np.log10(np.maximum(WhisperFeatureExtractor().mel_filters.T @ power, 1e-8)) / 4 + 1
        np.testing.assert_allclose(ours[:, frame], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("seconds", [0.02, 0.5, 29.99, 30, 30.02])
def test_states_cover_the_sound_at_50_hz(encoder: WhisperEncoder, seconds: float) -> None:
    assert encoder.states(noise(seconds)).shape == (round(seconds * 50), 5, WIDTH)


@pytest.mark.parametrize("samples", [0, 1])
def test_shortest_sounds_give_one_step(encoder: WhisperEncoder, samples: int) -> None:
    states = encoder.states(np.zeros(samples, dtype=np.float32))
    assert states.shape == (1, 5, WIDTH)
    assert torch.isfinite(states).all()


def test_long_sounds_are_whole_and_each_step_has_context(encoder: WhisperEncoder) -> None:
    """65 s in chunks of 30 s that overlap by two: every step but the ends keeps a second on both sides."""
    sound = noise(65)
    states = encoder.states(sound)
    assert states.shape == (3250, 5, WIDTH)
    for start_s, first, last in ((0, 0, 1450), (28, 1450, 2850), (56, 2850, 3250)):
        direct = encoder.states(sound[start_s * AUDIO_HZ : (start_s + 30) * AUDIO_HZ])
        assert torch.equal(states[first:last], direct[first - 50 * start_s : last - 50 * start_s])


def test_track_reads_the_states_of_a_frame(encoder: WhisperEncoder) -> None:
    sound = noise(2)
    track = encoder.track(sound, video_fps=Fraction(25), frames=50)
    states = encoder.states(sound)
    tokens = track.tokens(torch.tensor([10]))[0]
    assert torch.equal(tokens, states[16:26].flatten(0, 1))
    assert track.index.shape == (50, 10)
    assert track.states.shape == (101, 5, WIDTH)


def test_sound_shorter_than_the_clip_repeats_its_end_or_is_zero(folder: Path) -> None:
    last = torch.tensor([49])
    clamp = WhisperEncoder.load(folder, edges="clamp").track(noise(0.5), video_fps=Fraction(25), frames=50)
    zeros = WhisperEncoder.load(folder, edges="zeros").track(noise(0.5), video_fps=Fraction(25), frames=50)
    assert torch.equal(clamp.tokens(last)[0, :5], clamp.states[24])
    assert zeros.tokens(last).abs().max() == 0


def test_bfloat16_states(folder: Path, encoder: WhisperEncoder) -> None:
    sound = noise(1)
    half = WhisperEncoder.load(folder, edges="clamp").bfloat16().states(sound)
    full = encoder.states(sound)
    assert half.dtype == torch.bfloat16
    assert 0 < (half.float() - full).norm() / full.norm() < 3e-2
