"""Motion: natural enough, within limits, and every track on its own."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megactor_core.synthetic import motion
from megactor_core.synthetic.identity import draw_identity
from megactor_core.synthetic.motion import LIMITS, act, perform
from megactor_core.synthetic.speech import say_nothing, speak
from megactor_core.synthetic.state import TRACKS, Performance

FPS = Fraction(25)
SOMEONE = draw_identity(1)
POSE = ("yaw_degrees", "pitch_degrees", "roll_degrees", "shift_x", "shift_y")
SPEECH = speak(SOMEONE.voice, seconds=4, seed=9)


def _many(clips: int, *, seconds: float = 3.0, motion_scale: float = 1.0) -> list[Performance]:
    quiet = say_nothing(seconds=seconds, seed=0)
    return [
        act(quiet, frames=round(seconds * FPS), video_fps=FPS, seed=seed, motion_scale=motion_scale)
        for seed in range(clips)
    ]


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**63 - 1),
    frames=st.integers(1, 90),
    fps=st.sampled_from([Fraction(25), Fraction(30000, 1001), Fraction(8)]),
    scale=st.floats(0, 2),
)
def test_no_track_leaves_its_limits(seed: int, frames: int, fps: Fraction, scale: float) -> None:
    performance = act(SPEECH, frames=frames, video_fps=fps, seed=seed, motion_scale=scale)
    assert performance.tracks.shape == (frames, len(TRACKS))
    assert performance.video_fps == float(fps)
    for name, (low, high) in LIMITS.items():
        track = performance.track(name)
        assert track.min() >= low
        assert track.max() <= high


def test_every_track_has_limits() -> None:
    assert set(LIMITS) == set(TRACKS)


def test_the_same_seed_gives_the_same_motion_and_another_another() -> None:
    one, again, other = (
        perform(SOMEONE, seconds=2, video_fps=FPS, seed=seed)[0].tracks for seed in (4, 4, 5)
    )
    assert one.tobytes() == again.tobytes()
    assert not np.allclose(one, other)


def test_identity_changes_the_voice_only() -> None:
    first, second = (perform(draw_identity(n), seconds=2, video_fps=FPS, seed=4) for n in (1, 2))
    for name in set(TRACKS) - {"mouth_open"}:  # how far the jaw goes is the voice's articulation
        np.testing.assert_array_equal(first[0].track(name), second[0].track(name))
    assert not np.allclose(first[1].samples, second[1].samples)


@pytest.mark.parametrize(
    ("stream", "changes"),
    [
        ("_YAW", {"yaw_degrees"}),
        ("_NODS", {"pitch_degrees"}),
        ("_SCALE", {"scale"}),
        ("_SMILE", {"smile"}),
        ("_BLINKS", {"eye_open"}),
        ("_GAZE", {"gaze_x", "gaze_y"}),
        ("_BROW", {"brow"}),
    ],
)
def test_another_draw_of_one_track_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, stream: str, changes: set[str]
) -> None:
    before = act(SPEECH, frames=80, video_fps=FPS, seed=3)
    number = getattr(motion, stream)
    sways = {name: (999 if own == number else own, sway) for name, (own, sway) in motion._SWAYS.items()}
    monkeypatch.setattr(motion, stream, 999)
    monkeypatch.setattr(motion, "_SWAYS", sways)
    after = act(SPEECH, frames=80, video_fps=FPS, seed=3)
    changed = {name for name in TRACKS if not np.array_equal(before.track(name), after.track(name))}
    assert changed == changes


def test_silence_changes_the_mouth_only() -> None:
    spoken, _ = perform(SOMEONE, seconds=3, video_fps=FPS, seed=8)
    silent, speech = perform(SOMEONE, seconds=3, video_fps=FPS, seed=8, speaks=False)
    for name in TRACKS:
        if name.startswith("mouth"):
            assert not silent.track(name).any()
            assert spoken.track(name).any()
        else:
            np.testing.assert_array_equal(spoken.track(name), silent.track(name))
    assert len(speech.samples) == 48_000


def test_tracks_are_not_correlated_over_clips() -> None:
    """Means over 300 clips: what one track does says nothing about another."""
    means = np.array([performance.tracks.mean(axis=0) for performance in _many(300, seconds=1)])
    moving = [TRACKS.index(name) for name in TRACKS if not name.startswith("mouth")]
    correlation = np.corrcoef(means[:, moving], rowvar=False) - np.eye(len(moving))
    assert np.abs(correlation).max() < 0.25


def test_the_brow_follows_speech_only_where_asked() -> None:
    free, tied = (
        act(SPEECH, frames=100, video_fps=FPS, seed=2, brow_follows_speech=strength) for strength in (0, 0.5)
    )
    lift = tied.track("brow") - free.track("brow")
    assert np.corrcoef(lift, free.track("mouth_open"))[0, 1] > 0.8
    for name in set(TRACKS) - {"brow"}:
        np.testing.assert_array_equal(free.track(name), tied.track(name))


def test_amplitude_of_head_motion() -> None:
    """At 1 a typical clip turns past 10 degrees and some reach 30; 0.25 is a quarter of it; 0 is still."""
    largest = np.array([np.abs(clip.track("yaw_degrees")).max() for clip in _many(200)])
    assert 10 < np.median(largest) < 25
    assert 25 < np.quantile(largest, 0.98) < 37
    easy = np.array([np.abs(clip.track("yaw_degrees")).max() for clip in _many(200, motion_scale=0.25)])
    assert np.median(easy) == pytest.approx(np.median(largest) / 4, rel=0.15)
    still = _many(1, motion_scale=0)[0]
    for name in POSE:
        assert not still.track(name).any()
    assert (still.track("scale") == 1).all()


def test_motion_is_smooth() -> None:
    """No head turns faster than 120 degrees a second, nor changes that within a frame by more than 20."""
    for clip in _many(30):
        velocity = np.diff(clip.track("yaw_degrees")) * float(FPS)
        assert np.abs(velocity).max() < 120
        assert np.abs(np.diff(velocity)).max() < 20


def test_blinks_close_the_eyes_for_a_moment() -> None:
    """Lids fall faster than they rise, meet, and are open most of the time; 8 to 40 blinks a minute."""
    clips = [
        act(say_nothing(seconds=20, seed=0), frames=4000, video_fps=Fraction(200), seed=seed)
        for seed in range(12)
    ]
    blinks, falls, rises = 0, [], []
    for clip in clips:
        eye = clip.track("eye_open")
        shut = np.flatnonzero((eye[1:] < 0.02) & (eye[:-1] >= 0.02))
        blinks += len(shut)
        speed = np.diff(eye)
        falls.append(-speed.min())
        rises.append(speed.max())
        assert np.mean(eye > 0.75) > 0.7
    assert 8 * 4 < blinks < 40 * 4
    assert np.mean(falls) > 1.5 * np.mean(rises)


def test_a_blink_is_seen_at_25_frames_a_second() -> None:
    shut = [clip.track("eye_open").min() < 0.1 for clip in _many(60, seconds=5)]
    assert np.mean(shut) > 0.95


def test_the_gaze_rests_and_jumps() -> None:
    gaze = act(say_nothing(seconds=20, seed=0), frames=4000, video_fps=Fraction(200), seed=1).track("gaze_x")
    steps = np.abs(np.diff(gaze))
    assert np.mean(steps == 0) > 0.8
    assert steps.max() * 200 > 5  # whole widths a second, during a saccade


def test_a_frame_shows_the_mouth_of_its_middle() -> None:
    performance = act(SPEECH, frames=75, video_fps=FPS, seed=0)
    mouth_open, mouth_wide = SPEECH.mouth((np.arange(75) + 0.5) / 25)
    np.testing.assert_array_equal(performance.track("mouth_open"), mouth_open)
    np.testing.assert_array_equal(performance.track("mouth_wide"), mouth_wide)


def test_a_clip_may_begin_later_in_the_speech() -> None:
    whole = act(SPEECH, frames=60, video_fps=FPS, seed=1)
    late = act(SPEECH, frames=50, video_fps=FPS, seed=1, speech_starts_seconds=10 / 25)
    np.testing.assert_allclose(late.track("mouth_open"), whole.track("mouth_open")[10:], atol=1e-9)
    np.testing.assert_array_equal(late.track("yaw_degrees"), whole.track("yaw_degrees")[:50])
