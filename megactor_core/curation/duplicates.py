"""Clips that are there twice, and the splits of those that belong together.

VoxCeleb, HDTF and TalkingHead-1KH are all cut from YouTube: the same minute of the same video can lie in two
of them, and a speaker to test on in the training clips of another.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from megactor_core.config.splits import Split

_FILE: Final = "file "


@dataclass(frozen=True, slots=True)
class Placed:
    """As much of a clip as says where it comes from."""

    clip_id: str
    dataset: str
    identity: str
    source_id: str | None
    content: str
    """Digest of its file; copies have the same."""
    start_seconds: float
    end_seconds: float
    """The part of the file."""
    source_start_seconds: float | None
    """Where the file begins in its source; None: unknown."""
    split: Split


def find_duplicates(clips: Iterable[Placed]) -> dict[str, str]:
    """Clips that show what another one shows, and which: the same part of the same file or source.

    Kept is the one that is held back for validation, then the first by data set and name. Parts of one data
    set that overlap are that data set's own business; equal parts of equal files are not. Where it is not
    known which part of a source a file is, it may be any.
    """
    groups: dict[str, list[Placed]] = {}
    for clip in sorted(clips, key=lambda clip: (clip.split != "validation", clip.dataset, clip.clip_id)):
        for key in _keys(clip):
            groups.setdefault(key, []).append(clip)
    duplicates: dict[str, str] = {}
    for key, group in groups.items():
        for position, clip in enumerate(group):
            for earlier in group[:position]:
                if earlier.clip_id not in duplicates and _shows_the_same(earlier, clip, by=key):
                    duplicates.setdefault(clip.clip_id, earlier.clip_id)
                    break
    return duplicates


def joint_splits(clips: Sequence[Placed]) -> dict[str, Split]:
    """A split for each clip by clip_id, the same for all that share an identity's name or a source.

    Where they disagree it is validation: a speaker to test on must not be trained on. Training knows people
    by name alone, so namesakes of two data sets are one here too.
    """
    parents: dict[tuple[str, ...], tuple[str, ...]] = {}

    def root(node: tuple[str, ...]) -> tuple[str, ...]:
        while (above := parents.setdefault(node, node)) != node:
            parents[node] = parents[above]
            node = above
        return node

    for clip in clips:
        for one, other in pairwise(_nodes(clip)):
            parents[root(one)] = root(other)
    held_back = {root(_nodes(clip)[0]) for clip in clips if clip.split == "validation"}
    return {clip.clip_id: "validation" if root(_nodes(clip)[0]) in held_back else "train" for clip in clips}


def _keys(clip: Placed) -> Iterator[str]:
    yield f"{_FILE}{clip.content}"
    if clip.source_id is not None:
        yield f"source {clip.source_id}"


def _nodes(clip: Placed) -> list[tuple[str, ...]]:
    person = ("person", clip.identity)
    return [person] if clip.source_id is None else [person, ("source", clip.source_id)]


def _shows_the_same(one: Placed, other: Placed, *, by: str) -> bool:
    if by.startswith(_FILE):
        is_equal = (one.start_seconds, one.end_seconds) == (other.start_seconds, other.end_seconds)
        return is_equal or (one.dataset != other.dataset and _overlap(one, other, 0.0, 0.0))
    if one.dataset == other.dataset:
        return False
    first, second = one.source_start_seconds, other.source_start_seconds
    return first is None or second is None or _overlap(one, other, first, second)


def _overlap(one: Placed, other: Placed, first: float, second: float) -> bool:
    """Whether two parts share time, where their files begin at `first` and `second`."""
    return (
        first + one.start_seconds < second + other.end_seconds
        and second + other.start_seconds < first + one.end_seconds
    )
