"""The visual driver: a raw driving video as motion features and token masks.

The clip is decoded twice, so that memory does not grow with its size: once for the landmarks of all frames
(motion is measured against the first frame, lost faces are filled from both sides), once for the pixels.

Shape legend:
    n driving frames   S side of the model's picture in pixels   N = (S / 16)^2 tokens
    M motion channels   H = W = S / 8
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path

import numpy as np
import torch
from einops import rearrange

from megactor_core.animation.previews import Previews
from megactor_core.animation.store import FrameFile, RunFolder
from megactor_core.config.animate import AnimateConfig, Region
from megactor_core.config.model import LATENT_STRIDE_PX, TOKEN_STRIDE_PX, ModelConfig
from megactor_core.errors import FaceError
from megactor_core.faces.amplitude import driving_warp, transform_points
from megactor_core.faces.crop import warp_image
from megactor_core.faces.landmarks import detect_landmarks
from megactor_core.faces.regions import (
    RegionBoxes,
    driven_mask,
    driving_composite,
    driving_masks,
    region_boxes,
    token_mask,
)
from megactor_core.faces.smooth import smooth_track
from megactor_core.faces.track import FilledTrack, fill_lost, treatments
from megactor_core.listener import OnProgress
from megactor_core.media.apart import probe_video, read_video
from megactor_core.models.sigma import Sigma

ENCODE_FRAMES = 8  # driving frames encoded at once: bounds memory, does not change the result


@dataclass(frozen=True, slots=True)
class Driving:
    """What drives: on disk a record a driving frame, and one last record where nothing does.

    Records: motion (M, H, W) float32, eyes and mouth (N,) bool. driven (n,): False where a frame does not
    drive; lost_frames: frames in which no face was found.
    """

    motion: FrameFile
    eyes: FrameFile
    mouth: FrameFile
    driven: tuple[bool, ...]
    lost_frames: tuple[int, ...]

    @property
    def frames(self) -> int:
        return len(self.driven)

    def record(self, frame: int) -> int:
        """The record of a driving frame: its own, or the last one where it does not drive or is -1."""
        return frame if frame >= 0 and self.driven[frame] else self.frames


def open_driving(
    folder: RunFolder,
    config: ModelConfig,
    *,
    size_px: int,
    driven: Sequence[bool] = (),
    lost_frames: Sequence[int] = (),
) -> Driving:
    """The driver's records in the run folder, still to be written or as an earlier run left them."""
    side, tokens = size_px // LATENT_STRIDE_PX, (size_px // TOKEN_STRIDE_PX) ** 2
    return Driving(
        motion=folder.file("motion", shape=(config.driven.out_channels, side, side)),
        eyes=folder.file("eyes", shape=(tokens,), dtype="bool"),
        mouth=folder.file("mouth", shape=(tokens,), dtype="bool"),
        driven=tuple(bool(drives) for drives in driven),
        lost_frames=tuple(int(frame) for frame in lost_frames),
    )


@torch.no_grad()
def write_nothing(driving: Driving, sigma: Sigma, *, size_px: int) -> None:
    """Write the last record: a black driving picture, no regions."""
    black = np.zeros((1, size_px, size_px, 3), np.float32)
    no_tokens = np.zeros((1, *driving.eyes.shape), bool)
    driving.motion.write(driving.frames, _encode(sigma, black))
    driving.eyes.write(driving.frames, no_tokens)
    driving.mouth.write(driving.frames, no_tokens)


@dataclass(frozen=True, slots=True)
class DrivingTrack:
    """Where the driver's face is, and the map of every frame to the model's picture.

    warp (n, 2, 3); points (n, 68, 2) after the warp; driven (n,) bool.
    """

    path: Path
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
        with closing(_frames(path, config=config, max_frames=max_frames)) as frames:
            track = detect_landmarks(
                frames,
                face=config.face,
                back_end=config.landmarks,
                on_frame=lambda done: on_progress("finding the driver's face", done, max(done, total)),
            )
        track = smooth_track(track, seconds=config.smoothing_seconds, video_fps=float(config.fps))
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
        warp=warp,
        points=transform_points(warp, track.points),
        driven=track.driven,
        lost_frames=track.lost_frames,
    )


