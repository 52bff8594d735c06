"""What is in a sample, and what a clip must be like to become one."""

import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.data.sample import IndexRow, Sample, read_index
from megactor_core.faces.landmarks import detect_landmarks
from megactor_core.media.audio import Sound, read_sound
from megactor_core.media.video import read_video
from megactor_core.preprocessing import cut, track
from megactor_core.preprocessing.preprocess import preprocess
from megactor_core.preprocessing.sources import find_source

pytestmark = pytest.mark.slow  # whole runs

ConfigFor = Callable[..., PreprocessConfig]
MakeClip = Callable[..., Path]
LARGE_PX = 192


@pytest.fixture
def one(
    tmp_path: Path, config_for: ConfigFor, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[IndexRow, Sample | None]]:
    """Preprocesses the folder `in`, which holds one clip; nobody looks at the contact sheet."""
    monkeypatch.setattr(
        "megactor_core.preprocessing.preprocess.sample_sheet",
        lambda *_: np.zeros((8, 8, 3), np.uint8),
    )

    def run(**changes: Any) -> tuple[IndexRow, Sample | None]:
        config = config_for(changes.pop("source", tmp_path / "in"), tmp_path / "out", **changes)
        preprocess(config)
        (row,) = read_index(config.output)
        return row, None if row.path is None else Sample.open(config.output / row.path)

    return run


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip, config_for: ConfigFor) -> Sample:
    """The talking man at a size at which landmarks are exact."""
    folder = tmp_path_factory.mktemp("large")
    make_clip(folder / "in" / "a.mp4")
    preprocess(config_for(folder / "in", folder / "out", size=LARGE_PX))
    (row,) = read_index(folder / "out")
    return Sample.open(folder / "out" / str(row.path))


def test_landmarks_found_on_the_crop_lie_where_the_sample_says(large: Sample) -> None:
    found = detect_landmarks(large.read_frames(range(large.frames)))
    assert found.found.all()
    off_px = np.linalg.norm(found.points - large.points, axis=-1)
    assert np.median(off_px) < 0.01 * LARGE_PX
    assert off_px.mean(axis=1).max() < 0.03 * LARGE_PX


def test_the_crop_is_the_releases_square_round_all_frames(large: Sample) -> None:
    """Every point lies inside, and the union of the face boxes takes e / side of the crop, not more."""
    low, high = large.points.min(axis=(0, 1)), large.points.max(axis=(0, 1))
    assert (low > -0.5).all()
    assert (high < LARGE_PX - 0.5).all()
    share = (high - low).max() / LARGE_PX
    assert 1 / 1.8 - 0.01 <= share <= 1


def test_motion_starts_as_the_identity_and_takes_the_rigid_face_along(large: Sample) -> None:
    np.testing.assert_array_equal(large.motion[0], np.eye(3)[:2])
    corners = large.points[:, [36, 45]]
    moved = np.einsum("fij,pj->fpi", large.motion[:, :, :2], corners[0]) + large.motion[:, None, :, 2]
    assert np.linalg.norm(moved - corners, axis=-1).mean() < 0.02 * LARGE_PX


def test_regions_are_the_points_own_boxes(large: Sample) -> None:
    mouth = large.points[:, 48:68]
    np.testing.assert_allclose(large.regions[:, 2, :2], mouth.min(axis=1), atol=1e-3)
    np.testing.assert_allclose(large.regions[:, 2, 2:], mouth.max(axis=1), atol=1e-3)
    eye = large.points[:, [*range(17, 22), *range(36, 42)]]
    np.testing.assert_allclose(large.regions[:, 0, :2], eye.min(axis=1), atol=1e-3)


def test_the_pose_is_that_of_a_man_who_looks_ahead(large: Sample) -> None:
    assert np.abs(large.pose).max() < 45
    assert large.facts.yaw_abs_mean_degrees == pytest.approx(np.abs(large.pose[:, 0]).mean(), abs=1e-3)


