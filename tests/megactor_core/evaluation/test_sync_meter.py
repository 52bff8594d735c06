"""SyncNet frame by frame gives what it gives of the whole clip, wherever the face is lost."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from megactor_core.errors import MetricError
from megactor_core.evaluation.meters import Block, Whole
from megactor_core.evaluation.sync_meter import MOST_LOST_FRAMES, SyncMeter
from megactor_core.metrics.sync_crop import crop_face, crop_squares
from megactor_core.metrics.syncnet import clip_features, sync_scores

FRAMES = 40


class Coarse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64, 1024, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool1d(x.flatten(1).unsqueeze(1), 64)[:, 0] @ self.weight


@pytest.fixture(scope="module")
def network() -> SimpleNamespace:
    return SimpleNamespace(lip=Coarse(), audio=Coarse())


@pytest.fixture(scope="module")
def clip() -> SimpleNamespace:
    """Noise with a face that wanders and is lost: at the beginning, in between and at the end."""
    rng = np.random.default_rng([5])
    frames = rng.integers(0, 256, (FRAMES, 48, 48, 3), dtype=np.uint8)
    points = rng.uniform(14, 34, (FRAMES, 68, 2)).astype(np.float32)
    points += np.linspace(0, 8, FRAMES, dtype=np.float32)[:, None, None]
    points[[0, 1, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, FRAMES - 1]] = np.nan
    sound = rng.uniform(-0.5, 0.5, FRAMES * 640).astype(np.float32)
    return SimpleNamespace(frames=frames, points=points, sound=sound)


def whole_of(clip: SimpleNamespace, *, frames: int = FRAMES) -> Whole:
    return Whole(frames, 48, 48, None, clip.points, clip.sound, "")


@pytest.mark.parametrize("edges", [[0, 40], [0, 1, 2, 3, 40], [0, 16, 32, 40], list(range(0, 41, 5))])
def test_it_is_the_whole_clips_score(
    network: SimpleNamespace, clip: SimpleNamespace, edges: list[int]
) -> None:
    meter = SyncMeter(network)
    for start, stop in pairwise(edges):
        frames = clip.frames[start:stop]
        meter.add(Block(frames, frames, None, clip.points[start:stop]))
    found = meter.finish(whole_of(clip))
    squares = crop_squares(clip.points)
    crops = np.stack([crop_face(f, square) for f, square in zip(clip.frames, squares, strict=True)])
    expected = sync_scores(*clip_features(network, crops, clip.sound))
    assert found.values == {
        "sync_c": expected.confidence,
        "sync_d": expected.distance,
        "sync_offset": expected.offset,
    }
    assert found.arrays["sync_confidence"].shape == (FRAMES - 5,)


def test_few_frames_wait(network: SimpleNamespace, clip: SimpleNamespace) -> None:
    meter = SyncMeter(network)
    points = np.nan_to_num(clip.points, nan=20.0) + np.linspace(0, 1, 68)[:, None]
    for k in range(FRAMES):
        meter.add(Block(clip.frames[k : k + 1], clip.frames[k : k + 1], None, points[k : k + 1]))
        assert len(meter._waiting) <= 7


def test_a_face_lost_for_long_is_given_up(network: SimpleNamespace, clip: SimpleNamespace) -> None:
    meter = SyncMeter(network)
    gone = Block(clip.frames, clip.frames, None, np.full((FRAMES, 68, 2), np.nan, np.float32))
    for _ in range(MOST_LOST_FRAMES // FRAMES + 1):
        meter.add(gone)
    with pytest.raises(MetricError, match=f"lost for more than {MOST_LOST_FRAMES} frames"):
        meter.add(gone)


def test_no_sound_and_too_few_frames_are_reasons(network: SimpleNamespace, clip: SimpleNamespace) -> None:
    meter = SyncMeter(network)
    meter.add(Block(clip.frames[:5], clip.frames[:5], None, clip.points[:5]))
    with pytest.raises(MetricError, match="needs more than 5 frames"):
        meter.finish(whole_of(clip, frames=5))
    with pytest.raises(MetricError, match="neither"):
        meter.finish(Whole(40, 48, 48, None, clip.points, None, "neither clip has sound"))
