"""The gauge: reads expression, pose and landmarks off pictures of this project's synthetic people.

A landmark detector has a view of its own of what a mouth looks like and reads a soft one badly. The truth of
synthetic frames is known exactly, so a small network can learn to read it, and can be shown to do so on
people it has not seen. It knows nothing of photographs. Not in the paper.

Shape legend:
    B pictures   F frames   S side of the picture   H = W = S / 4   P = 68 maps   R traits
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from einops import einsum, rearrange
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from megactor_core.errors import MetricError, WeightsError, first_line
from megactor_core.faces.openings import OUTER_EYE_CORNERS
from megactor_core.files import atomic_path, read_json, require_writable_folder, write_json
from megactor_core.metrics.frames import require_frames

SIZE_PX: Final = 128
"""Side of the pictures that the gauge reads."""
MOUTH: Final = ("mouth_open", "mouth_wide", "smile")
EYES: Final = ("eye_open", "gaze_x", "gaze_y", "brow")
POSE: Final = ("yaw_degrees", "pitch_degrees", "roll_degrees")
TRAITS: Final = MOUTH + EYES + POSE
"""What it reads beside the landmarks, as in synthetic.state.FaceState."""
POINTS: Final = 68
WEIGHTS, FACTS = "gauge.safetensors", "gauge.json"
_STRIDE_PX: Final = 4
_LEAST_SPREAD: Final = 0.02
"""Added to a patch's spread, so that an even one stays even."""
_READ_AT_ONCE: Final = 32
"""Frames; bounds the memory."""


@dataclass(frozen=True, slots=True)
class Readings:
    """What the gauge reads off F frames."""

    traits: np.ndarray
    """(F, R) float64, columns as in TRAITS."""
    points: np.ndarray
    """(F, 68, 2) float64 pixels, whole numbers at pixel centres."""

    def trait(self, name: str) -> np.ndarray:
        """One trait by its name, (F,)."""
        return self.traits[:, TRAITS.index(name)]


