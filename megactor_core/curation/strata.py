"""A sample of clips, drawn evenly by data set and size: by what is known before anything is opened."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from megactor_core.config.curate import ForecastConfig
from megactor_core.curation.sources import SourceClip

CLIPS_A_STRATUM = 2
"""Drawn from each stratum at least, where the data set has so many: one alone says nothing of its spread."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """Clips of one data set and about one size, and those of them that are drawn."""

    dataset: str
    clips: int
    drawn: tuple[SourceClip, ...]


def draw_strata(clips: Sequence[SourceClip], config: ForecastConfig) -> list[Stratum]:
    """Strata by data set and size; the same for the same clips and seed, whatever the other data sets."""
    datasets = sorted({clip.dataset for clip in clips})
    return [
        stratum
        for name in datasets
        for stratum in _strata_of(name, [clip for clip in clips if clip.dataset == name], config)
    ]


def _strata_of(dataset: str, clips: Sequence[SourceClip], config: ForecastConfig) -> list[Stratum]:
    by_size = sorted(clips, key=lambda clip: (*_size(clip), clip.clip_id))
    wanted = min(config.clips, len(clips))
    count = max(1, min(config.size_groups, wanted // CLIPS_A_STRATUM))
    shares = [len(part) for part in np.array_split(np.arange(wanted), count)]
    groups = np.array_split(np.arange(len(clips)), count)
    strata = []
    for number, (group, share) in enumerate(zip(groups, shares, strict=True)):
        rng = np.random.default_rng([config.seed, _key(dataset), number])
        drawn = sorted(rng.choice(group, size=share, replace=False).tolist())
        strata.append(Stratum(dataset, len(group), tuple(by_size[index] for index in drawn)))
    return strata


def _size(clip: SourceClip) -> tuple[bool, float]:
    """The seconds of a part that a manifest names, else the bytes of the file, -1 of one that is gone.

    Parts stand after whole files.
    """
    if clip.end_s is not None:
        return True, clip.end_s - (clip.start_s or 0.0)
    try:
        return False, float(clip.path.stat().st_size)
    except OSError:
        return False, -1.0


def _key(dataset: str) -> int:
    return int.from_bytes(hashlib.blake2b(dataset.encode(), digest_size=6).digest(), "big")
