"""What every metric of pictures asks of them, before it looks at a pixel."""

import numpy as np

from megactor_core.errors import MetricError


def require_frames(frames: np.ndarray, *, name: str = "The frames") -> None:
    """Raise MetricError unless the array is (F, H, W, 3) uint8, with at least one frame."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise MetricError(
            f"{name} are {frames.shape} {frames.dtype}, not (frames, height, width, 3) uint8.",
            fix="Give RGB frames as they were decoded.",
        )


def require_pair(real: np.ndarray, generated: np.ndarray) -> None:
    """Raise MetricError unless both are frames, equally many and of one size."""
    require_frames(real, name="The real frames")
    require_frames(generated, name="The generated frames")
    if len(real) != len(generated):
        raise MetricError(
            f"There are {len(real)} real and {len(generated)} generated frames.",
            fix="Cut both to the same length.",
        )
    if real.shape != generated.shape:
        raise MetricError(
            f"The real frames have {_size(real)} pixels, the generated ones {_size(generated)}.",
            fix="Resize one of them.",
        )


def require_side(frames: np.ndarray, *, metric: str, least_px: int) -> None:
    """Raise MetricError where the frames' shorter side has fewer than `least_px` pixels."""
    if min(frames.shape[1:3]) < least_px:
        raise MetricError(
            f"{metric} needs sides of at least {least_px} pixels; the frames have {_size(frames)}.",
            fix="Leave this metric out, or give larger frames.",
        )


def _size(frames: np.ndarray) -> str:
    return f"{frames.shape[2]}x{frames.shape[1]}"
