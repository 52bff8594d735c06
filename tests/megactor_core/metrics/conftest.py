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
