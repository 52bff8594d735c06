"""LPIPS: how different two pictures look to the layers of AlexNet (Zhang et al. 2018, version 0.1).

Shape legend:
    B pairs   F frames   C channels of a layer: 64, 192, 384, 256, 256   h, w its size
"""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from megactor_core import weights
from megactor_core.errors import MetricError
from megactor_core.metrics.frames import require_pair, require_side
from megactor_core.metrics.published import run
from megactor_core.models.tensor_files import read_tensors, require_shapes

ENTRY: Final = "lpips"
TRUNK_FILE: Final = "alexnet-owt-7be5be79.pth"
HEADS_FILE: Final = "alex.pth"
LEAST_PX: Final = 31
"""Smaller pictures leave nothing for the deeper layers."""
_SHIFT: Final = (-0.030, -0.088, -0.188)
_SCALE: Final = (0.458, 0.448, 0.450)
_TAPS: Final = (1, 4, 7, 9, 11)
"""The ReLUs among AlexNet's features whose outputs are compared."""
_NORM_EPS: Final = 1e-10
_CLASSIFIER: Final = "classifier."


class LPIPS(nn.Module):
    """Distance of pictures (B, 3, h, w) in [-1, 1]: 0 for equal ones, larger where they look more different.

    The names are those of the two published files together: `features.N` of torchvision's AlexNet,
    `linK.model.1.weight` of the LPIPS heads. New modules hold random weights, drawn trunk first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2)),
            *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2)),
            *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
        )
        for number, channels in enumerate((64, 192, 384, 256, 256)):
            self.add_module(f"lin{number}", Head(channels))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """(B, 3, h, w) twice -> (B,)."""
        return self.layers(a, b).sum(dim=1)

    def layers(self, a: Tensor, b: Tensor) -> Tensor:
        """The five layers' shares of the distance: (B, 3, h, w) twice -> (B, 5).

        Raises MetricError where the two differ in shape or are smaller than 31 pixels.
        """
        if a.shape != b.shape or a.ndim != 4 or min(a.shape[-2:]) < LEAST_PX:
            raise MetricError(
                f"LPIPS compares pictures of one shape and {LEAST_PX} pixels or more, not {tuple(a.shape)} "
                f"and {tuple(b.shape)}.",
                fix="Resize one of them.",
            )
        maps = zip(self._maps(a), self._maps(b), strict=True)
        return torch.stack([self._share(k, x, y) for k, (x, y) in enumerate(maps)], dim=1)

    def _maps(self, pictures: Tensor) -> list[Tensor]:
        """The five layers' maps, each place of unit length: (B, C, h, w) each."""
        shift, scale = (rearrange(pictures.new_tensor(values), "c -> c 1 1") for values in (_SHIFT, _SCALE))
        x, maps = (pictures - shift) / scale, []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in _TAPS:
                length = x.square().sum(dim=1, keepdim=True).sqrt()
                maps.append(x / (length + _NORM_EPS))
        return maps

    def _share(self, number: int, x: Tensor, y: Tensor) -> Tensor:
        head = self.get_submodule(f"lin{number}")
        share: Tensor = head((x - y).square()).mean(dim=(1, 2, 3))
        return share


class Head(nn.Module):
    """Weighs the channels of a layer: (B, C, h, w) -> (B, 1, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Place 0 is the dropout of training.
        self.model = nn.Sequential(nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        weighed: Tensor = self.model(x)
        return weighed


def load_lpips(*, trunk: Path | None = None, heads: Path | None = None) -> LPIPS:
    """The network with torchvision's AlexNet and the LPIPS heads, from these files or from the cache.

    Raises WeightsError where they are missing (it names the command that gets them) or are other weights.
    """
    if trunk is None or heads is None:
        folder = weights.find(ENTRY)
        trunk, heads = trunk or folder / TRUNK_FILE, heads or folder / HEADS_FILE
    network = LPIPS()
    own = network.state_dict()
    for path, prefix in ((trunk, "features."), (heads, "lin")):
        tensors = read_tensors(path)
        found = {name: value for name, value in tensors.items() if not name.startswith(_CLASSIFIER)}
        require_shapes(
            {name: tuple(value.shape) for name, value in found.items()},
            {name: tuple(value.shape) for name, value in own.items() if name.startswith(prefix)},
            source=path,
            fix=f"Get the published file: `megactor weights pull {ENTRY}`.",
        )
        network.load_state_dict(found, strict=False)
    return network.eval().requires_grad_(False)


def lpips_distances(network: LPIPS, real: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """LPIPS of each pair of frames: (F, H, W, 3) uint8 twice -> (F,) float32.

    Raises MetricError where the two are not frames of one number and size, or are too small.
    """
    require_pair(real, generated)
    require_side(real, metric="LPIPS", least_px=LEAST_PX)
    pairs = (torch.stack([_prepared(a), _prepared(b)]) for a, b in zip(real, generated, strict=True))
    return run(_OfPairs(network), pairs, width=1)[:, 0]


class _OfPairs(nn.Module):
    """Pairs (B, 2, 3, h, w) -> (B, 1)."""

    def __init__(self, network: LPIPS) -> None:
        super().__init__()
        self.network = network

    def forward(self, pairs: Tensor) -> Tensor:
        return rearrange(self.network(pairs[:, 0], pairs[:, 1]), "b -> b 1")


def _prepared(frame: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) float32 in [-1, 1]."""
    return rearrange(torch.from_numpy(frame), "h w c -> c h w").float() / 127.5 - 1
