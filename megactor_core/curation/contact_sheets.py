"""The clips that a report shows: some that are kept, those that fail by little, and some of each reason.

Which ones follows from the decisions alone, so the same results show the same clips: samples are drawn by a
hash of the name, and near misses are the nearest ones.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from megactor_core.curation.manifest import DUPLICATE, Judged
from megactor_core.curation.pictures import Picture
from megactor_core.curation.rules import RULES, Failure
from megactor_core.pages.page import Markup, duration, jpeg, note, paragraph, percent, small, tag

MOST_KEPT: Final = 12
MOST_NEAR: Final = 12
MOST_OF_A_REASON: Final = 4
"""Clips that are shown (ours)."""
NEAR: Final = 0.5
"""A near miss is past each limit that it breaks by at most this share of the limit (ours)."""
_MOST_FAILURES: Final = 8
_IN_SHORT: Final = ("seconds", "face_width_mean", "face_height_mean", "rotation_magnitude_mean")
_ORDER_SEED: Final = "shown in the report"


@dataclass(frozen=True, slots=True)
class Sheets:
    """The clips to show, and how many there are of each kind."""

    kept: tuple[Judged, ...]
    near: tuple[Judged, ...]
    rejected: Mapping[str, tuple[Judged, ...]]
    """By the first reason, in the order of the gates."""
    kept_in_all: int
    near_in_all: int
    rejected_in_all: Mapping[str, int]

    def clips(self) -> list[Judged]:
        """Each that is shown, once, sorted by clip_id."""
        of_reasons = (clip for clips in self.rejected.values() for clip in clips)
        shown = {clip.clip_id: clip for clip in (*self.kept, *self.near, *of_reasons)}
        return [shown[name] for name in sorted(shown)]


def choose_clips(judged: Sequence[Judged]) -> Sheets:
    """Choose what a report shows of all clips."""
    kept = [clip for clip in judged if clip.keep]
    rejected = [clip for clip in judged if clip.status == "rejected"]
    near = [clip for clip in rejected if (share := past_by(clip.failures)) is not None and share <= NEAR]
    by_reason: dict[str, list[Judged]] = {}
    for clip in rejected:
        by_reason.setdefault(clip.failures[0].rule, []).append(clip)
    order = {name: place for place, name in enumerate((*(rule.name for rule in RULES), DUPLICATE))}
    reasons = sorted(by_reason, key=lambda reason: order[reason])
    return Sheets(
        kept=tuple(_sample(kept, MOST_KEPT)),
        near=tuple(sorted(near, key=lambda clip: (past_by(clip.failures), clip.clip_id))[:MOST_NEAR]),
        rejected={reason: tuple(_sample(by_reason[reason], MOST_OF_A_REASON)) for reason in reasons},
        kept_in_all=len(kept),
        near_in_all=len(near),
        rejected_in_all={reason: len(by_reason[reason]) for reason in reasons},
    )


def past_by(failures: Iterable[Failure]) -> float | None:
    """By how much a clip misses the limit that it misses most, as a share of it.

    None where it breaks no rule, or one that is no matter of more or less. A limit of 0 counts as 1.
    """
    shares: list[float] = []
    for failure in failures:
        if failure.value is None or failure.limit is None:
            return None
        shares.append(abs(failure.value - failure.limit) / (abs(failure.limit) or 1.0))
    return max(shares, default=None)


def sheets_html(sheets: Sheets, pictures: Mapping[str, Picture]) -> Iterator[Markup]:
    """The section's parts: kept, near misses, and each reason."""
    yield note(
        "Key frames at a sixth, a half and five sixths of the clip, each once. Samples are drawn by a hash "
        "of the clips' names; near misses are the nearest ones."
    )
    yield tag("h3", {}, f"Kept: {len(sheets.kept)} of {sheets.kept_in_all}")
    yield _sheet(sheets.kept, pictures) if sheets.kept else paragraph("No clip is kept.")
    yield tag("h3", {}, f"Near misses: {len(sheets.near)} of {sheets.near_in_all}, the nearest first")
    yield note(
        f"Rejected by numbers that miss their limits by {percent(NEAR)} at most. What comes after the gate "
        "that stopped a clip was not measured, unless it is audited: there may be more against it."
    )
    yield _sheet(sheets.near, pictures) if sheets.near else paragraph("None.")
    for reason, clips in sheets.rejected.items():
        yield tag("h3", {}, f"Rejected, {reason} first: {len(clips)} of {sheets.rejected_in_all[reason]}")
        yield _sheet(clips, pictures)


def _sheet(clips: Sequence[Judged], pictures: Mapping[str, Picture]) -> Markup:
    return tag("div", {"class": "sheet"}, *(_figure(clip, pictures[clip.clip_id]) for clip in clips))


def _figure(clip: Judged, picture: Picture) -> Markup:
    name = Path(clip.row["source_path"]).name
    if picture.jpeg is None:
        shown = tag("div", {"class": "nothing"}, picture.why)
    else:
        shown = jpeg(picture.jpeg, shows=f"frames of {name}")
    return tag("figure", {}, shown, tag("figcaption", {}, tag("b", {}, name), *_said(clip)))


def _said(clip: Judged) -> Iterator[Markup]:
    measures = clip.measures
    seconds, width, height, degrees = (measures.get(name) for name in _IN_SHORT)
    parts = [clip.row["dataset"], "length unknown" if seconds is None else duration(seconds)]
    if width is not None and height is not None:
        parts.append(f"face {width:.0f} x {height:.0f}")
    if degrees is not None:
        parts.append(f"turned by {degrees:.0f}°")
    yield small(", ".join(parts))
    for failure in clip.failures[:_MOST_FAILURES]:
        share = past_by([failure])
        yield tag("div", {}, failure.reason, *([] if share is None else [f" ({percent(share)} past)"]))
    if len(clip.failures) > _MOST_FAILURES:
        yield small(f"and {len(clip.failures) - _MOST_FAILURES} more")


def _sample(clips: Iterable[Judged], most: int) -> list[Judged]:
    """Some of the clips, the same ones of the same clips."""
    return sorted(clips, key=_place)[:most]


def _place(clip: Judged) -> bytes:
    return hashlib.blake2b(f"{_ORDER_SEED} {clip.clip_id}".encode(), digest_size=8).digest()
