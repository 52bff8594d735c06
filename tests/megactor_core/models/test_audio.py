"""Which sound belongs to which frame, and audio attention's open choices."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from megactor_core.config.model import ModelConfig
from megactor_core.models.audio import (
    AUDIO_HZ,
    AudioAttention,
    AudioTrack,
    LogMelEncoder,
    log_mel,
    mel_windows,
    whisper_steps,
    with_zero_state,
)

Randomise = Callable[[nn.Module], Any]
FPS_25 = Fraction(25)
FRAME_RATES = [Fraction(24), Fraction(25), Fraction(30_000, 1001), Fraction(30), Fraction(60)]


def noise(seconds: float, *, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (0.1 * generator.standard_normal(round(seconds * AUDIO_HZ))).astype(np.float32)


# Whisper's steps


def test_whisper_steps_of_a_frame_at_25_fps() -> None:
    index = whisper_steps(12, video_fps=FPS_25, steps=1000, edges="clamp")
    assert index.shape == (12, 10)
    assert index[10].tolist() == list(range(16, 26))


def test_whisper_steps_at_the_edges() -> None:
    clamp = whisper_steps(10, video_fps=Fraction(30), steps=12, edges="clamp")
    zeros = whisper_steps(10, video_fps=Fraction(30), steps=12, edges="zeros")
    assert clamp[1].tolist() == [0, 0, 0, 0, 1, 2, 3, 4, 5, 6]  # -3 ... 6
    assert zeros[1].tolist() == [-1, -1, -1, 0, 1, 2, 3, 4, 5, 6]
    assert clamp[9].tolist() == [11 if step > 11 else step for step in range(11, 21)]
    assert zeros[9].tolist() == [11] + [-1] * 9


@given(video_fps=st.sampled_from(FRAME_RATES), frames=st.integers(1, 4000))
def test_whisper_steps_do_not_drift(video_fps: Fraction, frames: int) -> None:
    """The centre is within one step (20 ms) of the frame's time, also after minutes at 29.97 fps."""
    last = whisper_steps(frames, video_fps=video_fps, steps=10**9, edges="zeros")[-1]
    late = Fraction(frames - 1) / video_fps * 50 - int(last[4])
    assert 0 <= late < 1


def test_whisper_steps_at_ntsc_rate() -> None:
    index = whisper_steps(1801, video_fps=Fraction(30_000, 1001), steps=10**6, edges="clamp")
    assert index[1, 4] == 1  # 1.668
    assert index[30, 4] == 50  # 50.05: one second and a millisecond
    assert index[1800, 4] == 3003  # one minute: 3000 would be the error of taking it for 30 fps


# Tracks


def test_track_tokens_are_time_major_and_layer_minor() -> None:
    """50 tokens of width 384: ten steps, five states each."""
    steps, layers, width = 40, 5, 384
    states = (torch.arange(steps)[:, None] * 10.0 + torch.arange(layers))[..., None].expand(-1, -1, width)
    index = whisper_steps(15, video_fps=FPS_25, steps=steps, edges="clamp")
    tokens = AudioTrack(with_zero_state(states), index).tokens(torch.tensor([10, 0]))
    assert tokens.shape == (2, 50, width)
    assert tokens[0, :, 0].tolist() == [10 * step + layer for step in range(16, 26) for layer in range(5)]
    assert tokens[1, :5, 0].tolist() == [0, 1, 2, 3, 4]


def test_missing_steps_read_the_zero_state() -> None:
    states = with_zero_state(torch.ones(20, 5, 8))
    index = whisper_steps(2, video_fps=FPS_25, steps=20, edges="zeros")
    tokens = AudioTrack(states, index).tokens(torch.tensor([0]))[0].unflatten(0, (10, 5))
    assert tokens[:4].abs().max() == 0
    assert (tokens[4:] == 1).all()


# Log-mel


def test_silence_is_minus_one() -> None:
    assert (log_mel(np.zeros(AUDIO_HZ, dtype=np.float32)) == -1).all()


def test_scale_is_fixed() -> None:
    """Doubling the amplitude adds log10(4) / 4 everywhere above the floor, whatever the rest of the sound."""
    sound = noise(1)
    shift = log_mel(2 * sound) - log_mel(sound)
    torch.testing.assert_close(shift, torch.full_like(shift, np.log10(4) / 4), rtol=0, atol=1e-4)


def test_log_mel_runs_at_100_hz_and_follows_pitch() -> None:
    time = np.arange(AUDIO_HZ) / AUDIO_HZ
    low, high = (log_mel(0.5 * np.sin(2 * np.pi * hz * time)) for hz in (200.0, 4000.0))
    assert low.shape == (80, 101)
    assert low.dtype == torch.float32
    assert low[:, 50].argmax() < 10 < 50 < high[:, 50].argmax()


def test_frames_hear_their_own_moment_only() -> None:
    before, after = noise(4), noise(4)
    after[3 * AUDIO_HZ :] = 0
    frames = torch.arange(100)
    windows = [mel_windows(log_mel(s), frames, video_fps=FPS_25, length=24) for s in (before, after)]
    changed = (windows[0] != windows[1]).flatten(1).any(1)
    # windows reach 12 mel frames ahead, and a mel frame hears 12.5 ms to each side
    assert changed.nonzero()[0].item() == pytest.approx(75 - 3, abs=1)
    assert changed[75:].all()


@pytest.mark.parametrize("video_fps", FRAME_RATES)
def test_windows_are_centred_on_the_middle_of_the_frame(video_fps: Fraction) -> None:
    """A click in the middle of a frame lies in the middle of that frame's window."""
    frame = 20
    sound = np.zeros(2 * AUDIO_HZ, dtype=np.float32)
    sound[round((frame + 0.5) / video_fps * AUDIO_HZ)] = 1.0
    window = mel_windows(log_mel(sound), torch.tensor([frame]), video_fps=video_fps, length=24)[0]
    loud = (window.max(dim=0).values > -1).nonzero().flatten().float()
    assert loud.mean().item() == pytest.approx(12, abs=1)


