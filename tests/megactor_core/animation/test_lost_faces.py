"""Driving clips that lose their face: what each policy drives with, and what the description says of it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from megactor_core import weights
from megactor_core.animation import conditions as conditions_module
from megactor_core.animation.animate import AnimateReport, animate
from megactor_core.animation.conditions import Conditions
from megactor_core.animation.driving import DrivingTrack
from megactor_core.config.animate import AnimateConfig
from megactor_core.errors import FaceError, WeightsError
from megactor_core.media.image import write_image
from megactor_core.media.video_writer import VideoWriter

pytestmark = pytest.mark.slow  # whole runs

FRAMES = 14
GAP = range(5, 9)


@dataclass
class Run:
    """A report, the driver's records as the denoiser saw them, and the track that they were cut along."""

    report: AnimateReport
    motion: np.ndarray
    records: list[int]
    track: DrivingTrack

    def description(self) -> dict[str, Any]:
        return json.loads(self.report.output.with_name(self.report.output.name + ".json").read_text())


def write_clip(path: Path, frames: Sequence[np.ndarray]) -> Path:
    height, width = frames[0].shape[:2]
    with VideoWriter(path, video_fps=Fraction(25), width=width, height=height) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def without_face(frames: Sequence[np.ndarray], lost: Sequence[int]) -> list[np.ndarray]:
    return [np.full_like(frame, 90) if i in lost else frame for i, frame in enumerate(frames)]


@pytest.fixture
def run(
    media: Path, speaking_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Run]:
    """Animate with a driving clip of the given frames."""
    seen: dict[str, Any] = {}
    encode, read = conditions_module.encode_driver, conditions_module.read_conditions

    def spy_encode(track: DrivingTrack, *arguments: Any, **named: Any) -> None:
        seen["track"] = track
        encode(track, *arguments, **named)

    def spy_read(*arguments: Any) -> Conditions:
        found = read(*arguments)
        count = found.driving.frames
        seen["motion"] = found.driving.motion.read(0, count + 1)
        seen["records"] = [found.driving.record(frame) for frame in found.followed]
        return found

    monkeypatch.setattr(conditions_module, "encode_driver", spy_encode)
    monkeypatch.setattr("megactor_core.animation.animate.read_conditions", spy_read)

    def run(frames: Sequence[np.ndarray], **settings: Any) -> Run:
        config = {
            "reference": media / "portrait.png",
            "driving": write_clip(tmp_path / "driver.mp4", frames),
            "checkpoint": speaking_checkpoint,
            "output": tmp_path / "out.mp4",
            "steps": 1,
            "guidance": 1.0,
        }
        report = animate(AnimateConfig(**{**config, **settings}))
        return Run(report, **seen)

    return run


def runs_of(values: Sequence[str]) -> list[dict[str, Any]]:
    """Run lengths, as the description has them."""
    rows, first = [], 0
    for value, group in groupby(values):
        count = len(list(group))
        rows.append({"first": first, "last": first + count - 1, "face": value})
        first += count
    return rows


def test_hold_drives_with_the_last_face_seen(run: Any, face_frames: list[np.ndarray]) -> None:
    done = run(without_face(face_frames[:FRAMES], GAP), on_lost_face="hold")
    for frame in GAP:
        np.testing.assert_array_equal(done.motion[frame], done.motion[GAP.start - 1])
        np.testing.assert_array_equal(done.track.points[frame], done.track.points[GAP.start - 1])
    assert not np.array_equal(done.motion[GAP.stop], done.motion[GAP.start - 1])
    assert done.records == list(range(FRAMES))
    faces = ["held" if frame in GAP else "found" for frame in range(FRAMES)]
    assert done.description()["driving_faces"] == runs_of(faces)
    assert done.report.frames == FRAMES
    assert done.report.lost_face_frames == len(GAP)


def test_hold_before_the_first_face_shows_that_face(run: Any, face_frames: list[np.ndarray]) -> None:
    done = run(without_face(face_frames[:FRAMES], [0, 1, 2]), on_lost_face="hold")
    for frame in range(3):
        np.testing.assert_array_equal(done.motion[frame], done.motion[3])
    assert not np.array_equal(done.motion[3], done.motion[4])
    assert done.description()["driving_faces"] == runs_of(["held"] * 3 + ["found"] * (FRAMES - 3))


def test_interpolate_moves_the_place_and_shows_the_frame_itself(
    run: Any, face_frames: list[np.ndarray]
) -> None:
    """He slides to the right meanwhile: the points go straight from one side of the gap to the other."""
    sliding = [np.roll(face_frames[0], 2 * i, axis=1) for i in range(FRAMES)]
    done = run(without_face(sliding, [*GAP, FRAMES - 1]), on_lost_face="interpolate")
    before, after = GAP.start - 1, GAP.stop
    path = done.track.points[before : after + 1].mean(axis=1)
    np.testing.assert_allclose(np.diff(path, axis=0), np.tile((path[-1] - path[0]) / 5, (5, 1)), atol=1e-3)
    assert path[-1, 0] - path[0, 0] > 3
    assert not np.array_equal(done.motion[GAP.start], done.motion[before])
    faces = ["interpolated" if frame in GAP else "found" for frame in range(FRAMES)]
    faces[-1] = "held"  # nothing comes after it: the last face stays, not what is in its place by now
    np.testing.assert_array_equal(done.motion[FRAMES - 1], done.motion[FRAMES - 2])
    assert done.description()["driving_faces"] == runs_of(faces)


