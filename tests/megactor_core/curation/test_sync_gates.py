"""SyncNet in a run: what its gates measure and reject, and that they join in when weights come."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from megactor_core.config.curate import CurateConfig
from megactor_core.curation.av_check import follow_face
from megactor_core.curation.curate import curate
from megactor_core.curation.footage import VIDEO_FPS
from megactor_core.media.audio import read_sound, to_mono
from megactor_core.media.video import read_video
from megactor_core.metrics.sync_crop import crop_face, crop_squares
from megactor_core.metrics.syncnet import clip_features, sync_scores

pytestmark = pytest.mark.slow  # whole runs

ConfigFor = Callable[..., CurateConfig]
Manifest = Callable[[Path], dict[str, dict[str, Any]]]
GATES = "measure.gates=[probe,sound,av_sync,sync_screen,sync]"
FREE = (GATES, "rules.min_sync_c=null", "rules.max_sync_offset_frames=null")


class Embedding(nn.Module):
    """A fixed projection of windows that counts them."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(64, 1024, generator=generator) / 64)
        self.windows = 0

    def forward(self, x: Tensor) -> Tensor:
        self.windows += len(x)
        return nn.functional.adaptive_avg_pool1d(x.flatten(1).unsqueeze(1), 64)[:, 0] @ self.weight


class FakeSyncNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lip, self.audio = Embedding(0), Embedding(1)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> FakeSyncNet:
    fake = FakeSyncNet()
    monkeypatch.setattr("megactor_core.curation.score_sync.load_syncnet", lambda _path: fake)
    return fake


@pytest.fixture
def weights(tmp_path: Path) -> str:
    (tmp_path / "syncnet_v2.model").write_bytes(b"stands for the weights")
    return f"measure.syncnet={tmp_path / 'syncnet_v2.model'}"


@pytest.fixture
def few(corpus: Path, faults: dict[str, str | None], tmp_path: Path) -> Path:
    """Two sound clips and one without a sound track."""
    sound = [name for name, fault in faults.items() if fault is None][:2]
    mute = next(name for name, fault in faults.items() if fault == "no_sound")
    folder = tmp_path / "few"
    folder.mkdir()
    for name in (*sound, mute):
        shutil.copy(corpus / "clips" / f"{name}.mp4", folder)
    return folder


def test_scores_are_those_of_the_whole_clip_and_each_window_is_embedded_once(
    few: Path, network: FakeSyncNet, weights: str, config_for: ConfigFor, manifest: Manifest, tmp_path: Path
) -> None:
    report = curate(config_for(few, output=tmp_path / "out", overrides=(weights, *FREE)))
    assert report.not_measured == []
    kept = {name: row for name, row in manifest(tmp_path / "out").items() if row["keep"]}
    assert len(kept) == 2
    windows = sum(row["sync_windows"] for row in kept.values())
    assert (network.lip.windows, network.audio.windows) == (windows, windows)
    assert all(row["screen_windows"] == 10 and row["decodes"] == 1 for row in kept.values())
    assert not (tmp_path / "out" / "work").exists()
    for name, row in kept.items():
        frames = list(read_video(few / f"{name}.mp4", video_fps=VIDEO_FPS))
        squares = crop_squares(follow_face(frames, back_end="mediapipe"))
        crops = np.stack([crop_face(f, square) for f, square in zip(frames, squares, strict=True)])
        mono = to_mono(read_sound(few / f"{name}.mp4"))
        expected = sync_scores(*clip_features(network, crops, mono))  # type: ignore[arg-type]
        assert (row["sync_offset_frames"], row["sync_d"], row["sync_c"]) == tuple(expected)


def test_the_screen_rejects_before_the_rest_is_looked_at(
    few: Path, network: FakeSyncNet, weights: str, config_for: ConfigFor, manifest: Manifest, tmp_path: Path
) -> None:
    strict = (weights, GATES, "rules.min_sync_c=1e6", "rules.max_sync_offset_frames=null")
    curate(config_for(few, output=tmp_path / "out", overrides=strict))
    rows = [row for row in manifest(tmp_path / "out").values() if row["has_sound"]]
    assert {(row["first_reason"], row["stopped_at"]) for row in rows} == {
        ("screen_sync_c_low", "sync_screen")
    }
    assert network.lip.windows == 20
    assert all(row["sync_c"] is None for row in rows)
    # With an audit the full score is taken too, and says whether the screen was right.
    report = curate(config_for(few, output=tmp_path / "out", overrides=strict, audit=1.0))
    rows = [row for row in manifest(tmp_path / "out").values() if row["has_sound"]]
    assert all(row["sync_c"] is not None for row in rows)
    assert report.audit.false_rejects == {}


def test_when_weights_come_only_sync_is_measured_of_what_had_passed(
    few: Path, network: FakeSyncNet, weights: str, config_for: ConfigFor, manifest: Manifest, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    first = curate(config_for(few, output=output, overrides=FREE))
    assert first.kept == 2
    before = manifest(output)
    report = curate(config_for(few, output=output, overrides=(weights, *FREE)))
    assert report.computed == 2
    for name, row in manifest(output).items():
        if row["keep"]:
            assert row["sync_c"] is not None
            assert row["decodes"] == 2
            assert row["cpu_av_sync_s"] == before[name]["cpu_av_sync_s"]
        else:
            assert row["sync_c"] is None


def test_a_clip_without_sound_is_not_measured_and_says_so(
    few: Path, network: FakeSyncNet, weights: str, config_for: ConfigFor, manifest: Manifest, tmp_path: Path
) -> None:
    mute_too = (weights, GATES, "rules.require_sound=false")
    curate(
        config_for(few, output=tmp_path / "out", overrides=(*mute_too, "rules.max_sync_offset_frames=null"))
    )
    (row,) = [row for row in manifest(tmp_path / "out").values() if not row["has_sound"]]
    assert row["keep"]
    assert [text.partition(":")[0] for text in row["unmeasured"]] == ["av_offset_frames", "sync_c"]


def test_an_error_in_one_clip_is_its_own(
    few: Path,
    network: FakeSyncNet,
    weights: str,
    config_for: ConfigFor,
    manifest: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[str] = []

    def read(path: Path) -> np.ndarray:
        tried.append(path.name)
        if path.name == min(tried):
            raise OSError("the disk is gone")
        return np.asarray(np.load(path))

    monkeypatch.setattr("megactor_core.curation.score_sync.read_crops", read)
    report = curate(config_for(few, output=tmp_path / "out", overrides=(weights, *FREE)))
    rows = manifest(tmp_path / "out")
    assert report.errors_by_kind == {"exception": 1}
    assert sorted(row["sync_c"] is None for row in rows.values()) == [False, True, True]