def test_frames_a_side_and_rate_are_those_asked_for(large: Sample) -> None:
    frames = list(read_video(large.folder / "video.mp4"))
    assert len(frames) == large.frames == 24
    assert frames[0].shape == (LARGE_PX, LARGE_PX, 3)


@pytest.mark.parametrize("fps", ["25", "30000/1001", "12.5"])
def test_the_sound_is_exactly_as_long_as_the_picture(one, make_clip, tmp_path: Path, fps: str) -> None:
    make_clip(tmp_path / "in" / "a.mp4")
    _, sample = one(fps=fps, min_frames=10)
    seconds = sample.frames / Fraction(fps)
    assert len(sample.sound()) == round(seconds * 16_000)
    assert sample.log_mel.shape == (80, 1 + len(sample.sound()) // 160)
    assert sample.facts.rate == Fraction(fps)


def test_the_sound_stays_with_the_picture(one, make_clip, tmp_path: Path) -> None:
    """The clip beeps for its first half second; so does the sample."""
    make_clip(tmp_path / "in" / "a.mp4")
    _, sample = one()
    loud = np.abs(sample.sound()).reshape(-1, 160).max(axis=1) > 0.1
    beeps = np.arange(96) < 50
    assert (loud == beeps).mean() > 0.97


def test_a_segment_is_the_part_of_the_clip_that_it_names(
    one, make_clip, tmp_path: Path, man: list[np.ndarray]
) -> None:
    clip = make_clip(tmp_path / "a.mp4", man)
    (tmp_path / "m.csv").write_text("source_uri,start_s,end_s\na.mp4,0.6,2.0\n")
    row, sample = one(source=tmp_path / "m.csv")
    assert (row.start_s, row.end_s, row.frames) == (0.6, 2.0, 35)
    whole = read_sound(clip)
    part = sample.sound()
    expected = whole.samples[round(0.6 * 48_000) :: 3, 0][: len(part)]
    assert np.corrcoef(part, expected)[0, 1] > 0.99
    found = detect_landmarks(man[15:50])
    scale = row.size_px / sample.facts.crop_side
    x = (found.points[0, 30, 0] - sample.facts.crop_x) * scale - 0.5
    assert abs(x - sample.points[0, 30, 0]) < 0.03 * row.size_px


def test_each_clip_is_decoded_twice_and_its_sound_once(
    one, make_clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_clip(tmp_path / "in" / "a.mp4")
    decoded: list[str] = []

    def counting(name: str, function: Callable) -> Callable:
        def called(path: Path, *arguments: Any, **options: Any) -> Any:
            decoded.append(name)
            return function(path, *arguments, **options)

        return called

    monkeypatch.setattr(track, "read_video", counting("picture", read_video))
    monkeypatch.setattr(cut, "read_sound", counting("sound", read_sound))
    one()
    assert sorted(decoded) == ["picture", "picture", "sound"]


def test_memory_does_not_grow_with_the_clip(make_clip, tmp_path, config_for, man) -> None:
    """Frames are 83 kB here: holding 60 more of them would take 5 MB more."""
    import tracemalloc

    peaks = []
    for count in (24, 84):
        make_clip(tmp_path / str(count) / "a.mp4", [man[k % 60] for k in range(count)], beeps=False)
        config = config_for(tmp_path / str(count), tmp_path / "out")
        row = find_source(config).clips[0].to_row()
        tracemalloc.start()
        track.track_clip(row, config)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 2_000_000


# ---------------------------------------------------------------- faces


def blank(frame: np.ndarray) -> np.ndarray:
    return np.full_like(frame, 90)


def test_a_face_that_is_lost_for_a_moment_is_filled_in(one, make_clip, tmp_path, man) -> None:
    frames = [blank(f) if k in (20, 21) else f for k, f in enumerate(man[:40])]
    make_clip(tmp_path / "in" / "a.mp4", frames, beeps=False)
    row, sample = one()
    lost = np.flatnonzero(~sample.found)
    assert row.lost_frames == len(lost) >= 1
    assert set(lost) <= set(range(18, 25))
    assert np.isfinite(sample.points).all()
    between = (sample.points[lost[0] - 1] + sample.points[lost[-1] + 1]) / 2
    np.testing.assert_allclose(sample.points[lost].mean(axis=0), between, atol=0.5)


def test_a_face_that_is_lost_too_often_is_rejected(one, make_clip, tmp_path, man) -> None:
    frames = [blank(f) if k >= 18 else f for k, f in enumerate(man[:24])]
    make_clip(tmp_path / "in" / "a.mp4", frames, beeps=False)
    row, _ = one()
    assert (row.status, row.reason) == ("rejected", "face in less than 90% of the frames")
    assert row.lost_frames is not None
    assert row.lost_frames >= 5


def two_men(man: list[np.ndarray]) -> list[np.ndarray]:
    """The man, and to his right the same man a good deal larger."""
    import cv2

    frames = []
    for frame in man[:24]:
        small = np.zeros((216, 192, 3), np.uint8)
        small[36:180] = frame
        frames.append(np.concatenate([small, cv2.resize(frame, (288, 216))], axis=1))
    return frames


@pytest.mark.parametrize(("faces", "side"), [("largest", "right"), ("1", "left")])
def test_of_several_faces_the_one_asked_for_is_followed(
    one, make_clip, tmp_path, man, faces: str, side: str
) -> None:
    make_clip(tmp_path / "in" / "a.mp4", two_men(man), beeps=False)
    row, sample = one(faces=int(faces) if faces.isdigit() else faces)
    middle = sample.facts.crop_x + sample.facts.crop_side / 2
    assert row.faces_max == 2
    assert (middle > 192) == (side == "right")


def test_several_faces_can_be_rejected(one, make_clip, tmp_path, man) -> None:
    make_clip(tmp_path / "in" / "a.mp4", two_men(man), beeps=False)
    row, _ = one(faces="reject_multiple")
    assert (row.status, row.reason) == ("rejected", "several faces in more than 10% of the frames")


def test_a_face_that_is_not_there_is_an_error(one, make_clip, tmp_path, man) -> None:
    make_clip(tmp_path / "in" / "a.mp4", two_men(man), beeps=False)
    row, _ = one(faces=5)
    assert (row.status, row.error_kind) == ("error", "FaceError")
    assert "Face 5 was asked for" in row.reason
    assert "a.mp4" in row.reason


# ---------------------------------------------------------------- drivers


def darker(frames: list[np.ndarray]) -> list[np.ndarray]:
    return [frame // 2 for frame in frames]


@pytest.mark.parametrize("count", [23, 25])
def test_a_driver_has_the_clips_frames_and_crop(one, make_clip, tmp_path, man, count: int) -> None:
    make_clip(tmp_path / "in" / "a.mp4")
    make_clip(tmp_path / "drivers" / "a.mp4", darker(man[:count]), beeps=False)
    row, sample = one(drivers=tmp_path / "drivers")
    assert row.has_driver
    everything = range(sample.frames)
    clip, driver = sample.read_frames(everything), sample.read_driver_frames(everything)
    assert driver.shape == clip.shape
    assert np.abs(driver[:23] - clip[:23] / 2).mean() < 3


def test_a_driver_of_another_size_is_scaled(one, make_clip, tmp_path, man) -> None:
    make_clip(tmp_path / "in" / "a.mp4")
    small = [frame.reshape(72, 2, 96, 2, 3).mean(axis=(1, 3)).astype(np.uint8) for frame in man[:24]]
    make_clip(tmp_path / "drivers" / "a.mp4", small, beeps=False)
    _, sample = one(drivers=tmp_path / "drivers")
    clip, driver = sample.read_frames([0, 20]), sample.read_driver_frames([0, 20])
    assert np.abs(driver.astype(float) - clip).mean() < 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frames: frames[:20], "has 20 frames at 25 fps, its clip has 24"),
        (lambda frames: [*frames, *frames], "has at least 26 frames"),
        (lambda frames: [np.full_like(f, 128) for f in frames], "shows a face where its clip does in 0 of 3"),
        (lambda frames: [np.roll(f, 96, axis=1) for f in frames], "of 3 frames looked at; 90% are needed"),
        (lambda frames: [frame[:, :144] for frame in frames], "is 144 x 144, but its clip is 192 x 144"),
    ],
)
def test_a_driver_that_does_not_fit_is_an_error(one, make_clip, tmp_path, man, change, message) -> None:
    make_clip(tmp_path / "in" / "a.mp4")
    make_clip(tmp_path / "drivers" / "a.mp4", change(man[:24]), beeps=False)
    row, _ = one(drivers=tmp_path / "drivers")
    assert (row.status, row.error_kind) == ("error", "MediaError")
    assert message in row.reason
    assert not list((tmp_path / "out" / "samples").iterdir())


