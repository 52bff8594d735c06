"""Small samples in memory: clips of noise with faces of 68 points, and sources of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from megactor_core.config.data import DataConfig
from megactor_core.config.model import ModelConfig
from megactor_core.data.dataset import TrainingData
from megactor_core.data.sample import IndexRow
from megactor_core.errors import MediaError

NANO = ModelConfig.preset("nano")
SIZE = NANO.native_px
FRAMES = 40


def face_points(rng: np.random.Generator, *, size_px: int = SIZE) -> np.ndarray:
    """A frontal face (68, 2) of ordinary proportions, somewhere near the middle."""
    angle = np.linspace(0, np.pi, 17)
    jaw = np.stack([-np.cos(angle), 1.1 * np.sin(angle)], axis=1)
    brow = np.stack([np.linspace(-0.75, -0.2, 5), -0.45 - 0.1 * np.sin(np.linspace(0, np.pi, 5))], axis=1)
    nose = np.concatenate(
        [
            np.stack([np.zeros(4), np.linspace(-0.2, 0.2, 4)], axis=1),
            np.stack([np.linspace(-0.2, 0.2, 5), np.full(5, 0.3)], axis=1),
        ]
    )
    turn = np.arange(6) * np.pi / 3
    eye = np.stack([-0.45 - 0.17 * np.cos(turn), -0.2 - 0.07 * np.sin(turn)], axis=1)
    turn = np.arange(12) * np.pi / 6
    outer = np.stack([-0.4 * np.cos(turn), 0.6 - 0.2 * np.sin(turn)], axis=1)
    turn = np.arange(8) * np.pi / 4
    inner = np.stack([-0.3 * np.cos(turn), 0.6 - 0.1 * np.sin(turn)], axis=1)
    mirror = np.array([-1.0, 1.0])
    face = np.concatenate([jaw, brow, brow[::-1] * mirror, nose, eye, eye * mirror, outer, inner])
    centre = size_px * (0.5 + rng.uniform(-0.04, 0.04, 2))
    return (centre + face * size_px * rng.uniform(0.28, 0.34)).astype(np.float32)


def moving_face(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Points (F, 68, 2) of a face that shifts and trembles a little."""
    drift = np.cumsum(rng.normal(0, 0.15, (frames, 1, 2)), axis=0)
    return (face_points(rng) + drift + rng.normal(0, 0.2, (frames, 68, 2))).astype(np.float32)


@dataclass
class MemoryClip:
    """What data.source.StoredClip asks for, in memory; `read` counts the frames that were asked for."""

    points: np.ndarray
    pictures: np.ndarray
    found: np.ndarray
    mel: np.ndarray | None = None
    states: np.ndarray | None = None
    driver: np.ndarray | None = None
    moments: np.ndarray | None = None
    read: list[int] = field(default_factory=list)

    @property
    def log_mel(self) -> np.ndarray:
        assert self.mel is not None
        return self.mel

    @property
    def whisper_states(self) -> np.ndarray:
        assert self.states is not None
        return self.states

    def read_frames(self, indices: Sequence[int]) -> np.ndarray:
        self.read.extend(indices)
        return self.pictures[list(indices)]

    def read_driver_frames(self, indices: Sequence[int]) -> np.ndarray:
        if self.driver is None:
            raise MediaError("no driver")
        return self.driver[list(indices)]

    def latents(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        assert self.moments is not None
        return self.moments[list(indices)], np.zeros_like(self.moments[list(indices)])


@dataclass
class MemorySource:
    """Clips and their rows in lists."""

    clips: list[MemoryClip]
    rows: list[IndexRow]

    def open(self, number: int) -> MemoryClip:
        return self.clips[number]


def make_clip(seed: int, *, frames: int = FRAMES, **changes: Any) -> MemoryClip:
    """A clip of noise; the same arrays for the same seed."""
    rng = np.random.default_rng(seed)
    clip = {
        "points": moving_face(rng, frames),
        "pictures": rng.integers(0, 256, (frames, SIZE, SIZE, 3), dtype=np.uint8),
        "found": np.ones(frames, dtype=bool),
        "mel": rng.uniform(-1, 1, (80, 4 * frames)).astype(np.float16),
        "states": rng.normal(size=(2 * frames, 5, 384)).astype(np.float16),
    }
    return MemoryClip(**{**clip, **changes})


def make_row(number: int, clip: MemoryClip, **changes: Any) -> IndexRow:
    row: dict[str, Any] = {
        "sample_id": f"clip-{number:03d}",
        "identity": f"person-{number:03d}",
        "split": "train",
        "source_uri": f"clip-{number:03d}.mp4",
        "status": "ok",
        "path": f"samples/clip-{number:03d}",
        "has_audio": True,
        "frames": len(clip.points),
        "video_fps": 25.0,
        "size_px": SIZE,
        "audio_features": "log-mel",
        "has_latents": clip.moments is not None,
        "has_driver": clip.driver is not None,
    }
    return IndexRow(**{**row, **changes})


def make_source(clips: Sequence[MemoryClip], **changes: Any) -> MemorySource:
    return MemorySource(list(clips), [make_row(i, clip, **changes) for i, clip in enumerate(clips)])


@dataclass(frozen=True)
class Make:
    """The makers above, for tests to share."""

    clip: Callable[..., MemoryClip] = make_clip
    row: Callable[..., IndexRow] = make_row
    source: Callable[..., MemorySource] = make_source

    def data(
        self,
        config: DataConfig,
        source: MemorySource | None = None,
        *,
        model: ModelConfig = NANO,
        seed: int = 7,
        **changes: Any,
    ) -> TrainingData:
        """A reader of the given clips, or of five of noise whose rows have `changes`."""
        if source is None:
            source = make_source([make_clip(i) for i in range(5)], **changes)
        return TrainingData(source, config=config, model=model, seed=seed)


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()


@pytest.fixture(scope="session")
def assert_same() -> Callable[[Any, Any], None]:
    """Assert that two items or two batches are equal to the bit."""

    def check(one: Any, other: Any) -> None:
        for name in type(one).__dataclass_fields__:
            a, b = getattr(one, name), getattr(other, name)
            same = torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
            assert same, name

    return check
