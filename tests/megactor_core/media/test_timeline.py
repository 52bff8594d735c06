from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from megactor_core.media.timeline import Timed, at_constant_rate

RATES = st.sampled_from([Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(60), Fraction(200)])


def constant(count: int, fps: Fraction) -> list[Timed[int]]:
    return [Timed(i, i / fps, 1 / fps) for i in range(count)]


def varying(gaps_ms: list[int]) -> list[Timed[int]]:
    starts = [sum(gaps_ms[:i]) for i in range(len(gaps_ms))]
    return [
        Timed(i, Fraction(s, 1000), Fraction(g, 1000))
        for i, (s, g) in enumerate(zip(starts, gaps_ms, strict=True))
    ]


@given(count=st.integers(1, 60), fps=RATES)
def test_same_rate_gives_every_frame_once(count: int, fps: Fraction) -> None:
    assert list(at_constant_rate(constant(count, fps), video_fps=fps)) == list(range(count))


@given(count=st.integers(1, 60), fps=RATES)
def test_same_rate_survives_time_stamps_rounded_to_milliseconds(count: int, fps: Fraction) -> None:
    rounded = [
        Timed(t.item, Fraction(round(t.seconds * 1000), 1000), Fraction(round(1000 / fps), 1000))
        for t in constant(count, fps)
    ]
    assert list(at_constant_rate(rounded, video_fps=fps)) == list(range(count))


@given(count=st.integers(1, 60), fps_in=RATES, fps_out=RATES)
def test_each_output_shows_the_nearest_frame_or_holds_a_long_one(
    count: int, fps_in: Fraction, fps_out: Fraction
) -> None:
    picks = list(at_constant_rate(constant(count, fps_in), video_fps=fps_out))
    assert len(picks) == max(1, round(count / fps_in * fps_out))
    lead = min(1 / fps_in, 1 / fps_out) / 2
    for index, pick in enumerate(picks):
        ahead = pick / fps_in - index / fps_out
        is_last = pick == count - 1
        assert ahead <= lead
        assert is_last or -ahead <= 1 / fps_in - lead


@given(gaps_ms=st.lists(st.integers(1, 400), min_size=1, max_size=40), fps=RATES)
def test_variable_rate_keeps_order_length_and_long_holds(gaps_ms: list[int], fps: Fraction) -> None:
    frames = varying(gaps_ms)
    picks = list(at_constant_rate(frames, video_fps=fps))
    assert picks == sorted(picks)
    assert len(picks) == max(1, round(Fraction(sum(gaps_ms), 1000) * fps))
    for index, pick in enumerate(picks):
        # Never earlier than half an output frame before its time, never after its successor took over.
        assert frames[pick].seconds <= index / fps + 1 / (2 * fps)
        if pick + 1 < len(frames):
            assert index / fps <= frames[pick + 1].seconds


def test_a_frame_that_stays_two_seconds_is_shown_for_two_seconds() -> None:
    frames = [Timed("a", Fraction(0), Fraction(2)), Timed("b", Fraction(2), Fraction(1, 10))]
    assert list(at_constant_rate(frames, video_fps=Fraction(10))) == ["a"] * 20 + ["b"]


def test_a_declared_length_longer_than_the_stamps_holds_the_last_frame() -> None:
    frames = [Timed("a", Fraction(0), Fraction(1, 25)), Timed("b", Fraction(1, 25), Fraction(4, 25))]
    assert list(at_constant_rate(frames, video_fps=Fraction(25))) == ["a", "b", "b", "b", "b"]


def test_nothing_in_nothing_out() -> None:
    assert list(at_constant_rate([], video_fps=Fraction(25))) == []