def test_windows_beyond_the_sound_are_silent() -> None:
    mel = torch.arange(8.0).expand(3, 8)
    windows = mel_windows(mel, torch.tensor([0, 1, 9]), video_fps=FPS_25, length=6)
    assert windows.shape == (3, 3, 6)
    assert windows[0, 0].tolist() == [-1, 0, 1, 2, 3, 4]  # centre 2: mel frames -1 ... 4
    assert windows[1, 0].tolist() == [3, 4, 5, 6, 7, -1]  # centre 6
    assert (windows[2] == -1).all()


# The trained encoder


def encoder_of(config: ModelConfig) -> LogMelEncoder:
    return LogMelEncoder(config).eval()


@torch.no_grad()
def test_log_mel_track_does_not_depend_on_the_batch(nano: ModelConfig) -> None:
    encoder, sound, frames = encoder_of(nano), noise(2), torch.arange(50)
    whole = encoder.track(sound, video_fps=FPS_25, frames=50)
    assert whole.tokens(frames).shape == (50, nano.audio.tokens, nano.audio.width)
    for batch in (1, 7, 50):
        parts = encoder.track(sound, video_fps=FPS_25, frames=50, batch=batch)
        torch.testing.assert_close(parts.tokens(frames), whole.tokens(frames), rtol=0, atol=1e-5)


@pytest.mark.parametrize("video_fps", FRAME_RATES)
def test_log_mel_track_has_every_frame(nano: ModelConfig, video_fps: Fraction) -> None:
    frames = round(video_fps)
    track = encoder_of(nano).track(noise(1), video_fps=video_fps, frames=frames)
    assert track.index.shape == (frames, 1)
    assert torch.isfinite(track.tokens(torch.arange(frames))).all()


@pytest.mark.parametrize("samples", [0, 1, 200, 201])
def test_shortest_sounds_work(nano: ModelConfig, samples: int) -> None:
    track = encoder_of(nano).track(np.zeros(samples, dtype=np.float32), video_fps=FPS_25, frames=5)
    tokens = track.tokens(torch.arange(5))
    assert torch.isfinite(tokens).all()
    assert torch.equal(tokens, tokens[:1].expand_as(tokens))  # all silent, all alike


def test_log_mel_encoder_trains_and_tracks_do_not(nano: ModelConfig) -> None:
    encoder = LogMelEncoder(nano)
    encoder(torch.randn(2, 80, encoder.window)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in encoder.parameters())
    assert not encoder.track(noise(0.2), video_fps=FPS_25, frames=5).states.requires_grad


def test_frames_with_different_sound_have_different_tokens(nano: ModelConfig) -> None:
    tokens = encoder_of(nano).track(noise(1), video_fps=FPS_25, frames=25).tokens(torch.tensor([5, 15]))
    assert (tokens[0] - tokens[1]).abs().max() > 0.01


# Attention


def audio_attention(config: ModelConfig, randomise: Randomise, **choices: object) -> AudioAttention:
    audio = {**config.audio.model_dump(), **choices}
    return randomise(AudioAttention(config.updated(audio=audio)))


def attention_inputs(config: ModelConfig) -> tuple[Tensor, Tensor]:
    return torch.randn(2, 9, config.hidden), torch.randn(2, config.audio.tokens, config.audio.width)


@torch.no_grad()
def test_audio_attention_starts_at_zero(nano: ModelConfig, randomised: Randomise) -> None:
    attention = audio_attention(nano, randomised)
    x, audio = attention_inputs(nano)
    assert attention(x, audio).abs().max() > 0.1
    attention.init_zero()
    assert torch.equal(attention(x, audio), attention.attention.to_out.bias.expand_as(x))


@torch.no_grad()
def test_prenorm_ignores_the_scale_of_the_tokens(nano: ModelConfig, randomised: Randomise) -> None:
    x, audio = attention_inputs(nano)
    for prenorm in (False, True):
        attention = audio_attention(nano, randomised, prenorm=prenorm)
        difference = (attention(10 * x, audio) - attention(x, audio)).abs().max()
        assert (difference < 1e-4) == prenorm


@torch.no_grad()
def test_order_of_audio_tokens_counts_only_with_learned_positions(
    nano: ModelConfig, randomised: Randomise
) -> None:
    x, audio = attention_inputs(nano)
    for learned in (False, True):
        attention = audio_attention(nano, randomised, learned_positions=learned)
        difference = (attention(x, audio.flip(1)) - attention(x, audio)).abs().max()
        assert (difference > 1e-4) == learned


def test_learned_positions_start_at_zero(nano: ModelConfig) -> None:
    config = nano.updated(audio={**nano.audio.model_dump(), "learned_positions": True})
    positions = AudioAttention(config).positions
    assert positions is not None
    assert positions.shape == (nano.audio.tokens, nano.audio.width)
    assert positions.abs().max() == 0


def test_inner_width_counts_of_the_papers_two_readings() -> None:
    """3,543,552 parameters a block with the model's inner width, 1,182,336 with 384 inside."""
    paper = ModelConfig.preset("paper")
    narrow = paper.updated(audio={"inner_width": 384})
    with torch.device("meta"):
        counts = [sum(p.numel() for p in AudioAttention(config).parameters()) for config in (paper, narrow)]
    assert counts == [3_543_552, 2 * 1152 * 384 + 2 * 384 * 384 + 3 * 384 + 1152]
