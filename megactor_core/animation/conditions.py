"""Everything the denoiser is conditioned on, looked up by frame number.

Shape legend:
    F frames of the clip   G windows at once   W frames of a window   M motion channels   H = W' latent sides
    N tokens of a frame   S audio tokens a frame   E audio width   C latent channels
"""

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from megactor_core.animation.driving import Driving, encode_driver, nothing_drives, track_driver
from megactor_core.animation.listener import Listener
from megactor_core.animation.plan import Plan
from megactor_core.animation.portrait import Portrait
from megactor_core.animation.previews import Previews
from megactor_core.animation.timeline import driving_frames, output_frames
from megactor_core.config.animate import AnimateConfig, MaskMode
from megactor_core.config.model import LATENT_STRIDE_PX, ModelConfig
from megactor_core.media.audio import Sound, fit_seconds, is_silent, to_mono
from megactor_core.models.audio import AUDIO_HZ, AudioTrack
from megactor_core.models.autoencoder import Autoencoder
from megactor_core.models.checkpoint import Checkpoint
from megactor_core.models.masks import RegionMask, region_mask


@dataclass(frozen=True, slots=True)
class WindowConditions:
    """Conditions of G windows: motion (G, W, M, H, W'), audio (G, W, S, E), mask over G * W rows."""

    motion: Tensor
    audio: Tensor
    mask: RegionMask | None


@dataclass(frozen=True, slots=True)
class Conditions:
    """A clip's conditions. Driving rows are those of `driving`; `follows` maps output frames to them."""

    config: ModelConfig
    frames: int
    reference_latent: Tensor
    """(1, C, H, W')"""
    driving: Driving
    followed: list[int]
    """Driving frame that each output frame follows, -1 for none."""
    follows: Tensor
    """(F,) driving row of each output frame; -1 is the row where nothing drives."""
    audio: AudioTrack | None
    mask_mode: MaskMode
    """`off` where the mouth is driven visually or nothing is."""

    @property
    def size_px(self) -> int:
        """Side of the picture."""
        return self.reference_latent.shape[-1] * LATENT_STRIDE_PX

    def window(self, frames: Tensor) -> WindowConditions:
        """Conditions of the given frames (G, W)."""
        rows = self.follows[frames]  # (G, W)
        return WindowConditions(
            motion=self.driving.motion[rows],
            audio=self._audio(frames),
            mask=self._mask(rows.flatten()),
        )

    def null_window(self, frames: Tensor) -> WindowConditions:
        """Conditions of the unconditional branch: nothing drives, zero audio, no mask."""
        nothing = torch.full_like(frames, -1)
        return WindowConditions(motion=self.driving.motion[nothing], audio=self._no_audio(frames), mask=None)

    def _audio(self, frames: Tensor) -> Tensor:
        if self.audio is None:
            return self._no_audio(frames)
        return self.audio.tokens(frames.flatten()).unflatten(0, frames.shape)

    def _no_audio(self, frames: Tensor) -> Tensor:
        return torch.zeros(*frames.shape, self.config.audio.tokens, self.config.audio.width)

    def _mask(self, rows: Tensor) -> RegionMask | None:
        eyes = self.driving.eyes[rows]
        if self.mask_mode == "off" or not eyes.any():
            return None
        return region_mask(
            mouth=self.driving.mouth[rows], eyes=eyes, mode=self.mask_mode, form=self.config.mask.form
        )


def read_conditions(
    job: Plan, checkpoint: Checkpoint, portrait: Portrait, previews: Previews | None, listener: Listener
) -> Conditions:
    """Read the drivers of one clip, each once; see `track_driver` for what is raised."""
    config, speech = job.config, job.speech
    frames = None
    if speech is not None:
        frames = output_frames(speech.seconds, video_fps=config.fps, limit_seconds=config.seconds)
    driving = _read_driving(job, checkpoint, portrait, previews, listener, max_frames=frames)
    if frames is None:
        frames = driving.frames
    followed = driving_frames(frames, available=driving.frames, end=config.driving_end)
    return Conditions(
        config=checkpoint.config,
        frames=frames,
        reference_latent=_encode_portrait(checkpoint.autoencoder, portrait.picture),
        driving=driving,
        followed=followed,
        follows=torch.tensor([int(driving.rows[k]) if k >= 0 else -1 for k in followed]),
        audio=None if speech is None else _read_speech(speech, checkpoint, frames, config, listener),
        mask_mode=job.mask_mode,
    )


def _read_driving(
    job: Plan,
    checkpoint: Checkpoint,
    portrait: Portrait,
    previews: Previews | None,
    listener: Listener,
    *,
    max_frames: int | None,
) -> Driving:
    config, size_px = job.config, portrait.picture.shape[0]
    if config.driving is None:
        return nothing_drives(checkpoint.sigma, size_px=size_px)
    if max_frames is None and config.seconds is not None:
        max_frames = output_frames(config.seconds, video_fps=config.fps)
    track = track_driver(
        config.driving,
        portrait_points=portrait.require_points(),
        config=config,
        max_frames=max_frames,
        on_progress=listener.progress,
    )
    if track.lost_frames:
        listener.note(
            f"No face in {len(track.lost_frames)} of {len(track.driven)} driving frames; "
            f"policy: {config.on_lost_face}."
        )
    return encode_driver(
        track,
        checkpoint.sigma,
        size_px=size_px,
        regions=job.regions,
        config=config,
        previews=previews,
        on_progress=listener.progress,
    )


def _read_speech(
    speech: Sound, checkpoint: Checkpoint, frames: int, config: AnimateConfig, listener: Listener
) -> AudioTrack:
    if is_silent(speech):
        listener.note(f"The sound of '{config.audio}' is silent; it drives like any other silence.")
    mono = to_mono(fit_seconds(speech, seconds=float(frames / config.fps)), audio_hz=AUDIO_HZ)
    return checkpoint.audio_encoder.track(mono, video_fps=config.fps, frames=frames)


def _encode_portrait(autoencoder: Autoencoder, picture: np.ndarray) -> Tensor:
    weight = next(autoencoder.parameters())
    pixels = rearrange(torch.from_numpy(picture), "h w c -> 1 c h w").to(weight) / 255
    return autoencoder.encode(pixels)
