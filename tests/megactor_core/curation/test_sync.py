"""SyncNet in two steps: the same scores as in one, and each window through the network once."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from megactor_core.curation.sync import Windows, embed, full_measures, screen_measures
from megactor_core.errors import MetricError
from megactor_core.metrics.syncnet import (
    audio_features,
    lip_features,
    sync_scores,
    sync_scores_of_part,
)


class Counting(nn.Module):
    """Stands for one of the two networks and remembers every window that it saw."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(64, 1024, generator=generator))
        self.seen: Counter[bytes] = Counter()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.update(window.numpy().tobytes()[:4000] for window in x)
        return nn.functional.adaptive_avg_pool1d(x.flatten(1).unsqueeze(1), 64)[:, 0] @ self.weight


@pytest.fixture
def network() -> SimpleNamespace:
    return SimpleNamespace(lip=Counting(0), audio=Counting(1))


def clip_of(frames: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed])
    crops = rng.integers(0, 256, (frames, 224, 224, 3), dtype=np.uint8)
    return crops, rng.uniform(-0.5, 0.5, frames * 640).astype(np.float32)


def test_screen_and_rest_together_are_the_full_score_and_no_window_comes_twice(
    network: SimpleNamespace,
) -> None:
    made = [clip_of(25, 1), clip_of(50, 2)]
    clips = [Windows.of(*clip) for clip in made]
    embed(network, clips, [clip.screened(0.25) for clip in clips])
    screened = [clip.screened(0.25) for clip in clips]
    assert [len(part) for part in screened] == [10, 11]
    assert sum(network.lip.seen.values()) == 21
    for clip, part in zip(clips, screened, strict=True):
        screen_measures(clip, part)
    embed(network, clips, [clip.screened(1.0) for clip in clips])
    assert set(network.lip.seen.values()) == set(network.audio.seen.values()) == {1}
    assert sum(network.lip.seen.values()) == sum(network.audio.seen.values()) == 20 + 45
    for clip, (crops, sound) in zip(clips, made, strict=True):
        plain = sync_scores(
            lip_features(network, crops, windows=clip.count),
            audio_features(network, sound, windows=clip.count),
        )
        found = full_measures(clip)
        assert (found["sync_offset_frames"], found["sync_d"], found["sync_c"]) == tuple(plain)


def test_a_screen_of_all_windows_is_the_full_score(network: SimpleNamespace) -> None:
    clip = Windows.of(*clip_of(40, 3))
    embed(network, [clip], [clip.screened(1.0)])
    screen, full = screen_measures(clip, clip.screened(1.0)), full_measures(clip)
    assert (screen["screen_sync_c"], screen["screen_sync_d"]) == (full["sync_c"], full["sync_d"])
    assert screen["screen_offset_frames"] == full["sync_offset_frames"]


@pytest.mark.parametrize("count", [70, 120, 245, 995])
def test_a_screen_costs_less_than_three_tenths(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window of lips costs nine times one of sound: 0.0474 and 0.0052 s measured on one core."""
    spent = 0.0

    def counting(seconds: float) -> Callable[..., list[np.ndarray]]:
        def features(_network: object, parts: Sequence[tuple[np.ndarray, range]]) -> list[np.ndarray]:
            nonlocal spent
            spent += seconds * sum(len(windows) for _, windows in parts)
            return [np.zeros((len(windows), 1024), np.float32) for _, windows in parts]

        return features

    monkeypatch.setattr("megactor_core.curation.sync.lip_features_of_parts", counting(0.0474))
    monkeypatch.setattr("megactor_core.curation.sync.audio_features_of_parts", counting(0.0052))
    clip = Windows(np.zeros((0, 224, 224, 3), np.uint8), np.zeros((0, 13)), count)
    embed(SimpleNamespace(), [clip], [clip.screened(0.25)])  # type: ignore[arg-type]
    assert 0 < spent <= 0.3 * count * (0.0474 + 0.0052)


def test_the_screen_lies_in_the_middle_and_is_never_longer_than_the_clip() -> None:
    clip = Windows.of(*clip_of(105, 5))
    assert clip.screened(0.25) == range(37, 62)
    short = Windows.of(*clip_of(12, 6))
    assert short.screened(0.25) == range(0, 7)
    with pytest.raises(MetricError, match="more than 5 frames"):
        Windows.of(*clip_of(5, 7))


def test_a_part_needs_the_sound_around_it() -> None:
    with pytest.raises(MetricError, match="belong 40 of sound, not 10"):
        sync_scores_of_part(np.zeros((10, 1024)), np.zeros((10, 1024)))


def test_crops_survive_the_way_through_a_file(tmp_path: Path) -> None:
    from megactor_core.curation.crops import read_crops, write_crops

    rng = np.random.default_rng([8])
    frames = rng.integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    points = rng.uniform(20, 44, (8, 68, 2)).astype(np.float32)
    path = write_crops(tmp_path / "work", "clip-1", iter(frames), points)
    assert read_crops(path).shape == (8, 224, 224, 3)
    with pytest.raises(MetricError, match="no face"):
        write_crops(tmp_path, "clip-2", iter(frames), np.full_like(points, np.nan))
