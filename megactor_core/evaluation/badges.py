"""Clips that carry a visible badge are compared from where it ends: it is no part of what the model made."""

from pathlib import Path

from megactor_core.animation.verify import badge_seconds
from megactor_core.config.media import MediaLimits
from megactor_core.errors import MediaError
from megactor_core.evaluation.pairing import Pair
from megactor_core.media.video import probe_video


def unbadged_from(pair: Pair, *, limits: MediaLimits) -> float:
    """Time in seconds from which on neither clip carries a badge, by what the clips say of themselves.

    Raises MediaError where one of them carries it to its end, or cannot be read.
    """
    return max(_unbadged_from(path, limits) for path in (pair.generated, pair.real))


def _unbadged_from(video: Path, limits: MediaLimits) -> float:
    badged = badge_seconds(video, limits=limits)
    if not badged:
        return 0.0
    info = probe_video(video, limits=limits)
    half_frame = 0.5 / float(info.video_fps)
    if badged > info.seconds - half_frame:
        raise MediaError(
            f"'{video}' says that all of it, {info.seconds:g} s, carries a visible badge.",
            fix="Animate it anew with --badge off to measure it.",
        )
    return badged