def test_a_row_that_is_wrong_and_a_driver_that_is_a_pipe_are_errors_of_their_own(
    make_clip, tmp_path, config_for
) -> None:
    make_clip(tmp_path / "a.mp4", beeps=False)
    os.mkfifo(tmp_path / "pipe.mp4")
    rows = [{"source_uri": "a.mp4"}, {"source_uri": "a.mp4", "clip_id": "wrong", "start_s": -1}]
    rows.append({"source_uri": "a.mp4", "clip_id": "piped", "driver_path": "pipe.mp4"})
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = config_for(tmp_path / "m.jsonl", tmp_path / "out")
    report = preprocess(config)
    reasons = {row.sample_id: row.reason for row in read_index(config.output) if row.status == "error"}
    assert (report.ok, set(reasons)) == (1, {"wrong", "piped"})
    assert "start_s is -1" in reasons["wrong"]
    assert "is a device or pipe" in reasons["piped"]


def test_a_driver_that_the_manifest_names_must_be_there(one, make_clip, tmp_path) -> None:
    make_clip(tmp_path / "a.mp4", beeps=False)
    (tmp_path / "m.jsonl").write_text('{"source_uri": "a.mp4", "driver_path": "none.mp4"}\n')
    row, _ = one(source=tmp_path / "m.jsonl")
    assert row.status == "error"
    assert "none.mp4" in row.reason


