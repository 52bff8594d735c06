"""I3D as FVD knows it: the Kinetics-400 classifier of video, in the layout of i3d_pretrained_400.pt.

Carreira and Zisserman 2017 (RGB). FVD takes the 400 logits, before the softmax, as features of a clip.

Shape legend:
    B clips   C channels   T frames, halved three times: 16 -> 8 -> 4 -> 2   h, w 224 -> 112 -> ... -> 7
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from megactor_core import weights
from megactor_core.errors import MetricError
from megactor_core.metrics.frames import require_frames
from megactor_core.metrics.published import fill, run

I3DPreprocessing = Literal["styleganv", "videogpt", "cd-fvd"]

ENTRY: Final = "fvd"
WEIGHTS_FILE: Final = "i3d_pretrained_400.pt"
SIDE_PX: Final = 224
CLASSES: Final = 400
LEAST_FRAMES: Final = 10
NORM_EPS: Final = 1e-3

Size3 = tuple[int, int, int]

_POOLS: Final[dict[str, tuple[Size3, Size3]]] = {
    "MaxPool3d_2a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_3a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "MaxPool3d_5a_2x2": ((2, 2, 2), (2, 2, 2)),
}
"""Kernel and stride."""
_STEM: Final[dict[str, tuple[int, int, int]]] = {
    "Conv3d_1a_7x7": (64, 7, 2),
    "Conv3d_2b_1x1": (64, 1, 1),
    "Conv3d_2c_3x3": (192, 3, 1),
}
"""Channels, kernel, stride."""
_MIXED: Final[dict[str, tuple[int, int, int, int, int, int]]] = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
"""Channels of b0, b1a, b1b, b2a, b2b, b3b."""
_ORDER: Final = (
    *("Conv3d_1a_7x7", "MaxPool3d_2a_3x3", "Conv3d_2b_1x1", "Conv3d_2c_3x3", "MaxPool3d_3a_3x3"),
    *("Mixed_3b", "Mixed_3c", "MaxPool3d_4a_3x3", "Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f"),
    *("MaxPool3d_5a_2x2", "Mixed_5b", "Mixed_5c"),
)


def load_i3d(path: Path | None = None) -> "InceptionI3d":
    """The network with the published weights, from `path` or from the cache.

    Raises WeightsError where they are missing (it names the command that gets them) or are other weights.
    """
    return fill(InceptionI3d, path or weights.find(ENTRY) / WEIGHTS_FILE, entry=ENTRY)


def i3d_features(
    network: "InceptionI3d", clips: Sequence[np.ndarray], *, preprocessing: I3DPreprocessing
) -> np.ndarray:
    """FVD's features of each clip: (T, H, W, 3) uint8 each, at least 10 frames -> (B, 400) float32.

    styleganv and videogpt make the shorter side 224 pixels and cut the middle out; videogpt also rounds
    real-valued frames to 8 bits, which decoded frames are already, so the two agree here. They stay two names
    because published numbers were made with two files: styleganv's own is a TorchScript program, which is not
    run. cd-fvd stretches the whole picture to 224x224. All are bilinear without smoothing, to [-1, 1].
    Raises MetricError for clips that are too short.
    """
    for clip in clips:
        require_frames(clip)
        if len(clip) < LEAST_FRAMES:
            raise MetricError(
                f"FVD needs clips of at least {LEAST_FRAMES} frames; one has {len(clip)}.",
                fix="Give longer clips, or leave this metric out.",
            )
    whole = preprocessing == "cd-fvd"
    return run(network, (_prepared(clip, whole=whole) for clip in clips), width=CLASSES)


class InceptionI3d(nn.Module):
    """(B, 3, T, 224, 224) in [-1, 1] -> (B, 400) logits, the mean over time. Names are those of the file."""

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        for name in _ORDER:
            if name in _STEM:
                out, kernel, stride = _STEM[name]
                self.add_module(name, Unit3d(channels, out, kernel=kernel, stride=stride))
                channels = out
            elif name in _MIXED:
                self.add_module(name, Mixed3d(channels, _MIXED[name]))
                b0, _, b1, _, b2, b3 = _MIXED[name]
                channels = b0 + b1 + b2 + b3
        self.logits = Unit3d(channels, CLASSES, kernel=1, last=True)

    def forward(self, clips: Tensor) -> Tensor:
        x = clips
        for name in _ORDER:
            x = _max_pool(x, *_POOLS[name]) if name in _POOLS else self.get_submodule(name)(x)
        x = F.avg_pool3d(x, (2, 7, 7), stride=1)  # (B, 1024, T / 8 - 1, 1, 1)
        return rearrange(self.logits(x), "b c t 1 1 -> b c t").mean(dim=-1)


class Unit3d(nn.Module):
    """Convolution padded as TensorFlow's SAME, normalisation and ReLU; the last one has a bias instead."""

    def __init__(self, channels: int, out: int, *, kernel: int, stride: int = 1, last: bool = False) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(channels, out, kernel, stride=stride, bias=last)
        if not last:
            self.bn = nn.BatchNorm3d(out, eps=NORM_EPS)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3d(_same_padded(x, self.kernel, self.stride))
        return x if self.last else F.relu(self.bn(x))


class Mixed3d(nn.Module):
    """Four branches of the same input, their channels joined: (B, C, T, h, w) -> (B, C', T, h, w)."""

    def __init__(self, channels: int, outs: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        b0, b1a, b1b, b2a, b2b, b3b = outs
        self.b0 = Unit3d(channels, b0, kernel=1)
        self.b1a, self.b1b = Unit3d(channels, b1a, kernel=1), Unit3d(b1a, b1b, kernel=3)
        self.b2a, self.b2b = Unit3d(channels, b2a, kernel=1), Unit3d(b2a, b2b, kernel=3)
        self.b3b = Unit3d(channels, b3b, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = _max_pool(x, (3, 3, 3), (1, 1, 1))
        branches = [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)]
        return torch.cat(branches, dim=1)


def _max_pool(x: Tensor, kernel: Size3, stride: Size3) -> Tensor:
    return F.max_pool3d(_same_padded(x, kernel, stride), kernel, stride)


def _same_padded(x: Tensor, kernel: Size3, stride: Size3) -> Tensor:
    """Zeros as TensorFlow's SAME puts them: ceil(size / stride) outputs, the odd one at the end."""
    pads: list[int] = []
    for size, k, step in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        missing = max(0, (math.ceil(size / step) - 1) * step + k - size)
        pads += [missing // 2, missing - missing // 2]
    return F.pad(x, pads)


def _prepared(clip: np.ndarray, *, whole: bool) -> Tensor:
    """(T, H, W, 3) uint8 -> (3, T, 224, 224) float32 in [-1, 1]: the middle, or the whole stretched."""
    pixels = rearrange(torch.from_numpy(clip), "t h w c -> c t h w").float() / 255
    size = (SIDE_PX, SIDE_PX) if whole else _shorter_side_fits(*clip.shape[1:3])
    pixels = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
    top, left = (size[0] - SIDE_PX) // 2, (size[1] - SIDE_PX) // 2
    return (pixels[..., top : top + SIDE_PX, left : left + SIDE_PX] - 0.5) * 2


def _shorter_side_fits(height: int, width: int) -> tuple[int, int]:
    scale = SIDE_PX / min(height, width)
    return (SIDE_PX, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), SIDE_PX)
