"""Faults: drawn as asked for, and really there, in the truth and in the file."""

from collections import Counter
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megactor_core.config.synth import FAULT_KINDS, FaultKind, FaultsConfig, SynthConfig
from megactor_core.errors import MediaError
from megactor_core.media.audio import is_silent, read_sound, to_mono
from megactor_core.media.video import probe_video, read_video
from megactor_core.synthetic.faults import Fault, draw_fault
from megactor_core.synthetic.film import film_clip
from megactor_core.synthetic.plan import ClipPlan, plan_clip
from megactor_core.synthetic.truth import Truth, read_truth

FRAMES = 20
ON = FaultsConfig(enabled=True)


def _kinds(clips: int, config: FaultsConfig, *, seed: int = 0) -> list[str | None]:
    faults = [draw_fault(k, config, seed=seed, clip_seed=k, frames=FRAMES) for k in range(clips)]
    return [fault.kind if fault else None for fault in faults]


@settings(max_examples=30)
@given(share=st.floats(0.01, 1), seed=st.integers(0, 2**63 - 1), tens=st.integers(1, 8))
def test_the_share_of_faulty_clips_is_as_asked(share: float, seed: int, tens: int) -> None:
    kinds = _kinds(10 * tens, FaultsConfig(enabled=True, share=share), seed=seed)
    faulty = [kind for kind in kinds if kind]
    assert abs(len(faulty) - 10 * tens * share) <= 1
    counts = Counter(faulty)
    assert max(counts.values(), default=0) - min(counts[kind] for kind in FAULT_KINDS) <= 1


def test_no_fault_unless_asked_for() -> None:
    assert not any(_kinds(50, FaultsConfig()))


def test_more_clips_leave_the_faults_of_the_first_as_they_are() -> None:
    assert _kinds(37, ON) == _kinds(100, ON)[:37]


def test_faults_do_not_follow_identities() -> None:
    """With an even number of identities both halves of them get faults."""
    kinds = _kinds(200, ON)
    even, odd = sum(bool(kind) for kind in kinds[::2]), sum(bool(kind) for kind in kinds[1::2])
    assert min(even, odd) > 30


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("small_face", 0.2, 0.4),
        ("large_rotation", 45, 55),
        ("av_offset", 1, 8),
        ("scene_cut", 1, FRAMES - 1),
        ("low_quality", 3, 6),
        ("truncated", 0.3, 0.7),
    ],
)
def test_sizes_are_in_their_ranges(kind: FaultKind, low: float, high: float) -> None:
    config = FaultsConfig(enabled=True, share=1, kinds=(kind,))
    faults = [draw_fault(k, config, seed=0, clip_seed=k, frames=FRAMES) for k in range(200)]
    sizes = np.array([fault.size for fault in faults if fault])
    assert len(sizes) == 200
    assert (np.abs(sizes) >= low).all()
    assert (np.abs(sizes) <= high).all()
    if kind in ("large_rotation", "av_offset"):
        assert 60 < (sizes > 0).sum() < 140
    if kind in ("av_offset", "scene_cut"):
        assert (sizes == sizes.astype(int)).all()


def _config(folder: Path, kind: FaultKind, **changes: object) -> SynthConfig:
    faults = {"enabled": True, "share": 1, "kinds": [kind]}
    values = {"output": folder, "clips": 1, "seconds": FRAMES / 25, "size": 64, "faults": faults}
    return SynthConfig.build(values | changes, source="test")


def _filmed(folder: Path, kind: FaultKind, **changes: object) -> tuple[ClipPlan, Path, Truth]:
    config = _config(folder, kind, **changes)
    plan = plan_clip(0, config)
    film_clip(plan, config, folder=folder)
    truth = read_truth(folder / plan.files.truth)
    assert plan.fault is not None
    assert truth.facts["fault"] == kind
    assert truth.facts["fault_size"] == (plan.fault.size or None)
    assert len(truth.performance) == FRAMES
    return plan, folder / plan.files.video, truth


def _head_px(truth: Truth) -> np.ndarray:
    return np.ptp(truth.points[..., 1], axis=1)


def test_small_face(tmp_path: Path) -> None:
    plan, video, truth = _filmed(tmp_path, "small_face", size=128)
    assert _head_px(truth).max() < 0.3 * 128
    assert plan.fault is not None
    assert truth.performance.track("scale").mean() == pytest.approx(plan.fault.size, rel=0.3)
    assert probe_video(video).frames == FRAMES


def test_large_rotation(tmp_path: Path) -> None:
    _, _, truth = _filmed(tmp_path, "large_rotation")
    yaw = truth.performance.track("yaw_degrees")
    assert np.abs(yaw).mean() > 30
    assert np.abs(yaw).max() <= 60
    nose, left, right = (truth.points[:, index, 0] for index in (30, 36, 45))
    assert (np.sign((nose - (left + right) / 2).mean())) == np.sign(yaw.mean())


