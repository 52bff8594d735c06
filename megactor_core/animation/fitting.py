"""How many windows are denoised at once where the user does not say."""

from typing import Final

import torch

from megactor_core.config.model import ModelConfig
from megactor_core.models.device import memory_use
from megactor_core.models.memory import prediction_bytes, window_bytes

SHARE_OF_FREE: Final = 0.8
"""Of the free memory; the rest is for kernels' own buffers and what does not fit together (ours)."""
MOST_WINDOWS: Final = 8
"""More at once gain nothing: a window of 16 frames at 512 px fills a device by itself (ours)."""


def fitting_windows(
    config: ModelConfig, *, device: torch.device, item_bytes: int, size_px: int, frames: int, guided: bool
) -> int:
    """Windows of so many frames that fit into what is free beside the weights, at least 1, at most 8.

    1 on a CPU, which gains nothing by several, and where nothing says what is free. What was counted too low
    is put right while the run goes on (see backoff).
    """
    use = memory_use(device)
    if device.type == "cpu" or use is None:
        return 1
    one = window_bytes(config, frames=frames, size_px=size_px, item_bytes=item_bytes)
    if guided:
        one += prediction_bytes(config, frames=frames, size_px=size_px, item_bytes=item_bytes)
    _, free = use
    return max(1, min(MOST_WINDOWS, int(SHARE_OF_FREE * free / one)))
