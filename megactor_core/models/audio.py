"""Speech as tokens: Whisper's states or trained log-mel convolutions, and the attention that reads them.

Shape legend:
    B rows (clips x frames folded)   F video frames   N picture tokens   D width
    S audio tokens a frame   E audio width   T steps of a state track   L states a step   K steps a frame
    M mel bands   J mel frames
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from megactor_core.config.model import ModelConfig
from megactor_core.models.layers import NORM_EPS, Attention
from megactor_core.models.pretrained import load_pretrained

AUDIO_HZ = 16_000  # Whisper
MEL_BANDS = 80  # Whisper
MEL_FFT = 400  # samples: 25 ms, Whisper
MEL_HOP = 160  # samples: 10 ms, Whisper
MEL_HZ = AUDIO_HZ // MEL_HOP  # 100
WHISPER_HZ = MEL_HZ // 2  # 50: Whisper's second convolution has stride 2
WHISPER_SECONDS = 30
WHISPER_STATES = 5  # after the convolutions, and after each of tiny's four layers [R]
STEPS_BEFORE, STEPS_AFTER = 4, 6  # steps c - 4 ... c + 5 around video frame c [R]
CHUNK_MARGIN_SECONDS = 1  # context thrown away at inner chunk borders of long sounds; ours


class AudioAttention(nn.Module):
    """Audio attention of eq. 3, in the place and form of PixArt-alpha's cross-attention."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        audio = config.audio
        self.attention = Attention(
            config.hidden, heads=config.heads, source_width=audio.width, inner_width=audio.inner_width
        )
        self.norm = nn.LayerNorm(config.hidden, eps=NORM_EPS) if audio.prenorm else None
        self.positions = (
            nn.Parameter(torch.zeros(audio.tokens, audio.width)) if audio.learned_positions else None
        )

    def init_zero(self) -> None:
        """Zero output layer: the model starts as if it had no audio (PixArt-alpha's zero start)."""
        nn.init.zeros_(self.attention.to_out.weight)

    def forward(self, x: Tensor, audio: Tensor) -> Tensor:
        """f_MHAA of eq. 3: x (B, N, D), audio (B, S, E) -> (B, N, D)."""
        if self.positions is not None:
            audio = audio + self.positions
        return self.attention(x if self.norm is None else self.norm(x), source=audio)


@dataclass(frozen=True, slots=True)
class AudioTrack:
    """The sound of a clip as states that video frames look up.

    states (T + 1, L, E), the last one zero; index (F, K) into them: -1 reads the zero state.
    """

    states: Tensor
    index: Tensor

    def tokens(self, frames: Tensor) -> Tensor:
        """Audio tokens (len(frames), K * L, E) of the given frame numbers, step-major."""
        return rearrange(self.states[self.index[frames]], "f k l e -> f (k l) e")


def with_zero_state(states: Tensor) -> Tensor:
    """Append the zero state that index -1 reads."""
    return torch.cat([states, torch.zeros_like(states[:1])])


def whisper_steps(
    frames: int, *, video_fps: Fraction, steps: int, edges: Literal["clamp", "zeros"]
) -> Tensor:
    """Whisper steps of each video frame (F, 10): c - 4 ... c + 5 around c = int(i * 50 / fps) [R].

    Steps outside 0 ... steps - 1 repeat the edge, or are -1 (the zero state).
    """
    centres = torch.tensor([int(i * WHISPER_HZ / video_fps) for i in range(frames)])
    index = centres[:, None] + torch.arange(-STEPS_BEFORE, STEPS_AFTER)
    if edges == "clamp":
        return index.clamp(0, steps - 1)
    return torch.where((index < 0) | (index >= steps), -1, index)