@torch.no_grad()
def encode_driver(
    track: DrivingTrack,
    driving: Driving,
    sigma: Sigma,
    *,
    size_px: int,
    regions: frozenset[Region],
    config: AnimateConfig,
    previews: Previews | None,
    on_progress: OnProgress,
) -> None:
    """Second pass: cut the patches of eq. 1, encode each driving frame once and write its record."""
    box, frames = config.box, len(track.driven)
    boxes = region_boxes(
        track.points, size_px=size_px, shape=box.shape, per=box.per, divisor=box.divisor, padding=box.padding
    )
    dilation = sigma.config.mask.eye_dilation_tokens
    with _pictures(track, config) as film:
        for start, decoded in _chunks(film, ENCODE_FRAMES):
            index = [start + k for k in range(len(decoded)) if track.driven[start + k]]
            if index:
                pictures = np.stack([_warped(decoded[i - start], track.warp[i], size_px) for i in index])
                eyes, mouth = driving_masks(_boxes_of(boxes, index), size_px=size_px, regions=regions)
                patches = driving_composite(pictures, driven_mask(eyes, mouth, regions=regions))
                _write_records(driving.motion, index, _encode(sigma, patches))
                _write_records(driving.eyes, index, _tokens(eyes, dilation))
                _write_records(driving.mouth, index, _tokens(mouth, 0))
                if previews is not None:
                    previews.keep(index, pictures=pictures, patches=patches)
            on_progress("encoding the driver", start + len(decoded), frames)


def _frames(
    path: Path, *, config: AnimateConfig, max_frames: int | None
) -> Generator[np.ndarray, None, None]:
    seconds = None if max_frames is None else float(max_frames / config.fps)
    return read_video(path, video_fps=config.fps, seconds=seconds, limits=config.limits)


@contextmanager
def _pictures(track: DrivingTrack, config: AnimateConfig) -> Iterator[Iterator[np.ndarray]]:
    """The frames to cut patches from; a face that is held is held as a picture, not only as a place."""
    found = np.ones(len(track.driven), dtype=bool)
    found[list(track.lost_frames)] = False
    treated = treatments(found, policy=config.on_lost_face)
    held = frozenset(n for n, treatment in enumerate(treated) if treatment == "held")
    with closing(_frames(track.path, config=config, max_frames=len(track.driven))) as frames:
        yield _held(frames, held)


def _held(frames: Iterable[np.ndarray], held: frozenset[int]) -> Iterator[np.ndarray]:
    """As many frames, each held one replaced by the last that is not, or by the first where none came yet."""
    shown, waiting = None, 0
    for number, frame in enumerate(frames):
        if number not in held:
            yield from repeat(frame, waiting)
            shown, waiting = frame, 0
        if shown is None:
            waiting += 1
        else:
            yield shown


def _chunks(frames: Iterable[np.ndarray], count: int) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Groups of `count` frames with the number of the first."""
    iterator, start = iter(frames), 0
    while chunk := list(islice(iterator, count)):
        yield start, chunk
        start += len(chunk)


def _write_records(file: FrameFile, index: Sequence[int], records: np.ndarray) -> None:
    for number, record in zip(index, records, strict=True):
        file.write(number, record[None])


def _warped(picture: np.ndarray, warp: np.ndarray, size_px: int) -> np.ndarray:
    """Outside the driving frame there is nothing to see: black, as outside the patches."""
    return warp_image(picture, warp, size_px=size_px, border="black")


def _boxes_of(boxes: RegionBoxes, index: list[int]) -> RegionBoxes:
    return RegionBoxes(eyes=boxes.eyes[index], mouth=boxes.mouth[index])


def _tokens(pixels: np.ndarray, dilation: int) -> np.ndarray:
    return token_mask(pixels, stride_px=TOKEN_STRIDE_PX, dilate_tokens=dilation)


def _encode(sigma: Sigma, patches: np.ndarray) -> np.ndarray:
    """Motion features (n, M, H, W) of driving pictures (n, S, S, 3) in [0, 1]."""
    weight = next(sigma.driven_encoder.parameters())
    driving = rearrange(torch.from_numpy(patches), "n h w c -> n c h w")
    return sigma.driven_encoder(driving.to(weight)).float().cpu().numpy()