class GaugeNetwork(nn.Module):
    """Landmarks as the centres of 68 maps; mouth, eyes and pose from patches at those places.

    A patch shows the same part of any face at the same size, with more detail than the maps have.
    """

    def __init__(self, *, widths: tuple[int, int, int] = (24, 48, 64)) -> None:
        super().__init__()
        high, middle, low = widths
        self.stem = nn.Sequential(nn.PixelUnshuffle(_STRIDE_PX), _convolution(3 * _STRIDE_PX**2, high))
        self.down = nn.Sequential(_convolution(high, middle, stride=2), _Residual(middle))
        self.bottom = nn.Sequential(_convolution(middle, low, stride=2), _Residual(low))
        self.from_bottom = nn.Conv2d(low, middle, 1)
        self.from_middle = nn.Conv2d(middle, high, 1)
        self.join = _Residual(high)
        self.maps = nn.Conv2d(high, POINTS, 1)
        self.readers = nn.ModuleList(
            _PatchReader(patch, len(traits))
            for patch, traits in ((MOUTH_PATCH, MOUTH), (EYES_PATCH, EYES), (FACE_PATCH, POSE))
        )
        self.register_buffer("trait_mean", torch.zeros(len(TRAITS)))
        self.register_buffer("trait_std", torch.ones(len(TRAITS)))
        centres = (torch.arange(SIZE_PX // _STRIDE_PX) + 0.5) * _STRIDE_PX - 0.5
        self.register_buffer("centres_px", centres, persistent=False)

    def forward(self, pictures: Tensor, places: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, S, S) in [0, 1] -> traits (B, R) less their mean over their spread, points
        (B, 68, 2) in pixels. places: points to cut the patches at, where not at those that are found."""
        points = self.find_points(pictures)
        return self.read_patches(pictures, points if places is None else places), points

    def find_points(self, pictures: Tensor) -> Tensor:
        """The landmarks of pictures (B, 3, S, S): (B, 68, 2) pixels."""
        stem = self.stem(2 * pictures - 1)  # (B, C, H, W)
        middle = self.down(stem)
        middle = middle + _doubled(self.from_bottom(self.bottom(middle)))
        features = self.join(stem + _doubled(self.from_middle(middle)))  # (B, C, H, W)
        return self._centres(_shares(self.maps(features)))

    def read_patches(self, pictures: Tensor, places: Tensor) -> Tensor:
        """The traits (B, R) of faces at points (B, 68, 2), which learn nothing from it."""
        return torch.cat([reader(pictures, places.detach()) for reader in self.readers], dim=1)

    def _centres(self, shares: Tensor) -> Tensor:
        """Centres of gravity of maps (B, P, H, W) that sum to one: (B, P, 2) pixels."""
        centres = self.get_buffer("centres_px")
        x = einsum(shares, centres, "b p h w, w -> b p")
        y = einsum(shares, centres, "b p h w, h -> b p")
        return torch.stack([x, y], dim=-1)


class Gauge:
    """A fitted network, and what is known of it."""

    def __init__(self, network: GaugeNetwork, facts: dict[str, Any]) -> None:
        self.network = network.eval().requires_grad_(False)
        self.facts = facts

    @torch.no_grad()
    def read(self, frames: np.ndarray | Iterable[np.ndarray]) -> Readings:
        """Read (S, S, 3) uint8 RGB frames, S = 128. Raises MetricError for others, or none."""
        frames = np.stack(list(frames)) if not isinstance(frames, np.ndarray) else frames
        require_frames(frames, name="The frames to gauge")
        if frames.shape[1:3] != (SIZE_PX, SIZE_PX):
            raise MetricError(
                f"The frames have {frames.shape[2]}x{frames.shape[1]} pixels; the gauge reads "
                f"{SIZE_PX}x{SIZE_PX}.",
                fix=f"Animate with --size {SIZE_PX}.",
            )
        read = [
            self.network(as_pictures(frames[start : start + _READ_AT_ONCE]))
            for start in range(0, len(frames), _READ_AT_ONCE)
        ]
        mean, std = (self.network.get_buffer(name) for name in ("trait_mean", "trait_std"))
        traits = torch.cat([traits for traits, _ in read]) * std + mean
        points = torch.cat([points for _, points in read])
        return Readings(traits.double().numpy(), points.double().numpy())


def as_pictures(frames: np.ndarray) -> Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float32 in [0, 1]."""
    return rearrange(torch.from_numpy(frames), "b h w c -> b c h w").float() / 255


def save_gauge(folder: Path, gauge: Gauge) -> None:
    """Write gauge.safetensors and gauge.json; raises OutputError."""
    require_writable_folder(folder)
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file({name: value.contiguous() for name, value in gauge.network.state_dict().items()}, temporary)
    write_json(folder / FACTS, gauge.facts)


def load_gauge(folder: Path) -> Gauge:
    """What `save_gauge` wrote; raises WeightsError where it is missing, damaged or something else."""
    network = GaugeNetwork()
    try:
        facts = read_json(folder / FACTS)
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        raise WeightsError(
            f"'{folder}' holds no gauge that can be read ({first_line(error)}).",
            fix="Fit one: python recipes/scripts/claims.py fit-gauge.",
        ) from None
    return Gauge(network, facts)


@dataclass(frozen=True, slots=True)
class Patch:
    """A part of the picture about some landmarks."""

    points: tuple[int, ...]
    """The patch's middle is their mean."""
    width: float
    """In distances between the outer corners of the eyes."""
    rows: int
    columns: int


MOUTH_PATCH: Final = Patch(points=tuple(range(48, 68)), width=1.1, rows=40, columns=44)
EYES_PATCH: Final = Patch(points=(*range(17, 27), *range(36, 48)), width=1.6, rows=28, columns=64)
FACE_PATCH: Final = Patch(points=tuple(range(POINTS)), width=2.6, rows=64, columns=64)


class _PatchReader(nn.Module):
    """Cuts a patch, evens out its light, and reads traits off it."""

    def __init__(self, patch: Patch, traits: int) -> None:
        super().__init__()
        self.patch = patch
        self.layers = nn.Sequential(
            _convolution(3, 16),
            _convolution(16, 32, stride=2),
            _convolution(32, 48, stride=2),
            _Residual(48),
            nn.Flatten(),
            nn.Linear(48 * (patch.rows // 4) * (patch.columns // 4), 64),
            nn.SiLU(),
            nn.Linear(64, traits),
        )

    def forward(self, pictures: Tensor, points: Tensor) -> Tensor:
        """Pictures (B, 3, S, S), points (B, 68, 2) -> (B, traits)."""
        cut = cut_patches(pictures, points, self.patch)
        spread, mean = torch.std_mean(cut, dim=(1, 2, 3), keepdim=True)
        return self.layers((cut - mean) / (spread + _LEAST_SPREAD))


def cut_patches(pictures: Tensor, points: Tensor, patch: Patch) -> Tensor:
    """The patches of pictures (B, 3, S, S) with landmarks (B, 68, 2): (B, 3, rows, columns)."""
    left, right = (points[:, corner] for corner in OUTER_EYE_CORNERS)
    width_px = patch.width * (right - left).norm(dim=-1)  # (B,)
    middle = points[:, list(patch.points)].mean(dim=1)  # (B, 2)
    x = (torch.arange(patch.columns) + 0.5) / patch.columns - 0.5
    y = ((torch.arange(patch.rows) + 0.5) / patch.rows - 0.5) * patch.rows / patch.columns
    unit = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (rows, columns, 2)
    at_px = unit * width_px[:, None, None, None] + middle[:, None, None]
    side = pictures.shape[-1]
    # grid_sample counts from -1 to 1 over the picture; whole numbers of pixels are centres.
    grid = (2 * at_px + 1) / side - 1
    return nn.functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


class _Residual(nn.Module):
    """x + two convolutions of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_convolution(width, width), _convolution(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _convolution(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(),
    )


def _doubled(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _shares(maps: Tensor) -> Tensor:
    """Each map (B, P, H, W) as shares that sum to one over its places."""
    return maps.flatten(2).softmax(dim=-1).view_as(maps)
