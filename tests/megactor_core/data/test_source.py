"""Samples read from files, as preprocessing leaves them."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange

from megactor_core.config.data import DataConfig
from megactor_core.config.model import ModelConfig
from megactor_core.data.dataset import TrainingData
from megactor_core.data.loader import DataBatches, Stream, read_batches
from megactor_core.data.sample import (
    ARRAYS,
    DRIVER,
    VIDEO,
    IndexRow,
    Sample,
    SampleArrays,
    SampleFacts,
    write_arrays,
    write_audio_features,
    write_facts,
    write_index,
)
from megactor_core.errors import ConfigError, MediaError, MegActorError
from megactor_core.media.video_writer import VideoWriter

GOP_FRAMES = 12
NANO = ModelConfig.preset("nano")
FRAMES = 34


def write_video(path: Path, pictures: np.ndarray) -> None:
    side = pictures.shape[1]
    with VideoWriter(
        path, video_fps=Fraction(25), width=side, height=side, gop_frames=GOP_FRAMES, crf=12, threads=1
    ) as video:
        for picture in pictures:
            video.write(picture)


def write_sample(folder: Path, clip: Any, row: IndexRow) -> None:
    """One sample of a clip in memory: brightness tells its frames apart."""
    folder.mkdir(parents=True)
    levels = np.linspace(30, 220, FRAMES).astype(np.uint8)
    pictures = np.broadcast_to(levels[:, None, None, None], clip.pictures.shape)
    write_video(folder / VIDEO, pictures)
    write_video(folder / DRIVER, 255 - pictures)
    boxes, motion = np.zeros((FRAMES, 3, 4), np.float32), np.zeros((FRAMES, 2, 3), np.float32)
    pose = np.zeros((FRAMES, 3), np.float32)
    write_arrays(folder, SampleArrays(clip.points, clip.found, pose, boxes, motion))
    write_audio_features(folder, "log-mel", clip.mel)
    facts: dict[str, Any] = {name: getattr(row, name) for name in ("sample_id", "identity", "split")}
    facts |= {"source_uri": row.source_uri, "start_s": None, "end_s": None, "frames": FRAMES}
    facts |= {"video_fps": "25", "size_px": NANO.native_px, "source_width": 64, "source_height": 64}
    facts |= {"source_fps": 25.0, "crop_x": -0.5, "crop_y": -0.5, "crop_side": 64.0, "faces_max": 1}
    facts |= {"lost_frames": 0, "yaw_abs_mean_degrees": 0.0, "has_audio": True, "sound": "heard"}
    facts |= {"audio_features": "log-mel", "has_latents": False, "has_driver": True, "landmarks": "none"}
    facts |= {"gop_frames": GOP_FRAMES, "damaged_packets": 0}
    write_facts(folder, SampleFacts(**facts, source_hash="0", versions={}))


@pytest.fixture
def folder(tmp_path: Path, make: Any) -> Path:
    """Three samples to train on, one to validate on, and a clip that is no sample."""
    rows = []
    for number in range(4):
        clip = make.clip(number, frames=FRAMES)
        split = "validation" if number == 3 else "train"
        row = make.row(number, clip, split=split, has_driver=True)
        write_sample(tmp_path / str(row.path), clip, row)
        rows.append(row)
    lost = IndexRow(
        sample_id="lost", identity="x", split="train", source_uri="x", status="rejected", reason="no face"
    )
    write_index(tmp_path, [*rows, lost])
    return tmp_path


def open_data(folder: Path, **changes: Any) -> TrainingData:
    config = DataConfig(null_rate=0).without_augmentation().updated(**changes)
    return TrainingData.open(folder, config=config, model=NANO, seed=1)


def test_a_folder_gives_the_samples_of_its_split(folder: Path) -> None:
    assert [row.sample_id for row in open_data(folder).source.rows] == ["clip-000", "clip-001", "clip-002"]
    assert [row.sample_id for row in open_data(folder, split="validation").source.rows] == ["clip-003"]


def test_pictures_driver_and_sound_are_those_of_the_files(folder: Path) -> None:
    data = open_data(folder, mix={"visual": 0, "audio": 0, "mixed": 1}, clip_frames=4)
    item = data[0]
    sample = Sample.open(folder / str(data.source.rows[data.clip(0)].path))
    stored = torch.from_numpy(sample.read_frames(range(FRAMES))).float().mean(dim=(1, 2, 3))
    shown = (item.target.mean(dim=(1, 2, 3)) + 1) * 127.5
    numbers = (stored - shown[:, None]).abs().argmin(dim=1)
    assert len(set(torch.diff(numbers).tolist())) == 1
    pictures = torch.from_numpy(sample.read_frames(numbers.tolist())).float() / 127.5 - 1
    torch.testing.assert_close(item.target, rearrange(pictures, "f h w c -> f c h w"))
    patches = item.driving.flatten(1)
    levels = torch.stack([patch[patch > 0].mean() for patch in patches])
    torch.testing.assert_close(levels, (255 - stored[numbers]) / 255, atol=0.02, rtol=0)
    assert item.audio.abs().sum() > 0


def test_files_and_memory_are_read_alike_by_workers(
    folder: Path, assert_same: Callable[[Any, Any], None]
) -> None:
    source, stream = DataBatches(open_data(folder), fingerprint=""), Stream(batch_size=4, start=2, steps=1)
    (alone,) = read_batches(source, stream, workers=0)
    (shared,) = read_batches(source, stream, workers=1)
    assert_same(alone, shared)


def test_a_missing_index_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"no index.parquet in .*megactor preprocess"):
        open_data(tmp_path)


def test_a_split_without_clips_is_one_error(tmp_path: Path, make: Any) -> None:
    write_index(tmp_path, [make.row(0, make.clip(0), split="train")])
    with pytest.raises(ConfigError, match=r"has 1 usable clips, but none of the split 'validation'"):
        open_data(tmp_path, split="validation")


def test_a_folder_of_rejected_clips_is_one_error(folder: Path) -> None:
    lost = IndexRow(sample_id="a", identity="x", split="train", source_uri="x", status="rejected")
    write_index(folder, [lost])
    with pytest.raises(ConfigError, match=r"has 0 usable clips.*column 'reason' of its 1 rows"):
        open_data(folder)


@pytest.mark.parametrize("name", [VIDEO, DRIVER, ARRAYS])
@pytest.mark.parametrize("harm", ["missing", "damaged"])
def test_a_missing_or_damaged_file_is_one_error(folder: Path, name: str, harm: str) -> None:
    for sample in (folder / "samples").iterdir():
        (sample / name).unlink()
        if harm == "damaged":
            (sample / name).write_bytes(b"not what it says" * 9)
    data = open_data(folder, mix={"visual": 0, "audio": 0, "mixed": 1})
    with pytest.raises(MegActorError, match=name):
        data[0]
