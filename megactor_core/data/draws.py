"""The draws behind a training sample: pure functions of the seed and of the sample's global index.

Every draw has a generator of its own, so that none depends on what was drawn or decoded before it: neither
the number of workers, nor the batch, nor the point from which training went on changes a sample.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from megactor_core.config.data import DataConfig, PatchConfig
from megactor_core.faces.regions import REGIONS, Region

Mode = Literal["visual", "audio", "mixed"]
MODES: tuple[Mode, ...] = get_args(Mode)

_ORDERS_KEPT = 8
_DROPOUT_SETS: dict[str, frozenset[Region]] = {
    "nothing": frozenset(),
    "eyes": frozenset({"eyes"}),
    "mouth": frozenset({"mouth"}),
    "both": REGIONS,
}
_NOTHING: frozenset[Region] = frozenset()
_EYES: frozenset[Region] = frozenset({"eyes"})


class Purpose(IntEnum):
    """The last key of a generator. The numbers are part of what a seed means: never reuse or change one."""

    ORDER = 0
    MODE = 1
    REGIONS = 2
    NULL = 3
    FRAMES = 4
    PATCH = 5
    AUGMENT = 6
    SUBSTITUTE = 7
    SOUND = 8


@dataclass(frozen=True, slots=True)
class Condition:
    """What drives a sample, before anything is read.

    `regions` is eq. 1's M_driven: the patches that drive. `null`: reference, driving and audio are dropped.
    """

    mode: Mode
    regions: frozenset[Region]
    null: bool

    @property
    def drives_visually(self) -> bool:
        """Whether the driving picture shows anything."""
        return bool(self.regions) and not self.null

    @property
    def hears(self) -> bool:
        """Whether the sound drives."""
        return needs_sound(self.mode) and not self.null

    @property
    def masks_attention(self) -> bool:
        """Whether eq. 2 applies: patches drive, and the mouth is not among them."""
        return self.drives_visually and "mouth" not in self.regions

    @property
    def spares_mouth(self) -> bool:
        """Whether the mouth is left out of the loss: driven neither visually nor by sound [P].

        Not in null samples: they teach the unconditional picture, which guidance needs whole.
        """
        return not self.null and not needs_sound(self.mode) and "mouth" not in self.regions


@dataclass(frozen=True, slots=True)
class FrameDraw:
    """Frame numbers in a clip: the reference, and the targets (F,) in order."""

    reference: int
    target: np.ndarray


def generator(seed: int, index: int, purpose: Purpose) -> np.random.Generator:
    """The generator of one kind of draw of one sample."""
    return np.random.default_rng([seed, index, purpose])


def draw_condition(config: DataConfig, *, seed: int, index: int) -> Condition:
    """Mode, driven regions and null condition of sample `index`."""
    mode = draw_mode(config, seed=seed, index=index)
    null = generator(seed, index, Purpose.NULL).random() < config.null_rate
    return Condition(mode, _draw_regions(config, mode, seed=seed, index=index), bool(null))


def draw_mode(config: DataConfig, *, seed: int, index: int) -> Mode:
    """The modality of sample `index`, by the shares of `config.mix`; it never depends on the clip."""
    shares = [getattr(config.mix, mode) for mode in MODES]
    return MODES[_choose(shares, generator(seed, index, Purpose.MODE))]


def needs_sound(mode: Mode) -> bool:
    """Whether the mode has sound among its drivers."""
    return mode != "visual"


def draw_clip(count: int, *, seed: int, index: int) -> int:
    """Which of `count` clips sample `index` shows: each once an epoch, every epoch in another order."""
    return int(_order(count, seed, index // count)[index % count])


def draw_frames(config: DataConfig, *, found: np.ndarray, seed: int, index: int) -> FrameDraw:
    """The frames of sample `index` in a clip whose face was found in the frames `found` (F,) bool.

    A reference and `frames_per_reference` targets at least `min_distance_frames` from it, or a run of
    `clip_frames` at one stride and a reference from anywhere. References and targets apart from each other
    show a face that was found, if two frames do; where a clip is short, targets repeat.
    The clip must have `config.frames_needed` frames.
    """
    rng = generator(seed, index, Purpose.FRAMES)
    seen = np.flatnonzero(found)
    if len(seen) < 2:
        seen = np.arange(len(found))
    if config.clip_frames == 1:
        return _draw_apart(config, seen, rng)
    fitting = (len(found) - 1) // (config.clip_frames - 1)
    stride = int(rng.integers(config.stride_min, min(config.stride_max, fitting) + 1))
    span = (config.clip_frames - 1) * stride
    start = int(rng.integers(len(found) - span))
    return FrameDraw(int(rng.choice(seen)), np.arange(start, start + span + 1, stride))


def draw_divisor(config: PatchConfig, *, seed: int, index: int) -> int:
    """Half a square patch is the picture's side over this, U{8..16} [R]."""
    rng = generator(seed, index, Purpose.PATCH)
    return int(rng.integers(config.divisor_min, config.divisor_max + 1))


def _draw_regions(config: DataConfig, mode: Mode, *, seed: int, index: int) -> frozenset[Region]:
    """M_driven: drawn in the visual mode (face dropout), the eyes in the mixed one [P]."""
    if mode == "audio":
        return _NOTHING
    if mode == "mixed":
        return _EYES
    names = list(_DROPOUT_SETS)
    shares = [getattr(config.face_dropout, name) for name in names]
    return _DROPOUT_SETS[names[_choose(shares, generator(seed, index, Purpose.REGIONS))]]


def _draw_apart(config: DataConfig, frames: np.ndarray, rng: np.random.Generator) -> FrameDraw:
    """A target, a reference at a distance from it, and more targets at a distance from that."""
    target = int(rng.choice(frames))
    reference = int(rng.choice(_at_distance(frames, target, config.min_distance_frames)))
    others = _at_distance(frames, reference, config.min_distance_frames)
    others = others[others != target]
    more = config.frames_per_reference - 1
    if more == 0 or len(others) == 0:
        return FrameDraw(reference, np.repeat(target, 1 + more))
    drawn = rng.choice(others, more, replace=more > len(others))
    return FrameDraw(reference, np.sort(np.append(drawn, target)))


def _at_distance(frames: np.ndarray, place: int, distance: int) -> np.ndarray:
    """The frames at least `distance` from `place`; where there is none, the farthest."""
    apart = np.abs(frames - place)
    return frames[apart >= min(distance, apart.max())]


def _choose(shares: list[float], rng: np.random.Generator) -> int:
    """An index by shares; a share of zero is never chosen, whatever rounding does to the sum."""
    possible = np.flatnonzero(shares)
    borders = np.cumsum(np.array(shares)[possible])
    place = int(np.searchsorted(borders, rng.random() * borders[-1], side="right"))
    return int(possible[min(place, len(possible) - 1)])


@lru_cache(maxsize=_ORDERS_KEPT)
def _order(count: int, seed: int, epoch: int) -> np.ndarray:
    return generator(seed, epoch, Purpose.ORDER).permutation(count)
