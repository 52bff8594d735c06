"""InceptionV3 as FID knows it: the classifier of 2015-12-05 in the layout of pytorch-fid's weights.

Szegedy et al. 2015 with 1008 classes, of which FID takes the 2048 means of the last maps. It differs from the
common torch model in its pools: means leave the border out, and the last mixed layer takes a maximum.

Shape legend:
    B pictures   F frames   C channels   h, w side of a map: 299 -> 149 -> 73 -> 35 -> 17 -> 8
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from torch import Tensor, nn

from megactor_core import weights
from megactor_core.metrics.frames import require_frames
from megactor_core.metrics.published import fill, run

InceptionPreprocessing = Literal["pytorch-fid", "clean"]

ENTRY: Final = "fid"
WEIGHTS_FILE: Final = "pt_inception-2015-12-05-6726825d.pth"
SIDE_PX: Final = 299
FEATURES: Final = 2048
CLASSES: Final = 1008
NORM_EPS: Final = 1e-3

Pool = Literal["mean", "max", "max by 2"]


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution, its normalisation and ReLU; padded so as to keep the size, unless it is not `padded`."""

    name: str
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padded: bool = True


@dataclass(frozen=True, slots=True)
class Fork:
    """Two convolutions of the same input, side by side."""

    left: Conv
    right: Conv


Step = Conv | Fork | Pool
Branch = tuple[Step, ...]


def load_inception(path: Path | None = None) -> "InceptionV3":
    """The network with the published weights, from `path` or from the cache.

    Raises WeightsError where they are missing (it names the command that gets them) or are other weights.
    """
    return fill(InceptionV3, path or weights.find(ENTRY) / WEIGHTS_FILE, entry=ENTRY)


def inception_features(
    network: "InceptionV3", frames: np.ndarray, *, preprocessing: InceptionPreprocessing
) -> np.ndarray:
    """FID's features of each frame: (F, H, W, 3) uint8 -> (F, 2048) float32.

    pytorch-fid: bilinear to 299x299 without smoothing, then x / 127.5 - 1. clean (clean-fid): Pillow's
    bicubic, which smooths, each colour in real numbers, then (x - 128) / 128.
    Raises MetricError where these are no frames.
    """
    require_frames(frames)
    prepare = _pytorch_fid if preprocessing == "pytorch-fid" else _clean
    return run(network, (prepare(frame) for frame in frames), width=FEATURES)


class InceptionV3(nn.Module):
    """(B, 3, 299, 299) about [-1, 1] -> (B, 2048). Names and shapes are those of pytorch-fid's file."""

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        for step in _STEM:
            if isinstance(step, Conv):
                self.add_module(step.name, ConvNorm(channels, step))
                channels = step.channels
        for name, branches in _MIXED.items():
            mixed = Mixed(channels, branches)
            self.add_module(name, mixed)
            channels = mixed.channels
        self.fc = nn.Linear(FEATURES, CLASSES)  # in the file, not in the features

    def forward(self, pictures: Tensor) -> Tensor:
        x = pictures
        for step in _STEM:
            x = self.get_submodule(step.name)(x) if isinstance(step, Conv) else _pooled(x, step)
        for name in _MIXED:
            x = self.get_submodule(name)(x)  # ... (B, 2048, 8, 8)
        return x.mean(dim=(2, 3))


class ConvNorm(nn.Module):
    """Convolution, normalisation by stored statistics, ReLU: (B, C, h, w) -> (B, C', h', w')."""

    def __init__(self, channels: int, conv: Conv) -> None:
        super().__init__()
        out, height, width = conv.channels, *conv.kernel
        padding = (height // 2, width // 2) if conv.padded else 0
        self.conv = nn.Conv2d(channels, out, conv.kernel, stride=conv.stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Branches of the same input, their channels joined: (B, C, h, w) -> (B, C', h', w')."""

    def __init__(self, channels: int, branches: tuple[Branch, ...]) -> None:
        super().__init__()
        self.branches = branches
        self.channels = sum(self._add_branch(channels, branch) for branch in branches)

    def _add_branch(self, channels: int, branch: Branch) -> int:
        for step in branch:
            parts = [step.left, step.right] if isinstance(step, Fork) else [step]
            convs = [part for part in parts if isinstance(part, Conv)]
            for conv in convs:
                self.add_module(conv.name, ConvNorm(channels, conv))
            channels = sum(conv.channels for conv in convs) or channels
        return channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._branch(x, branch) for branch in self.branches], dim=1)

    def _branch(self, x: Tensor, branch: Branch) -> Tensor:
        for step in branch:
            match step:
                case Conv():
                    x = self.get_submodule(step.name)(x)
                case Fork():
                    left, right = (self.get_submodule(conv.name)(x) for conv in (step.left, step.right))
                    x = torch.cat([left, right], dim=1)
                case _:
                    x = _pooled(x, step)
        return x


def _pooled(x: Tensor, kind: Pool) -> Tensor:
    if kind == "mean":
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    if kind == "max":
        return F.max_pool2d(x, 3, stride=1, padding=1)
    return F.max_pool2d(x, 3, stride=2)


# ---------------------------------------------------------------- the layers, by their names in the file

_STEM: Final[tuple[Conv | Pool, ...]] = (
    Conv("Conv2d_1a_3x3", 32, (3, 3), stride=2, padded=False),
    Conv("Conv2d_2a_3x3", 32, (3, 3), padded=False),
    Conv("Conv2d_2b_3x3", 64, (3, 3)),
    "max by 2",
    Conv("Conv2d_3b_1x1", 80),
    Conv("Conv2d_4a_3x3", 192, (3, 3), padded=False),
    "max by 2",
)


def _mixed_35(pool_channels: int) -> tuple[Branch, ...]:
    return (
        (Conv("branch1x1", 64),),
        (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, (5, 5))),
        (
            Conv("branch3x3dbl_1", 64),
            Conv("branch3x3dbl_2", 96, (3, 3)),
            Conv("branch3x3dbl_3", 96, (3, 3)),
        ),
        ("mean", Conv("branch_pool", pool_channels)),
    )


