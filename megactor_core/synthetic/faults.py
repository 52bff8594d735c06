"""Faults: what is wrong with a clip, drawn so that the truth about it is known.

kind            size                                                what is wrong
small_face      factor on the head's size, 0.2 to 0.4               a person far away
large_rotation  degrees of yaw, 45 to 55 to either side             a head turned away throughout
av_offset       frames, not 0; + is sound earlier than picture      lips at frame i fit the sound at i - size
silence         -                                                   a closed mouth, sound below -60 dB
no_sound        -                                                   a person who talks in a file without sound
two_faces       -                                                   a second person on the right
no_face         -                                                   only the background
scene_cut       first frame of the second scene                     another person and place from there on
low_quality     factor by which the picture was shrunk, 3 to 6      blocks and blur, as of a poor download
truncated       share of the file's bytes that is left, 0.3 to 0.7  a broken-off download

The manifest and the truth count the frames that were filmed, so more than a truncated file shows. All ranges
are ours.
"""

from dataclasses import dataclass, replace
from math import floor

import cv2
import numpy as np

from megactor_core.config.synth import FaultKind, FaultsConfig
from megactor_core.synthetic.state import TRACKS, Performance

YAW_MAX_DEGREES = 60.0

# Streams of random numbers, under the seed of the corpus or of a clip.
_PLACES, _SIZE = 51, 52
_BLOCK = 10  # clips within which the places of the faults are drawn

_SMALL_FACE_SCALE = (0.2, 0.4)
_DESK_COLOUR = (112, 84, 60)
_ROTATION_DEGREES, _ROTATED_SWAY = (45.0, 55.0), 0.4
_KEPT_BYTES = (0.3, 0.7)
_CUT_AT = (0.3, 0.7)
_SHRINK, _JPEG_QUALITY = (3.0, 6.0), 12

_BESIDE_SHIFT, _BESIDE_SCALE, _BESIDE_SWAY = 0.25, 0.62, 0.3


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a clip, and how much; sizes as in the table above."""

    kind: FaultKind
    size: float = 0.0
    """0 for a fault that has no size."""


def draw_fault(clip: int, config: FaultsConfig, *, seed: int, clip_seed: int, frames: int) -> Fault | None:
    """The fault of a clip, None for a sound one: a pure function of the settings and the clip's number.

    Of any ten clips in a row from a multiple of ten, the share that `config` asks for is faulty, in places
    drawn anew for every ten; the kinds take turns.
    """
    if not config.enabled:
        return None
    block, place = divmod(clip, _BLOCK)
    places = np.random.default_rng([seed, _PLACES, block]).permutation(_BLOCK)
    rank = block * _BLOCK + int(places[place])
    before = floor(rank * config.share)
    if floor((rank + 1) * config.share) == before:
        return None
    kind = config.kinds[before % len(config.kinds)]
    rng = np.random.default_rng([clip_seed, _SIZE])
    return Fault(kind, _draw_size(kind, rng, max_offset_frames=config.max_offset_frames, frames=frames))


def faulty_performance(performance: Performance, fault: Fault | None) -> Performance:
    """The performance as the fault changes it: far away, turned away, or beside another person."""
    match fault:
        case Fault("small_face", factor):
            return _changed(performance, scale=performance.track("scale") * factor)
        case Fault("large_rotation", degrees):
            yaw = degrees + _ROTATED_SWAY * performance.track("yaw_degrees")
            return _changed(performance, yaw_degrees=np.clip(yaw, -YAW_MAX_DEGREES, YAW_MAX_DEGREES))
        case Fault("two_faces"):
            return beside(performance, side=-1)
        case _:
            return performance


def beside(performance: Performance, *, side: int) -> Performance:
    """The performance of a person in the left (-1) or right (1) half of the picture."""
    return _changed(
        performance,
        shift_x=side * _BESIDE_SHIFT + _BESIDE_SWAY * performance.track("shift_x"),
        scale=_BESIDE_SCALE * performance.track("scale"),
    )


def halves(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The left half of one picture and the right half of another of the same size."""
    middle = left.shape[1] // 2
    return np.concatenate([left[:, :middle], right[:, middle:]], axis=1)


def behind_desk(image: np.ndarray, *, top: float) -> np.ndarray:
    """The picture (S, S, 3) uint8 with a desk in front, from a share `top` of its height downwards."""
    first = round(top * len(image))
    depth = np.linspace(1.0, 0.6, len(image) - first)[:, np.newaxis, np.newaxis]
    desk = (np.array(_DESK_COLOUR) * depth).astype(np.uint8)
    return np.concatenate([image[:first], np.broadcast_to(desk, (len(desk), *image.shape[1:]))])


def poor_picture(image: np.ndarray, *, shrink: float) -> np.ndarray:
    """The picture (S, S, 3) uint8 RGB shrunk, coded with few bits and enlarged again."""
    height, width = image.shape[:2]
    small = cv2.resize(
        image, (max(2, round(width / shrink)), max(2, round(height / shrink))), interpolation=cv2.INTER_AREA
    )
    _, code = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))[..., ::-1]
    return np.asarray(cv2.resize(decoded, (width, height), interpolation=cv2.INTER_LINEAR))


def spliced(first: Performance, second: Performance, *, frame: int) -> Performance:
    """The first performance up to a frame, the second from there on."""
    tracks = first.tracks.copy()
    tracks[frame:] = second.tracks[frame:]
    return replace(first, tracks=tracks)


def _draw_size(kind: FaultKind, rng: np.random.Generator, *, max_offset_frames: int, frames: int) -> float:
    match kind:
        case "small_face":
            return float(rng.uniform(*_SMALL_FACE_SCALE))
        case "large_rotation":
            return float(rng.choice([-1, 1]) * rng.uniform(*_ROTATION_DEGREES))
        case "av_offset":
            return float(rng.choice([-1, 1]) * rng.integers(1, max_offset_frames, endpoint=True))
        case "scene_cut":
            return float(np.clip(round(frames * rng.uniform(*_CUT_AT)), 1, frames - 1))
        case "low_quality":
            return float(rng.uniform(*_SHRINK))
        case "truncated":
            return float(rng.uniform(*_KEPT_BYTES))
        case _:
            return 0.0


def _changed(
    performance: Performance,
    *,
    yaw_degrees: np.ndarray | None = None,
    shift_x: np.ndarray | None = None,
    scale: np.ndarray | None = None,
) -> Performance:
    tracks = performance.tracks.copy()
    for name, track in (("yaw_degrees", yaw_degrees), ("shift_x", shift_x), ("scale", scale)):
        if track is not None:
            tracks[:, TRACKS.index(name)] = track
    return replace(performance, tracks=tracks)
