"""Length of the output and the driving frame of each output frame."""

from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from megactor_core.animation.timeline import NOTHING, driving_frames, output_frames

RATES = st.sampled_from([Fraction(24), Fraction(25), Fraction(30), Fraction(30000, 1001), Fraction(60)])


@given(st.floats(0.02, 600), RATES)
def test_length_is_right_to_half_a_frame(seconds: float, video_fps: Fraction) -> None:
    frames = output_frames(seconds, video_fps=video_fps)
    assert frames >= 1
    assert frames == 1 or abs(frames / video_fps - Fraction(seconds)) <= 1 / video_fps / 2


def test_limit_cuts_and_never_stretches() -> None:
    assert output_frames(10.0, video_fps=Fraction(25), limit_seconds=2.0) == 50
    assert output_frames(1.0, video_fps=Fraction(25), limit_seconds=2.0) == 25


def test_ends() -> None:
    assert driving_frames(9, available=3, end="pingpong") == [0, 1, 2, 1, 0, 1, 2, 1, 0]
    assert driving_frames(5, available=3, end="hold") == [0, 1, 2, 2, 2]
    assert driving_frames(5, available=3, end="stop") == [0, 1, 2, NOTHING, NOTHING]
    assert driving_frames(3, available=0, end="pingpong") == [NOTHING] * 3


@given(st.integers(1, 200), st.integers(1, 50), st.sampled_from(["pingpong", "hold", "stop"]))
def test_the_clip_plays_as_it_is_first(frames: int, available: int, end: str) -> None:
    followed = driving_frames(frames, available=available, end=end)
    assert len(followed) == frames
    assert followed[:available] == list(range(min(frames, available)))
    assert all(NOTHING <= k < available for k in followed)
    if end == "pingpong":
        assert all(abs(a - b) <= 1 for a, b in pairwise(followed))