def test_4k_is_scaled_down(one, tmp_path, make_clip, man) -> None:
    import cv2

    frames = [cv2.resize(frame, (3840, 2160)) for frame in man[:32]]
    make_clip(tmp_path / "in" / "a.mp4", frames, crf=30)
    row, sample = one(size=256)
    assert (row.source_width, row.source_height, row.status) == (3840, 2160, "ok")
    assert sample.read_frames([0]).shape == (1, 256, 256, 3)


def test_a_clip_larger_than_the_limits_is_an_error(one, make_clip, tmp_path) -> None:
    make_clip(tmp_path / "in" / "a.mp4", beeps=False)
    row, _ = one(limits={"max_video_side": 100})
    assert row.status == "error"
    assert "limit is 100 a side" in row.reason


def test_a_sound_that_begins_late_and_ends_early_is_padded(one, make_clip, tmp_path) -> None:
    tone = Sound(np.full((12_000, 1), 0.25, np.float32) * np.sin(np.arange(12_000))[:, None], 16_000)
    make_clip(tmp_path / "in" / "a.mp4", sound=Sound(tone.samples.astype(np.float32), 16_000))
    _, sample = one()
    sound = sample.sound()
    assert len(sound) == 24 * 640
    assert np.abs(sound[:11_000]).max() > 0.1
    assert np.abs(sound[14_000:]).max() < 0.01
