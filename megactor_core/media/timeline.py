"""From time-stamped frames to a constant frame rate: arithmetic on exact fractions, no codec in sight."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice, repeat
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Timed(Generic[Item]):
    """A frame, when it appears (counted from the first frame) and how long it stays."""

    item: Item
    seconds: Fraction
    duration_seconds: Fraction


def at_constant_rate(frames: Iterable[Timed[Item]], *, video_fps: Fraction) -> Iterator[Item]:
    """Repeat or leave out frames so that they are `video_fps` a second.

    `frames` appear in strictly rising order. Output frame k is the one nearest to time k / video_fps, but a
    frame that stays longer than an output frame (variable rate, or a hole where damaged ones lay) is held
    until the next is due. Their number is the length of the clip, to the end of the last frame, times
    `video_fps`, rounded, and at least one for a clip with frames. A clip at that very rate comes out frame
    for frame, even where its container rounded the time stamps.
    """
    current: Timed[Item] | None = None
    held: list[Item] = []
    picked = 0
    for following in frames:
        due = -1 if current is None else _last_tick_before(current, following, video_fps=video_fps)
        while current is not None and picked <= due:
            # The last pick may lie past the rounded end of the clip, which is not known yet: keep it back.
            yield from held
            held = [current.item]
            picked += 1
        current = following
    if current is None:
        return
    total = max(1, round((current.seconds + current.duration_seconds) * video_fps))
    left = total - picked + len(held)
    yield from islice(chain(held, repeat(current.item)), left)


def _last_tick_before(current: Timed[Item], following: Timed[Item], *, video_fps: Fraction) -> int:
    """The last output frame that still shows `current`.

    `following` takes over half a frame before its time stamp, so that the nearest frame is shown and rounded
    stamps do no harm; half the shortest interval in play, so that a long hold is not cut in half.
    """
    gap_seconds = following.seconds - current.seconds
    lead_seconds = min(gap_seconds, following.duration_seconds, 1 / video_fps) / 2
    return (following.seconds - lead_seconds) * video_fps // 1
