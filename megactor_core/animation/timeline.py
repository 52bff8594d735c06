"""How many frames the output has, and which driving frame each of them follows."""

from fractions import Fraction

from megactor_core.config.animate import DrivingEnd

NOTHING = -1
"""In place of a driving frame: nothing drives this output frame."""


def output_frames(
    seconds: float | Fraction, *, video_fps: Fraction, limit_seconds: float | None = None
) -> int:
    """Frames of an output that covers `seconds` (cut to the limit) to within half a frame; at least one."""
    if limit_seconds is not None:
        seconds = min(seconds, limit_seconds)
    return max(1, round(Fraction(seconds) * video_fps))


def driving_frames(frames: int, *, available: int, end: DrivingEnd) -> list[int]:
    """The driving frame of each output frame, for a driving clip of `available` frames.

    Beyond its end `pingpong` plays the clip backwards and forwards, `hold` repeats its last frame and `stop`
    drives nothing. Without a driving clip (`available` is 0) nothing drives at all.
    """
    if available == 0:
        return [NOTHING] * frames
    if end == "stop":
        return [k if k < available else NOTHING for k in range(frames)]
    if end == "hold" or available == 1:
        return [min(k, available - 1) for k in range(frames)]
    period = 2 * (available - 1)
    return [min(k % period, period - k % period) for k in range(frames)]
