"""Everything the denoiser is conditioned on, looked up by frame number.

What is known of each frame lies in the run's folder, so that memory does not grow with the clip and a run
that goes on does not look at the drivers again.

Shape legend:
    F frames of the clip   G windows at once   W frames of a window   M motion channels   H = W' latent sides
    N tokens of a frame   S audio tokens a frame   E audio width   C latent channels
    T audio states   L states a step   K steps a frame
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from megactor_core.animation.driving import (
    Driving,
    DrivingTrack,
    encode_driver,
    open_driving,
    track_driver,
    write_nothing,
)
from megactor_core.animation.plan import Plan
from megactor_core.animation.portrait import Portrait
from megactor_core.animation.previews import Previews
from megactor_core.animation.store import FrameFile, RunFolder
from megactor_core.animation.timeline import driving_frames, output_frames
from megactor_core.config.animate import AnimateConfig, MaskMode
from megactor_core.config.model import LATENT_STRIDE_PX, ModelConfig
from megactor_core.errors import first_line
from megactor_core.listener import Listener
from megactor_core.media.audio import Sound, fit_seconds, is_silent, to_mono
from megactor_core.models.audio import AUDIO_HZ
from megactor_core.models.autoencoder import Autoencoder
from megactor_core.models.checkpoint import Checkpoint
from megactor_core.models.masks import RegionMask, region_mask

AUDIO_INDEX = "audio-index.npy"


@dataclass(frozen=True, slots=True)
class WindowConditions:
    """Conditions of G windows: motion (G, W, M, H, W'), audio (G, W, S, E), mask over G * W rows."""

    motion: Tensor
    audio: Tensor
    mask: RegionMask | None


@dataclass(frozen=True, slots=True)
class Speech:
    """The sound as state records (L, E), the last of them zero, and index (F, K) of those that a frame reads.

    See models.audio.AudioTrack.
    """

    states: FrameFile
    index: np.ndarray

    def tokens(self, frames: Tensor) -> Tensor:
        """Audio tokens (G, W, S, E) of frames (G, W)."""
        states = self.states.gather(self.index[frames.numpy()].flatten())
        return rearrange(
            torch.from_numpy(states),
            "(g w k) l e -> g w (k l) e",
            g=frames.shape[0],
            w=frames.shape[1],
        )


@dataclass(frozen=True, slots=True)
class Conditions:
    """A clip's conditions."""

    config: ModelConfig
    frames: int
    reference_latent: Tensor
    """(1, C, H, W')"""
    driving: Driving
    followed: list[int]
    """Driving frame that each output frame follows, -1 for none."""
    speech: Speech | None
    mask_mode: MaskMode
    """`off` where the mouth is driven visually or nothing is."""

    @property
    def size_px(self) -> int:
        """Side of the picture."""
        return self.reference_latent.shape[-1] * LATENT_STRIDE_PX

    def window(self, frames: Tensor) -> WindowConditions:
        """Conditions of the given frames (G, W)."""
        records = [self.driving.record(self.followed[frame]) for frame in frames.flatten().tolist()]
        motion = torch.from_numpy(self.driving.motion.gather(records))
        return WindowConditions(
            motion=motion.unflatten(0, frames.shape),
            audio=self._no_audio(frames) if self.speech is None else self.speech.tokens(frames),
            mask=self._mask(records),
        )

    def null_window(self, frames: Tensor) -> WindowConditions:
        """Conditions of the unconditional branch: nothing drives, zero audio, no mask."""
        motion = torch.from_numpy(self.driving.motion.gather([self.driving.frames]))
        return WindowConditions(
            motion=motion.expand(*frames.shape, -1, -1, -1), audio=self._no_audio(frames), mask=None
        )

    def _no_audio(self, frames: Tensor) -> Tensor:
        return torch.zeros(*frames.shape, self.config.audio.tokens, self.config.audio.width)

    def _mask(self, records: list[int]) -> RegionMask | None:
        if self.mask_mode == "off":
            return None
        eyes = torch.from_numpy(self.driving.eyes.gather(records))
        if not eyes.any():
            return None
        mouth = torch.from_numpy(self.driving.mouth.gather(records))
        return region_mask(mouth=mouth, eyes=eyes, mode=self.mask_mode, form=self.config.mask.form)


def read_conditions(
    job: Plan,
    checkpoint: Checkpoint,
    portrait: Portrait,
    folder: RunFolder,
    previews: Previews | None,
    listener: Listener,
) -> Conditions:
    """Read the drivers, each once, or take what an interrupted run has read; raises as `track_driver`."""
    known = folder.state().get("conditions")
    if known is None:
        known = _read_drivers(job, checkpoint, portrait, folder, previews, listener)
        folder.save({**folder.state(), "conditions": known})
    _require_whole(known, folder, has_speech=job.speech is not None)
    config = checkpoint.config
    driving = open_driving(
        folder,
        config,
        size_px=portrait.size_px,
        driven=known["driven"],
        lost_frames=known["lost_frames"],
    )
    return Conditions(
        config=config,
        frames=known["frames"],
        reference_latent=_encode_portrait(checkpoint.autoencoder, portrait.picture),
        driving=driving,
        followed=driving_frames(known["frames"], available=driving.frames, end=job.config.driving_end),
        speech=None if job.speech is None else _open_speech(folder, tuple(known["audio_shape"])),
        mask_mode=job.mask_mode,
    )


def _read_drivers(
    job: Plan,
    checkpoint: Checkpoint,
    portrait: Portrait,
    folder: RunFolder,
    previews: Previews | None,
    listener: Listener,
) -> dict[str, Any]:
    """Fill the frame files; returns what else must be known to read them."""
    config, frames = job.config, _known_length(job)
    track = _track(job, portrait, frames, listener)
    driving = open_driving(
        folder,
        checkpoint.config,
        size_px=portrait.size_px,
        driven=() if track is None else track.driven.tolist(),
        lost_frames=() if track is None else track.lost_frames,
    )
    write_nothing(driving, checkpoint.sigma, size_px=portrait.size_px)
    if track is not None:
        encode_driver(
            track,
            driving,
            checkpoint.sigma,
            size_px=portrait.size_px,
            regions=job.regions,
            config=config,
            previews=previews,
            on_progress=listener.progress,
        )
    if frames is None:
        frames = driving.frames
    known: dict[str, Any] = {
        "frames": frames,
        "driven": list(driving.driven),
        "lost_frames": list(driving.lost_frames),
    }
    if job.speech is not None:
        known["audio_shape"] = _write_speech(job.speech, checkpoint, frames, folder, config, listener)
    return known


def _require_whole(known: Any, folder: RunFolder, *, has_speech: bool) -> None:
    """Raise OutputError unless `known` is what `_read_drivers` returns, as it comes back from JSON."""

    def are_numbers(name: str, least: int) -> bool:
        values = known.get(name)
        return isinstance(values, list | tuple) and all(type(v) in (int, bool) and v >= least for v in values)

    is_whole = (
        isinstance(known, dict)
        and type(known.get("frames")) is int
        and known["frames"] >= 1
        and are_numbers("driven", 0)
        and are_numbers("lost_frames", 0)
        and (not has_speech or are_numbers("audio_shape", 1))
    )
    if not is_whole:
        raise folder.damaged("its state does not say what was read of the drivers")


def _known_length(job: Plan) -> int | None:
    """Frames of the output where the sound sets them; None where the driving video's own frames do."""
    if job.speech is None:
        return None
    return output_frames(job.speech.seconds, video_fps=job.config.fps, limit_seconds=job.config.seconds)


def _track(job: Plan, portrait: Portrait, frames: int | None, listener: Listener) -> DrivingTrack | None:
    config = job.config
    if config.driving is None:
        return None
    if frames is None and config.seconds is not None:
        frames = output_frames(config.seconds, video_fps=config.fps)
    track = track_driver(
        config.driving,
        portrait_points=portrait.require_points(),
        config=config,
        max_frames=frames,
        on_progress=listener.progress,
    )
    if track.lost_frames:
        listener.note(
            f"No face in {len(track.lost_frames)} of {len(track.driven)} driving frames; "
            f"policy: {config.on_lost_face}."
        )
    return track


def _write_speech(
    speech: Sound,
    checkpoint: Checkpoint,
    frames: int,
    folder: RunFolder,
    config: AnimateConfig,
    listener: Listener,
) -> list[int]:
    """Encode the sound once for the clip; returns the shape of a state record."""
    if is_silent(speech):
        listener.note(f"The sound of '{config.audio}' is silent; it drives like any other silence.")
    mono = to_mono(fit_seconds(speech, seconds=float(frames / config.fps)), audio_hz=AUDIO_HZ)
    track = checkpoint.audio_encoder.track(mono, video_fps=config.fps, frames=frames)
    states = track.states.float().cpu().numpy()
    index = track.index.cpu().numpy()
    folder.file("audio", shape=states.shape[1:]).write(0, states)
    np.save(folder.path / AUDIO_INDEX, np.where(index < 0, len(states) - 1, index))
    return list(states.shape[1:])


def _open_speech(folder: RunFolder, shape: tuple[int, ...]) -> Speech:
    try:
        index = np.load(folder.path / AUDIO_INDEX, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise folder.damaged(f"{AUDIO_INDEX}: {first_line(error)}") from None
    return Speech(states=folder.file("audio", shape=shape), index=index)


def _encode_portrait(autoencoder: Autoencoder, picture: np.ndarray) -> Tensor:
    weight = next(autoencoder.parameters())
    pixels = rearrange(torch.from_numpy(picture), "h w c -> 1 c h w").to(weight) / 255
    return autoencoder.encode(pixels)