def _mixed_17(middle: int) -> tuple[Branch, ...]:
    return (
        (Conv("branch1x1", 192),),
        (
            Conv("branch7x7_1", middle),
            Conv("branch7x7_2", middle, (1, 7)),
            Conv("branch7x7_3", 192, (7, 1)),
        ),
        (
            Conv("branch7x7dbl_1", middle),
            Conv("branch7x7dbl_2", middle, (7, 1)),
            Conv("branch7x7dbl_3", middle, (1, 7)),
            Conv("branch7x7dbl_4", middle, (7, 1)),
            Conv("branch7x7dbl_5", 192, (1, 7)),
        ),
        ("mean", Conv("branch_pool", 192)),
    )


def _mixed_8(pool: Pool) -> tuple[Branch, ...]:
    return (
        (Conv("branch1x1", 320),),
        (
            Conv("branch3x3_1", 384),
            Fork(Conv("branch3x3_2a", 384, (1, 3)), Conv("branch3x3_2b", 384, (3, 1))),
        ),
        (
            Conv("branch3x3dbl_1", 448),
            Conv("branch3x3dbl_2", 384, (3, 3)),
            Fork(Conv("branch3x3dbl_3a", 384, (1, 3)), Conv("branch3x3dbl_3b", 384, (3, 1))),
        ),
        (pool, Conv("branch_pool", 192)),
    )


_MIXED: Final[dict[str, tuple[Branch, ...]]] = {
    "Mixed_5b": _mixed_35(32),
    "Mixed_5c": _mixed_35(64),
    "Mixed_5d": _mixed_35(64),
    "Mixed_6a": (
        (Conv("branch3x3", 384, (3, 3), stride=2, padded=False),),
        (
            Conv("branch3x3dbl_1", 64),
            Conv("branch3x3dbl_2", 96, (3, 3)),
            Conv("branch3x3dbl_3", 96, (3, 3), stride=2, padded=False),
        ),
        ("max by 2",),
    ),
    "Mixed_6b": _mixed_17(128),
    "Mixed_6c": _mixed_17(160),
    "Mixed_6d": _mixed_17(160),
    "Mixed_6e": _mixed_17(192),
    "Mixed_7a": (
        (Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, (3, 3), stride=2, padded=False)),
        (
            Conv("branch7x7x3_1", 192),
            Conv("branch7x7x3_2", 192, (1, 7)),
            Conv("branch7x7x3_3", 192, (7, 1)),
            Conv("branch7x7x3_4", 192, (3, 3), stride=2, padded=False),
        ),
        ("max by 2",),
    ),
    "Mixed_7b": _mixed_8("mean"),
    "Mixed_7c": _mixed_8("max"),
}


# ---------------------------------------------------------------- preprocessing


def _pytorch_fid(frame: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (3, 299, 299) float32 in [-1, 1]."""
    pixels = rearrange(torch.from_numpy(frame), "h w c -> 1 c h w").float() / 255
    resized = F.interpolate(pixels, size=(SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False)
    return resized[0] * 2 - 1


def _clean(frame: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (3, 299, 299) float32 in [-1, 1)."""

    def resized() -> Iterator[np.ndarray]:
        for colour in range(3):
            plane = Image.fromarray(np.ascontiguousarray(frame[..., colour], dtype=np.float32))
            yield np.asarray(plane.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)).clip(0, 255)

    return (torch.from_numpy(np.stack(list(resized()))) - 128) / 128