class WhisperEncoder(nn.Module):
    """Whisper's encoder, frozen [P]; its states before the closing LayerNorm, as in the release [R]."""

    def __init__(self, encoder: nn.Module, *, edges: Literal["clamp", "zeros"]) -> None:
        super().__init__()
        encoder.layer_norm = nn.Identity()  # so that the last hidden state is that of the last layer
        self.encoder = encoder.eval().requires_grad_(False)
        self.edges = edges

    @staticmethod
    def load(folder: Path, *, edges: Literal["clamp", "zeros"]) -> "WhisperEncoder":
        """Read a Whisper model (config.json, model.safetensors) from a folder; raises WeightsError."""
        from transformers import WhisperModel

        return WhisperEncoder(load_pretrained(WhisperModel, folder).encoder, edges=edges)

    def track(self, sound: np.ndarray, *, video_fps: Fraction, frames: int) -> AudioTrack:
        """Encode mono 16 kHz sound (n,) once for a clip of F frames."""
        states = self.states(sound)
        index = whisper_steps(frames, video_fps=video_fps, steps=states.shape[0], edges=self.edges)
        return AudioTrack(with_zero_state(states), index.to(states.device))

    @torch.no_grad()
    def states(self, sound: np.ndarray) -> Tensor:
        """Five states a step at 50 Hz, cut to the sound's length: (T, 5, E).

        Sounds over 30 s are encoded in overlapping chunks; one second at inner borders is dropped.
        """
        total = max(1, round(len(sound) / AUDIO_HZ * WHISPER_HZ))
        margin = CHUNK_MARGIN_SECONDS * WHISPER_HZ
        length = WHISPER_SECONDS * WHISPER_HZ
        kept: list[Tensor] = []
        start = 0  # first step of the chunk
        while True:
            samples = AUDIO_HZ // WHISPER_HZ
            chunk = self._chunk_states(sound[start * samples : (start + length) * samples])
            first = margin if start else 0
            if start + length >= total:
                kept.append(chunk[first : total - start])
                return torch.cat(kept)
            kept.append(chunk[first : length - margin])
            start += length - 2 * margin

    def _chunk_states(self, sound: np.ndarray) -> Tensor:
        from transformers import WhisperFeatureExtractor

        weight = next(self.encoder.parameters())
        extractor = WhisperFeatureExtractor(feature_size=MEL_BANDS)
        features = extractor(sound, sampling_rate=AUDIO_HZ, return_tensors="pt").input_features
        hidden = self.encoder(features.to(weight), output_hidden_states=True).hidden_states
        return torch.stack(hidden, dim=2)[0]  # (1500, L, E)


class LogMelEncoder(nn.Module):
    """Three convolutions over a short log-mel window, trained with the model (small presets; ours)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.audio.width
        self.window = 2 * config.audio.tokens  # mel frames: the second convolution has stride 2
        self.conv_in = nn.Conv1d(MEL_BANDS, width, 3, padding=1)
        self.conv_down = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.conv_out = nn.Conv1d(width, width, 3, padding=1)
        self.norm = nn.LayerNorm(width)

    def forward(self, windows: Tensor) -> Tensor:
        """Log-mel windows (B, M, J) -> audio tokens (B, J / 2, E)."""
        x = F.gelu(self.conv_in(windows))
        x = F.gelu(self.conv_down(x))
        return self.norm(rearrange(self.conv_out(x), "b e s -> b s e"))

    @torch.no_grad()
    def track(self, sound: np.ndarray, *, video_fps: Fraction, frames: int, batch: int = 256) -> AudioTrack:
        """Encode mono 16 kHz sound (n,) once for a clip of F frames."""
        mel = log_mel(sound)
        weight = self.conv_in.weight
        tokens = [
            self(mel_windows(mel, part, video_fps=video_fps, length=self.window).to(weight))
            for part in torch.arange(frames).split(batch)
        ]
        states = with_zero_state(torch.cat(tokens))
        return AudioTrack(states, torch.arange(frames, device=weight.device)[:, None])


AudioEncoder = WhisperEncoder | LogMelEncoder


def log_mel(sound: np.ndarray) -> Tensor:
    """Log-mel spectrogram at 100 Hz of mono 16 kHz sound (n,): (M, J) float32.

    Whisper's filters, but a fixed scale in place of Whisper's maximum over the clip, so that a frame's
    value does not depend on the rest of the sound: 0 dB -> 1, the floor of -80 dB -> -1.
    """
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=MEL_FFT // 2 + 1,
        num_mel_filters=MEL_BANDS,
        min_frequency=0.0,
        max_frequency=AUDIO_HZ / 2,
        sampling_rate=AUDIO_HZ,
        norm="slaney",
        mel_scale="slaney",
    )
    samples = torch.as_tensor(sound, dtype=torch.float32)
    if len(samples) <= MEL_FFT // 2:  # reflection needs more samples than half a window
        samples = F.pad(samples, (0, MEL_FFT // 2 + 1 - len(samples)))
    spectrum = torch.stft(samples, MEL_FFT, MEL_HOP, window=torch.hann_window(MEL_FFT), return_complex=True)
    power = spectrum.abs() ** 2
    mel = torch.as_tensor(filters, dtype=torch.float32).T @ power
    return mel.clamp(min=1e-8).log10() / 4 + 1


def mel_windows(mel: Tensor, frames: Tensor, *, video_fps: Fraction, length: int) -> Tensor:
    """Windows of `length` mel frames centred on the middle of the given video frames: (F, M, length).

    Beyond the ends of the sound the window holds silence.
    """
    centres = [round((int(i) + Fraction(1, 2)) * MEL_HZ / video_fps) for i in frames]
    index = torch.tensor(centres)[:, None] + torch.arange(-(length // 2), length - length // 2)
    padded = F.pad(mel, (0, 1), value=-1.0)  # column -1: silence
    outside = (index < 0) | (index >= mel.shape[1])
    return rearrange(padded[:, torch.where(outside, -1, index)], "m f j -> f m j")