def test_skip_drives_nothing_and_keeps_the_length(run: Any, face_frames: list[np.ndarray]) -> None:
    done = run(without_face(face_frames[:FRAMES], GAP), on_lost_face="skip")
    nothing = FRAMES
    assert done.records == [nothing if frame in GAP else frame for frame in range(FRAMES)]
    assert done.report.frames == FRAMES
    faces = ["skipped" if frame in GAP else "found" for frame in range(FRAMES)]
    assert done.description()["driving_faces"] == runs_of(faces)
    assert done.description()["lost_frames"] == list(GAP)


def test_fail_names_clip_frame_and_time_and_writes_nothing(
    run: Any, face_frames: list[np.ndarray], tmp_path: Path
) -> None:
    with pytest.raises(FaceError, match=r"driver\.mp4': .* frame 5 \(at 0\.20 s\); 4 of 14"):
        run(without_face(face_frames[:FRAMES], GAP), on_lost_face="fail")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("out")] == []
    whole = run(face_frames[:FRAMES], on_lost_face="fail")
    assert whole.description()["driving_faces"] == [{"first": 0, "last": FRAMES - 1, "face": "found"}]


def test_without_a_driving_clip_there_is_nothing_to_tell(
    media: Path, speaking_checkpoint: Path, tmp_path: Path
) -> None:
    report = animate(
        AnimateConfig(
            reference=media / "portrait.png",
            audio=media / "speech.wav",
            checkpoint=speaking_checkpoint,
            output=tmp_path / "out.mp4",
            seconds=0.1,
        )
    )
    description = json.loads(report.output.with_name("out.mp4.json").read_text())
    assert description["driving_faces"] == description["lost_frames"] == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda frame: np.ascontiguousarray(frame[:, ::-1]), id="mirrored"),
        pytest.param(lambda frame: np.ascontiguousarray(frame[:88]), id="cropped"),
        pytest.param(lambda frame: np.pad(frame, ((300, 200), (500, 300), (0, 0))), id="tiny"),
        pytest.param(lambda frame: np.concatenate([frame, frame[:, ::-1]], axis=1), id="two"),
    ],
)
def test_drivers_as_they_come(run: Any, face_frames: list[np.ndarray], change: Any) -> None:
    """Whatever is around it, the face is found, and aligned to the portrait's."""
    done = run([change(frame) for frame in face_frames[:4]])
    assert done.report.lost_face_frames == 0
    assert np.ptp(done.track.points[0], axis=0).max() < 64
    assert ((done.track.points[0] > 0) & (done.track.points[0] < 64)).mean() > 0.9


def test_the_chosen_face_drives(run: Any, face_frames: list[np.ndarray]) -> None:
    pair = [
        np.concatenate([frame, later], axis=1)
        for frame, later in zip(face_frames[:4], face_frames[20:24], strict=True)
    ]
    first, second = run(pair, face=0), run(pair, face=1)
    assert not np.array_equal(first.motion, second.motion)


def test_smoothing_steadies_the_places_and_nothing_else(run: Any, face_frames: list[np.ndarray]) -> None:
    """His points jitter by themselves: the second differences of their paths shrink."""
    rough, smooth = run(face_frames[:FRAMES]), run(face_frames[:FRAMES], smoothing_seconds=0.08)

    def jitter(done: Run) -> float:
        return float(np.abs(np.diff(done.track.points, n=2, axis=0)).mean())

    assert jitter(smooth) < 0.5 * jitter(rough)
    assert np.abs(smooth.track.points - rough.track.points).max() < 3
    assert smooth.report.frames == rough.report.frames


def test_the_paper_s_detector_drives_too(
    run: Any,
    toy_dwpose: Any,
    toy_sizes: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Painted pictures for networks that find paint (see conftest.py one folder up)."""
    monkeypatch.setenv("MEGACTOR_CACHE", str(tmp_path / "cache"))

    def painted(x: int, *, face: bool = True) -> np.ndarray:
        image = np.full((480, 640, 3), 60, np.uint8)
        image[201:208, 241:248] = (0, 0, 255)
        if face:
            image[190:193, x : x + 3] = (255, 255, 0)
        return image

    write_image(tmp_path / "portrait.png", painted(250))
    frames = [painted(250 + i, face=i != 2) for i in range(4)]
    settings = {"reference": tmp_path / "portrait.png", "landmarks": "dwpose"}
    monkeypatch.setattr("megactor_core.weights.fetch", _no_network)
    with pytest.raises(WeightsError, match="weights pull dwpose --from"):
        run(frames, **settings)
    weights.pull("dwpose", from_path=toy_dwpose())
    done = run(frames, **settings)
    assert done.description()["driving_faces"] == runs_of(["found", "found", "held", "found"])
    box = done.track.points[0].max(axis=0) - done.track.points[0].min(axis=0)
    drift = (done.track.points[3] - done.track.points[0]).mean(axis=0)
    pixels = 3 * box[0] / (np.ptp(toy_sizes.face_bins[:, 0]) / 2 / 2.4)
    np.testing.assert_allclose(drift, [pixels, 0], atol=0.3 * pixels)


def _no_network(*arguments: Any) -> str:
    raise WeightsError("Not reachable.", fix="Run `megactor weights pull dwpose --from FOLDER`.")
