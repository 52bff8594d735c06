"""Lost faces: each policy, and the errors that say where."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.errors import FaceError
from megactor_core.faces.landmarks import FaceTrack
from megactor_core.faces.track import fill_lost, treatments


def track_of(found: list[bool]) -> FaceTrack:
    """A face that moves 1 px a frame along x and 2 px along y, lost where `found` is False."""
    base = np.random.default_rng(0).uniform(0, 100, (68, 2)).astype(np.float32)
    step = np.array([1, 2], np.float32)
    points = np.stack([base + i * step for i in range(len(found))])
    points[~np.array(found)] = np.nan
    flags = np.array(found)
    return FaceTrack(
        points=points,
        found=flags,
        scores=flags.astype(np.float32),
        faces_in_frame=flags.astype(np.int64),
        frame_width=200,
        frame_height=100,
    )


def source_frames(points: np.ndarray, track: FaceTrack) -> list[int]:
    """Which frame of the full motion each row shows, by its x shift."""
    first = int(np.argmax(track.found))
    return [first + round(float((row - track.points[first])[:, 0].mean())) for row in points]


def test_hold_repeats_the_last_known_face_and_reaches_back_before_the_first() -> None:
    track = track_of([False, False, True, False, False, True, False])
    filled = fill_lost(track, policy="hold")
    assert source_frames(filled.points, track) == [2, 2, 2, 2, 2, 5, 5]
    assert filled.driven.all()
    assert filled.lost_frames == (0, 1, 3, 4, 6)


def test_interpolate_goes_straight_through_gaps_and_holds_the_ends() -> None:
    track = track_of([False, True, False, False, True, False])
    filled = fill_lost(track, policy="interpolate")
    assert source_frames(filled.points, track) == [1, 1, 2, 3, 4, 4]
    full = track_of([True] * 6)
    np.testing.assert_allclose(filled.points[1:5], full.points[1:5], atol=1e-4)


def test_skip_has_no_driver_where_the_face_is_lost_and_keeps_the_length() -> None:
    track = track_of([True, False, True])
    filled = fill_lost(track, policy="skip")
    assert filled.driven.tolist() == [True, False, True]
    assert np.isnan(filled.points[1]).all()
    assert len(filled.points) == 3


def test_fail_names_the_first_lost_frame_and_its_time() -> None:
    track = track_of([True] * 5 + [False, False])
    with pytest.raises(FaceError, match=r"frame 5 \(at 0\.20 s\); 2 of 7"):
        fill_lost(track, policy="fail", video_fps=25)
    assert fill_lost(track_of([True] * 4), policy="fail").lost_frames == ()


@pytest.mark.parametrize("policy", ["hold", "interpolate", "skip", "fail"])
def test_no_face_at_all_is_an_error_in_every_policy(policy: str) -> None:
    with pytest.raises(FaceError, match="any of the 3 frames"):
        fill_lost(track_of([False] * 3), policy=policy)  # type: ignore[arg-type]


@given(
    found=st.lists(st.booleans(), min_size=1, max_size=30).filter(any),
    policy=st.sampled_from(["hold", "interpolate", "skip"]),
)
def test_found_frames_are_untouched_and_driven_frames_have_points(found: list[bool], policy: str) -> None:
    track = track_of(found)
    filled = fill_lost(track, policy=policy)  # type: ignore[arg-type]
    np.testing.assert_array_equal(filled.points[track.found], track.points[track.found])
    assert np.isfinite(filled.points[filled.driven]).all()
    assert np.isnan(filled.points[~filled.driven]).all()
    assert filled.points.dtype == np.float32
    assert list(filled.lost_frames) == [i for i, there in enumerate(found) if not there]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("hold", "held held found held found held"),
        ("interpolate", "held held found interpolated found held"),
        ("skip", "skipped skipped found skipped found skipped"),
    ],
)
def test_treatments_say_what_was_done(policy: str, expected: str) -> None:
    found = np.array([False, False, True, False, True, False])
    assert treatments(found, policy=policy) == expected.split()  # type: ignore[arg-type]
    assert treatments(found[:0], policy=policy) == []  # type: ignore[arg-type]


@given(found=st.lists(st.booleans(), min_size=1, max_size=30).filter(any))
def test_a_held_frame_has_a_neighbour_s_very_points(found: list[bool]) -> None:
    """And an interpolated one has faces on both sides: the words are those of what `fill_lost` did."""
    track = track_of(found)
    filled = fill_lost(track, policy="interpolate")
    for frame, word in enumerate(treatments(track.found, policy="interpolate")):
        copied = [np.array_equal(filled.points[frame], points) for points in track.points[track.found]]
        assert any(copied) == (word in ("found", "held"))
