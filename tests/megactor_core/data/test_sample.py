"""A sample on disk: what is written comes back, frames come in any order, damage is one message."""

import json
from dataclasses import fields, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from megactor_core.data.sample import (
    ARRAYS,
    FACTS,
    INDEX,
    INDEX_SCHEMA,
    LATENTS,
    IndexRow,
    Sample,
    SampleArrays,
    SampleFacts,
    create_latents,
    read_index,
    write_arrays,
    write_audio_features,
    write_facts,
    write_index,
    write_sound,
)
from megactor_core.errors import MediaError
from megactor_core.media.seekable import SeekableVideo
from megactor_core.media.video import read_video
from megactor_core.media.video_writer import VideoWriter

FRAMES, SIZE_PX, GOP = 50, 32, 12


def facts(**changes: Any) -> SampleFacts:
    made = SampleFacts(
        sample_id="a",
        identity="anna",
        split="train",
        source_uri="anna/a.mp4",
        start_s=None,
        end_s=None,
        frames=FRAMES,
        video_fps="25",
        size_px=SIZE_PX,
        source_width=640,
        source_height=480,
        source_fps=25.0,
        crop_x=10.5,
        crop_y=-0.5,
        crop_side=300.0,
        faces_max=1,
        lost_frames=1,
        damaged_packets=0,
        yaw_abs_mean_degrees=3.5,
        has_audio=True,
        sound="heard",
        audio_features="log-mel",
        has_latents=True,
        has_driver=False,
        gop_frames=GOP,
        landmarks="mediapipe",
        source_hash="0123",
        versions={"megactor": "0"},
    )
    return replace(made, **changes)


def moving_pictures() -> list[np.ndarray]:
    """A gradient that moves by two pixels a frame over noise, so that no two frames are alike."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 60, (SIZE_PX, SIZE_PX, 3))
    ramp = np.linspace(0, 180, SIZE_PX)[None, :, None]
    return [(np.roll(ramp, 2 * k, axis=1) + noise).astype(np.uint8) for k in range(FRAMES)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole sample without a driver."""
    folder = tmp_path_factory.mktemp("sample")
    with VideoWriter(
        folder / "video.mp4",
        video_fps=Fraction(25),
        width=SIZE_PX,
        height=SIZE_PX,
        gop_frames=GOP,
        threads=1,
    ) as video:
        for picture in moving_pictures():
            video.write(picture)
    rng = np.random.default_rng(1)
    write_facts(folder, facts())
    write_arrays(folder, arrays())
    write_sound(folder, rng.uniform(-0.5, 0.5, 32_000).astype(np.float32), audio_hz=16_000)
    write_audio_features(folder, "log-mel", rng.normal(size=(80, 201)))
    mean, logvar = create_latents(folder, shape=(FRAMES, 4, 4, 4))
    mean[:] = np.arange(FRAMES)[:, None, None, None]
    logvar[:] = -mean
    mean.flush(), logvar.flush()
    return folder


def arrays() -> SampleArrays:
    rng = np.random.default_rng(2)
    return SampleArrays(
        points=rng.normal(size=(FRAMES, 68, 2)).astype(np.float32),
        found=rng.random(FRAMES) > 0.5,
        pose=rng.normal(size=(FRAMES, 3)).astype(np.float32),
        regions=rng.normal(size=(FRAMES, 3, 4)).astype(np.float32),
        motion=rng.normal(size=(FRAMES, 2, 3)).astype(np.float32),
    )


def test_what_is_written_comes_back(folder: Path) -> None:
    sample = Sample.open(folder)
    assert sample.facts == facts()
    assert (sample.frames, sample.facts.rate, sample.facts.seconds) == (FRAMES, Fraction(25), 2.0)
    for field in fields(SampleArrays):
        given, found = getattr(arrays(), field.name), getattr(sample, field.name)
        assert found.dtype == given.dtype
        np.testing.assert_array_equal(found, given)
    rng = np.random.default_rng(1)
    sound = rng.uniform(-0.5, 0.5, 32_000).astype(np.float32)
    np.testing.assert_allclose(sample.sound(), sound, atol=1 / 32768)
    np.testing.assert_array_equal(sample.log_mel, rng.normal(size=(80, 201)).astype(np.float16))


def test_latents_are_an_ordinary_file_of_which_only_the_asked_frames_are_read(folder: Path) -> None:
    whole = load_file(folder / LATENTS)
    assert {name: value.shape for name, value in whole.items()} == {
        "mean": (FRAMES, 4, 4, 4),
        "logvar": (FRAMES, 4, 4, 4),
    }
    mean, logvar = Sample.open(folder).latents([7, 3, 7])
    assert mean.dtype == np.float16
    assert [float(frame.max()) for frame in mean] == [7, 3, 7]
    np.testing.assert_array_equal(logvar, -mean)