def test_silence(tmp_path: Path) -> None:
    _, video, truth = _filmed(tmp_path, "silence")
    assert not truth.performance.track("mouth_open").any()
    assert is_silent(read_sound(video))


def test_no_sound(tmp_path: Path) -> None:
    _, video, truth = _filmed(tmp_path, "no_sound")
    assert truth.facts["has_audio"] is False
    assert not probe_video(video).has_sound
    assert truth.performance.track("mouth_open").any()


def test_two_faces(tmp_path: Path) -> None:
    _, video, truth = _filmed(tmp_path, "two_faces", size=128)
    assert truth.second_points is not None
    assert truth.facts["other_identity_numbers"] != truth.facts["identity_numbers"]
    assert (truth.points[..., 0].max(axis=1) < 64).all()
    assert (truth.second_points[..., 0].min(axis=1) > 64).all()
    frame = next(read_video(video))
    assert not np.allclose(frame[:, :64].mean((0, 1)), frame[:, 64:].mean((0, 1)), atol=2)


def test_no_face(tmp_path: Path) -> None:
    _, video, truth = _filmed(tmp_path, "no_face")
    assert np.isnan(truth.points).all()
    frames = np.stack(list(read_video(video))).astype(float)
    assert np.abs(frames - frames[0]).max() < 12  # nothing moves


def test_scene_cut(tmp_path: Path) -> None:
    plan, video, truth = _filmed(tmp_path, "scene_cut")
    frames = np.stack(list(read_video(video))).astype(float)
    change = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
    assert plan.fault is not None
    cut = int(plan.fault.size)
    assert change.argmax() + 1 == cut
    assert change[cut - 1] > 3 * np.delete(change, cut - 1).max()
    assert np.abs(np.diff(truth.points, axis=0)).max((1, 2)).argmax() + 1 == cut


def test_low_quality_loses_detail(tmp_path: Path) -> None:
    _, video, _ = _filmed(tmp_path / "poor", "low_quality", size=128)
    _, sound_video, _ = _filmed(tmp_path / "sound", "silence", size=128)
    poor, good = (next(read_video(path)).astype(float) for path in (video, sound_video))
    assert _detail(poor) < 0.5 * _detail(good)


def _detail(image: np.ndarray) -> float:
    return float(np.abs(np.diff(image, n=2, axis=1)).mean())


def test_truncated(tmp_path: Path) -> None:
    plan, video, truth = _filmed(tmp_path, "truncated")
    _, whole, _ = _filmed(tmp_path / "whole", "av_offset")
    assert plan.fault is not None
    assert video.stat().st_size == pytest.approx(plan.fault.size * whole.stat().st_size, rel=0.3)
    assert len(truth.points) == FRAMES
    assert list(video.parent.iterdir()) == [video]
    try:
        shown = sum(1 for _ in read_video(video))
    except MediaError:
        shown = 0
    assert shown < FRAMES


@pytest.mark.parametrize("clip", range(4))
def test_av_offset(tmp_path: Path, clip: int) -> None:
    """The sound is as many frames early as the truth says, against the lips that the truth has."""
    config = _config(tmp_path, "av_offset", seconds=4, size=32, clips=4)
    plan = plan_clip(clip, config)
    film_clip(plan, config, folder=tmp_path)
    mouth = read_truth(tmp_path / plan.files.truth).performance.track("mouth_open")
    samples = to_mono(read_sound(tmp_path / plan.files.video))
    loudness = np.sqrt((samples[: 100 * 640].reshape(100, 640) ** 2).mean(axis=1))
    assert plan.fault is not None
    assert _frames_early(loudness, mouth) == plan.fault.size


def _frames_early(loudness: np.ndarray, mouth: np.ndarray, reach: int = 12) -> int:
    """Offset for which loudness at i - offset fits the mouth at i best."""

    def fit(offset: int) -> float:
        frames = np.arange(reach, len(mouth) - reach)
        return float(np.corrcoef(loudness[frames - offset], mouth[frames])[0, 1])

    return max(range(-reach, reach + 1), key=fit)


def test_a_fault_leaves_the_draw_of_motion_and_speech_alone(tmp_path: Path) -> None:
    _, _, quiet = _filmed(tmp_path / "1", "no_sound")
    _, _, poor = _filmed(tmp_path / "2", "low_quality")
    np.testing.assert_array_equal(quiet.performance.tracks, poor.performance.tracks)
    np.testing.assert_array_equal(quiet.points, poor.points)


def test_sizeless_faults_have_no_size_in_the_facts() -> None:
    assert Fault("no_face").size == 0.0
    config = _config(Path(), "no_face", fps="30000/1001")
    assert config.fps == Fraction(30000, 1001)
    assert list(islice((plan_clip(n, config).fault for n in range(9)), 2)) == [Fault("no_face")] * 2
