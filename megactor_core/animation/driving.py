"""The visual driver: a raw driving video as motion features and token masks.

The clip is decoded twice, so that memory does not grow with its size: once for the landmarks of all frames
(motion is measured against the first frame, lost faces are filled from both sides), once for the pixels.

Shape legend:
    n driving frames   S side of the model's picture in pixels   N = (S / 16)^2 tokens
    M motion channels   H = W = S / 8
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from megactor_core.animation.listener import OnProgress
from megactor_core.animation.previews import Previews
from megactor_core.config.animate import AnimateConfig, Region
from megactor_core.config.model import TOKEN_STRIDE_PX
from megactor_core.errors import FaceError
from megactor_core.faces.amplitude import driving_warp, transform_points
from megactor_core.faces.crop import warp_image
from megactor_core.faces.landmarks import detect_landmarks
from megactor_core.faces.regions import (
    RegionBoxes,
    driven_mask,
    driving_composite,
    masks_of_boxes,
    region_boxes,
    token_mask,
)
from megactor_core.faces.track import FilledTrack, fill_lost
from megactor_core.media.video import probe_video, read_video
from megactor_core.models.sigma import Sigma

ENCODE_FRAMES = 8  # driving frames encoded at once: bounds memory, does not change the result


@dataclass(frozen=True, slots=True)
class Driving:
    """What drives, a row a driving frame and one last row where nothing does.

    motion (n + 1, M, H, W), eyes and mouth (n + 1, N) bool; rows (n,): each driving frame's row, -1 where it
    does not drive.
    """

    motion: Tensor
    eyes: Tensor
    mouth: Tensor
    rows: Tensor
    lost_frames: tuple[int, ...] = ()

    @property
    def frames(self) -> int:
        return len(self.rows)


@torch.no_grad()
def nothing_drives(sigma: Sigma, *, size_px: int) -> Driving:
    """The driver of a clip without a driving video: the single row where nothing drives."""
    weight = next(sigma.parameters())
    black = torch.zeros(1, 3, size_px, size_px, device=weight.device, dtype=weight.dtype)
    tokens = torch.zeros(1, (size_px // TOKEN_STRIDE_PX) ** 2, dtype=torch.bool)
    return Driving(
        motion=sigma.driven_encoder(black).cpu(),
        eyes=tokens,
        mouth=tokens,
        rows=torch.zeros(0, dtype=torch.long),
    )


@dataclass(frozen=True, slots=True)
class DrivingTrack:
    """Where the driver's face is, and the map of every frame to the model's picture.

    warp (n, 2, 3); points (n, 68, 2) after the warp; driven (n,) bool.
    """

    path: Path
    video_fps: Fraction
    warp: np.ndarray
    points: np.ndarray
    driven: np.ndarray
    lost_frames: tuple[int, ...]


def track_driver(
    path: Path,
    *,
    portrait_points: np.ndarray,
    config: AnimateConfig,
    max_frames: int | None,
    on_progress: OnProgress,
) -> DrivingTrack:
    """First pass: landmarks, lost faces, and eq. 4's warp onto the portrait.

    Raises MediaError for a file that is no video, FaceError where no face is found or the policy says so.
    """
    info = probe_video(path, limits=config.limits)
    expected = max(1, round(info.seconds * config.fps))
    total = expected if max_frames is None else min(expected, max_frames)
    try:
        track = detect_landmarks(
            _frames(path, config=config, max_frames=max_frames),
            face=config.face,
            on_frame=lambda done: on_progress("finding the driver's face", done, max(done, total)),
        )
        filled = fill_lost(track, policy=config.on_lost_face, video_fps=float(config.fps))
    except FaceError as error:
        raise FaceError(f"'{path}': {error.message}", fix=error.fix) from None
    return _aligned(path, filled, portrait_points=portrait_points, config=config)


def _aligned(
    path: Path, track: FilledTrack, *, portrait_points: np.ndarray, config: AnimateConfig
) -> DrivingTrack:
    warp = driving_warp(
        track.points, reference_points=portrait_points, alpha=config.alpha, formula=config.amplitude.formula
    )
    return DrivingTrack(
        path=path,
        video_fps=config.fps,
        warp=warp,
        points=transform_points(warp, track.points),
        driven=track.driven,
        lost_frames=track.lost_frames,
    )


@torch.no_grad()
def encode_driver(
    track: DrivingTrack,
    sigma: Sigma,
    *,
    size_px: int,
    regions: frozenset[Region],
    config: AnimateConfig,
    previews: Previews | None,
    on_progress: OnProgress,
) -> Driving:
    """Second pass: cut the patches of eq. 1 and encode each driving frame once."""
    nothing = nothing_drives(sigma, size_px=size_px)
    frames = len(track.driven)
    motion = nothing.motion.expand(frames + 1, -1, -1, -1).clone()
    eyes = nothing.eyes.expand(frames + 1, -1).clone()
    mouth = nothing.mouth.expand(frames + 1, -1).clone()
    box = config.box
    boxes = region_boxes(
        track.points, size_px=size_px, shape=box.shape, per=box.per, divisor=box.divisor, padding=box.padding
    )
    dilation = sigma.config.mask.eye_dilation_tokens
    decoded = _frames(track.path, config=config, max_frames=frames)
    driven = (frame for frame in enumerate(decoded) if track.driven[frame[0]])
    for group in _chunks(driven, ENCODE_FRAMES):
        index = [number for number, _ in group]
        pictures = np.stack([_warped(picture, track.warp[i], size_px) for i, picture in group])
        eye_pixels, mouth_pixels = masks_of_boxes(_boxes_of(boxes, index), size_px=size_px, regions=regions)
        patches = driving_composite(pictures, driven_mask(eye_pixels, mouth_pixels, regions=regions))
        motion[index] = _encode(sigma, patches)
        eyes[index] = _tokens(eye_pixels, dilation)
        mouth[index] = _tokens(mouth_pixels, 0)
        if previews is not None:
            previews.keep(index, pictures=pictures, patches=patches)
        on_progress("encoding the driver", index[-1] + 1, frames)
    rows = torch.where(torch.from_numpy(track.driven), torch.arange(frames), -1)
    return Driving(motion=motion, eyes=eyes, mouth=mouth, rows=rows, lost_frames=track.lost_frames)


def _frames(path: Path, *, config: AnimateConfig, max_frames: int | None) -> Iterator[np.ndarray]:
    return islice(read_video(path, video_fps=config.fps, limits=config.limits), max_frames)


def _chunks(items: Iterable[tuple[int, np.ndarray]], count: int) -> Iterator[list[tuple[int, np.ndarray]]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, count)):
        yield chunk


def _warped(picture: np.ndarray, warp: np.ndarray, size_px: int) -> np.ndarray:
    """Outside the driving frame there is nothing to see: black, as outside the patches."""
    return warp_image(picture, warp, size_px=size_px, border="black")


def _boxes_of(boxes: RegionBoxes, index: list[int]) -> RegionBoxes:
    return RegionBoxes(eyes=boxes.eyes[index], mouth=boxes.mouth[index])


def _tokens(pixels: np.ndarray, dilation: int) -> Tensor:
    return torch.from_numpy(token_mask(pixels, stride_px=TOKEN_STRIDE_PX, dilate_tokens=dilation))


def _encode(sigma: Sigma, patches: np.ndarray) -> Tensor:
    weight = next(sigma.driven_encoder.parameters())
    driving = rearrange(torch.from_numpy(patches), "n h w c -> n c h w")
    return sigma.driven_encoder(driving.to(weight)).cpu()