@cache
def all_frames(path: Path) -> np.ndarray:
    return np.stack(list(read_video(path)))


@pytest.mark.slow
@settings(max_examples=40)
@given(indices=st.lists(st.integers(0, FRAMES - 1), min_size=1, max_size=6))
def test_frames_in_any_order_are_those_of_reading_all(folder: Path, indices: list[int]) -> None:
    together = all_frames(folder / "video.mp4")
    assert len(together) == FRAMES
    np.testing.assert_array_equal(Sample.open(folder).read_frames(indices), together[indices])


@pytest.mark.parametrize("index", [0, 11, 12, 30, 49])
def test_one_frame_costs_no_more_than_the_way_from_its_key_frame(folder: Path, index: int) -> None:
    with SeekableVideo(folder / "video.mp4", key_frame_every=GOP) as video:
        video.read([index])
        assert video.decoded <= GOP + 1


def test_frames_side_by_side_are_decoded_once(folder: Path) -> None:
    with SeekableVideo(folder / "video.mp4", key_frame_every=GOP) as video:
        video.read(list(range(24, 40)))
        assert video.decoded <= 16 + GOP


@pytest.mark.parametrize("index", [-1, FRAMES])
def test_a_frame_that_is_not_there_is_the_callers_mistake(folder: Path, index: int) -> None:
    with pytest.raises(ValueError, match=f"frame {index} "):
        Sample.open(folder).read_frames([index])
    with pytest.raises(ValueError, match=f"frame {index} "):
        Sample.open(folder).latents([index])


def test_what_a_sample_does_not_have_is_said(folder: Path) -> None:
    sample = Sample.open(folder)
    with pytest.raises(MediaError, match=r"has no driver\.mp4"):
        sample.read_driver_frames([0])
    with pytest.raises(MediaError, match="holds log_mel, not states"):
        _ = sample.whisper_states


def copy_of(folder: Path, target: Path) -> Path:
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_a_file_that_is_cut_off_is_said(folder: Path, tmp_path: Path) -> None:
    broken = copy_of(folder, tmp_path / "s")
    for path in list(broken.iterdir()):
        if path.name != FACTS:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    sample = Sample.open(broken)
    for read in (
        lambda: sample.points,
        lambda: sample.log_mel,
        lambda: sample.latents([FRAMES - 1]),
        lambda: sample.read_frames([FRAMES - 1]),
    ):
        with pytest.raises(MediaError):
            read()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        (json.dumps({**facts().to_json(), "format": 99}), "has format 99; this version reads 1"),
        (json.dumps({**facts().to_json(), "colour": 1}), "is damaged"),
        (None, "is no sample"),
    ],
)
def test_what_is_no_sample_is_said(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / FACTS).write_text(content)
    with pytest.raises(MediaError, match=message):
        Sample.open(tmp_path)


def test_missing_arrays_are_named(folder: Path, tmp_path: Path) -> None:
    broken = copy_of(folder, tmp_path / "s")
    (broken / ARRAYS).unlink()
    with pytest.raises(MediaError, match=r"has no arrays\.safetensors"):
        _ = Sample.open(broken).points


TEXT = st.text(max_size=20)
OPTIONAL_NUMBER = st.none() | st.floats(allow_nan=False)


@st.composite
def index_rows(draw: st.DrawFn) -> IndexRow:
    return IndexRow(
        sample_id=draw(TEXT),
        identity=draw(TEXT),
        split=draw(st.sampled_from(["train", "validation"])),
        source_uri=draw(TEXT),
        start_s=draw(OPTIONAL_NUMBER),
        status=draw(st.sampled_from(["ok", "rejected", "error"])),
        reason=draw(st.none() | TEXT),
        has_audio=draw(st.none() | st.booleans()),
        frames=draw(st.none() | st.integers(0, 2**40)),
        cpu_seconds=draw(OPTIONAL_NUMBER),
    )


@settings(max_examples=25)
@given(rows=st.lists(index_rows(), max_size=4, unique_by=lambda row: row.sample_id))
def test_the_index_comes_back_sorted(tmp_path_factory: pytest.TempPathFactory, rows: list[IndexRow]) -> None:
    folder = tmp_path_factory.mktemp("index")
    write_index(folder, rows)
    assert read_index(folder) == sorted(rows, key=lambda row: row.sample_id)


def test_the_index_has_its_stable_names() -> None:
    stable = "sample_id identity split source_uri status reason path has_audio"
    assert set(stable.split()) <= set(INDEX_SCHEMA.names)


def test_what_is_no_index_is_said(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"no index\.parquet"):
        read_index(tmp_path)
    (tmp_path / INDEX).write_bytes(b"PAR1 not")
    with pytest.raises(MediaError, match="is damaged"):
        read_index(tmp_path)
