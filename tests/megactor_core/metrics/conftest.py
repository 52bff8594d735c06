"""Pictures to measure and weights to load, made from seeds."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from megactor_core.errors import WeightsError
from megactor_core.faces.headpose import HEAD_CM, RIGID_POINTS

Pictures = Callable[..., np.ndarray]


@pytest.fixture(scope="session")
def pictures() -> Pictures:
    """Builds F pictures with structure at all sizes: (F, H, W, 3) uint8; `grey` gives three equal colours."""

    def build(count: int, height: int, width: int, *, seed: int = 0, grey: bool = False) -> np.ndarray:
        rng = np.random.default_rng([seed, count])
        total = np.zeros((count, height, width, 3))
        for level in range(2, 7):
            coarse = rng.normal(size=(count, height // 2**level + 2, width // 2**level + 2, 3))
            for frame in range(count):
                total[frame] += cv2.resize(coarse[frame], (width, height), interpolation=cv2.INTER_CUBIC)
        if grey:
            total[:] = total[..., :1]
        return np.clip(128 + 30 * total, 0, 255).astype(np.uint8)

    return build


@pytest.fixture(scope="session")
def noisy() -> Callable[..., np.ndarray]:
    """The same pictures with Gaussian noise of the given deviation; grey ones stay grey."""

    def add(frames: np.ndarray, *, deviation: float, seed: int = 1) -> np.ndarray:
        rng = np.random.default_rng([seed])
        channels = 1 if (frames[..., :1] == frames).all() else 3
        noise = rng.normal(scale=deviation, size=(*frames.shape[:3], channels))
        return np.clip(np.rint(frames + noise), 0, 255).astype(np.uint8)

    return add


Shapes = dict[str, tuple[int, ...]]


@pytest.fixture(scope="session")
def random_tensors() -> Callable[..., dict[str, torch.Tensor]]:
    """Tensors of the given names and shapes, drawn so that signals neither die nor explode on their way."""

    def draw(shapes: Shapes, *, seed: int = 0) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        drawn = {}
        for name, shape in shapes.items():
            values = torch.randn(shape, generator=generator)
            if name.endswith("num_batches_tracked"):
                drawn[name] = torch.tensor(7)
            elif name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
                drawn[name] = 1 + 0.2 * values.abs()
            elif len(shape) > 1:
                drawn[name] = values * (2 / values[0].numel()) ** 0.5
            else:
                drawn[name] = 0.1 * values
        return drawn

    return draw


class _Exploit:
    """Unpickled, it makes a folder."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.proof),)


@pytest.fixture(scope="session")
def refuses() -> Callable[..., None]:
    """Asserts that a loader refuses code, a tensor of another shape, a missing one and one too many."""

    def check(load: Callable[[Path], object], tensors: dict[str, torch.Tensor], path: Path) -> None:
        # Names and shapes are all that is compared: stand-ins of one number make small files.
        floats = {name: value for name, value in tensors.items() if value.is_floating_point()}
        tensors = {name: value.new_zeros(1).expand(value.shape) for name, value in floats.items()}
        first, *_, last = sorted(tensors)
        other = {**tensors, first: torch.zeros(2, 3, 5), last: torch.zeros(7)}
        missing = {name: value for name, value in tensors.items() if name != first}
        for wrong, says in (
            (other, re.escape(f"'{first}' is")),
            (missing, re.escape(f"'{first}' is missing")),
            ({**tensors, "zz.extra": torch.ones(3)}, "'zz.extra' is .* no such tensor"),
        ):
            torch.save(wrong, path)
            with pytest.raises(WeightsError, match=says) as caught:
                load(path)
            assert "megactor weights pull" in caught.value.fix
        proof = path.with_name("proof")
        torch.save({**tensors, first: _Exploit(proof)}, path)
        with pytest.raises(WeightsError, match="code, which are never loaded"):
            load(path)
        assert not proof.exists()
        path.unlink()

    return check


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of weights without any."""
    monkeypatch.setenv("MEGACTOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


Heads = Callable[..., np.ndarray]


@pytest.fixture(scope="session")
def heads() -> Heads:
    """Builds the 68 points of a generic head as a pinhole camera sees it: (F, 68, 2) in 256x256 pixels.

    Every argument is a number or one a frame: gap_cm between the inner lips, lids_cm between the lids, pose
    in degrees, and the head's place to the right and down, in centimetres. The eyes' outer corners are 8.9 cm
    apart.
    """

    def build(**tracks: np.ndarray | float) -> np.ndarray:
        names = ("gap_cm", "lids_cm", "yaw", "pitch", "roll", "right_cm", "down_cm")
        assert set(tracks) <= set(names)
        given = [np.atleast_1d(tracks.get(name, 0.8 if name == "lids_cm" else 0.0)) for name in names]
        return np.stack(
            [_seen(*map(float, state)) for state in zip(*np.broadcast_arrays(*given), strict=True)]
        )

    return build


def _seen(
    gap_cm: float, lids_cm: float, yaw: float, pitch: float, roll: float, right_cm: float, down_cm: float
) -> np.ndarray:
    turn = _axis_turn((0, 1, 0), -yaw) @ _axis_turn((1, 0, 0), pitch) @ _axis_turn((0, 0, 1), roll)
    placed = _head_cm(gap_cm=gap_cm, lids_cm=lids_cm) @ turn.T + [right_cm, down_cm, 40.0]
    return np.asarray(256 * placed[:, :2] / placed[:, 2:] + 127.5)


def _head_cm(*, gap_cm: float, lids_cm: float) -> np.ndarray:
    points = np.zeros((68, 3))
    points[list(RIGID_POINTS)] = HEAD_CM
    points[[32, 34]] = (points[[31, 35]] + points[33]) / 2
    along = np.linspace(-1, 1, 17)
    points[:17] = np.stack([7 * along, 9 * np.sqrt(1 - 0.9 * along**2) - 2, 3 * along**2], axis=-1)
    for corners, upper, lower, brow in ((36, 39), (37, 38), (41, 40), 17), ((42, 45), (43, 44), (47, 46), 22):
        left, right = points[list(corners)]
        for share, above, below in zip((1 / 3, 2 / 3), upper, lower, strict=True):
            points[[above, below]] = left + share * (right - left)
            points[[above, below], 1] += -lids_cm / 2, lids_cm / 2
        points[brow : brow + 5] = left + np.linspace(0, 1, 5)[:, np.newaxis] * (right - left) - [0, 1.5, 0]
    for start, lip_cm, row in ((48, 0.8, 7), (60, 0.0, 5)):
        for i, share in enumerate(np.linspace(-1, 1, row)):
            arch = (lip_cm + gap_cm / 2) * (abs(share) < 1)
            points[start + i] = 2.5 * share, 4.5 - arch, -5.0
            if 0 < i < row - 1:
                points[start + 2 * (row - 1) - i] = 2.5 * share, 4.5 + arch, -5.0
    return points


def _axis_turn(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    return np.asarray(cv2.Rodrigues(np.radians(degrees) * np.array(axis))[0])
