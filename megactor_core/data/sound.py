"""What a sample hears: log-mel windows or Whisper tokens, from the features that preprocessing stored.

Shape legend:
    F target frames   J mel frames of a window   T stored states   L states a step   K steps a frame   E width
"""

from fractions import Fraction

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from megactor_core.config.data import SoundAugmentConfig
from megactor_core.config.model import AudioConfig
from megactor_core.data.augment import augment_windows
from megactor_core.data.source import StoredClip
from megactor_core.errors import ConfigError
from megactor_core.models.audio import MEL_BANDS, mel_windows, whisper_steps, with_zero_state

MEL_FRAMES_PER_TOKEN = 2
"""The log-mel encoder's second convolution has stride 2."""


def silence(frames: int, audio: AudioConfig) -> Tensor:
    """Zeros in the shape of what a sample hears."""
    if audio.encoder == "log-mel":
        return torch.zeros(frames, MEL_BANDS, MEL_FRAMES_PER_TOKEN * audio.tokens)
    return torch.zeros(frames, audio.tokens, audio.width)


def read_sound(
    clip: StoredClip,
    frames: np.ndarray,
    *,
    audio: AudioConfig,
    video_fps: Fraction,
    augment: SoundAugmentConfig,
    rng: np.random.Generator,
) -> Tensor:
    """What the frames numbered `frames` (F,) hear, as `animate` would hear it, before its encoder.

    (F, 80, J) log-mel windows, augmented as drawn, or (F, K L, E) Whisper tokens as they are stored. Raises
    MediaError where the clip's features are missing, ConfigError where Whisper's are of another width.
    """
    if audio.encoder == "whisper":
        return _whisper_tokens(clip.whisper_states, frames, audio=audio, video_fps=video_fps)
    mel = torch.from_numpy(clip.log_mel.astype(np.float32))
    length = MEL_FRAMES_PER_TOKEN * audio.tokens
    wanted = torch.from_numpy(frames)
    windows = mel_windows(mel, wanted, video_fps=video_fps, length=length)
    numbers = torch.arange(mel.shape[1], dtype=torch.float32)[None]  # the mel frames that windows show, or -1
    columns = mel_windows(numbers, wanted, video_fps=video_fps, length=length)[:, 0].long()
    return augment_windows(windows, columns, augment, rng)


def _whisper_tokens(
    states: np.ndarray, frames: np.ndarray, *, audio: AudioConfig, video_fps: Fraction
) -> Tensor:
    index = whisper_steps(int(frames.max()) + 1, video_fps=video_fps, steps=len(states), edges=audio.edges)
    padded = with_zero_state(torch.from_numpy(states))  # (T + 1, L, E)
    tokens = rearrange(padded[index[torch.from_numpy(frames)]], "f k l e -> f (k l) e").float()
    if tokens.shape[1:] != (audio.tokens, audio.width):
        raise ConfigError(
            f"The stored sound gives {tokens.shape[1]} tokens of width {tokens.shape[2]} a frame, but the "
            f"model reads {audio.tokens} of {audio.width}.",
            fix=f"Preprocess again with the model's encoder, '{audio.whisper}'.",
        )
    return tokens  # fmt: skip
