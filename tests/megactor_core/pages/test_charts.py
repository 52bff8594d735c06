"""Charts: nothing is lost by thinning, gaps stay gaps, and any numbers can be drawn."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megactor_core.pages.charts import (
    HEIGHT,
    WIDTH,
    Limit,
    Line,
    histogram,
    interval_bar,
    limit_histogram,
    line_chart,
    share_bar,
)


def points(chart: str) -> list[np.ndarray]:
    """Pixels of each line drawn."""
    texts = re.findall(r'points="([^"]*)"', chart)
    return [np.array([[float(v) for v in at.split(",")] for at in text.split()]) for text in texts]


def line(values: object, x: object = None) -> Line:
    y = np.asarray(values, dtype=np.float64)
    return Line("", "made", np.arange(len(y)) if x is None else np.asarray(x), y)


def test_a_line_rises_to_the_top_and_ends_at_the_right() -> None:
    (drawn,) = points(line_chart("t", [line([0, 1, 2])], x_label="s"))
    assert (np.diff(drawn[:, 0]) > 0).all()
    assert (np.diff(drawn[:, 1]) < 0).all()  # pixels count down


def test_frames_without_a_face_are_gaps() -> None:
    nan = np.nan
    drawn = points(line_chart("t", [line([nan, 1, 2, nan, nan, 3, 4, 5, nan])], x_label="s"))
    assert [len(run) for run in drawn] == [2, 3]


def test_the_peak_of_a_long_clip_is_drawn() -> None:
    values = np.zeros(50_000)
    values[31_337], values[40_000] = 1.0, -1.0
    (drawn,) = points(line_chart("t", [line(values)], x_label="s"))
    assert len(drawn) <= 300
    (short,) = points(line_chart("t", [line([0, 1, -1])], x_label="s"))
    assert drawn[:, 1].min() == short[:, 1].min()
    assert drawn[:, 1].max() == short[:, 1].max()


def test_nothing_finite_is_no_chart() -> None:
    assert line_chart("t", [line([np.nan, np.inf])], x_label="s") == ""
    assert line_chart("t", [], x_label="s") == ""
    assert histogram("t", np.array([np.nan, 1.0, 1.0])) == ""


@settings(max_examples=40)
@given(st.lists(st.floats(-1e12, 1e12) | st.just(np.nan) | st.just(np.inf), min_size=1, max_size=320))
def test_any_numbers_are_drawn_within_the_picture(values: list[float]) -> None:
    for chart in (line_chart("t", [line(values)], x_label="s"), histogram("t", np.array(values))):
        assert "nan" not in chart
        assert "inf" not in chart
        for run in points(chart):
            assert (run >= 0).all()
            assert (run <= [WIDTH, HEIGHT]).all()


@pytest.mark.parametrize("middle", [0.9999985, 35.02, -7.1, 0.0, 1e-7])
def test_labels_of_nearly_constant_lines_are_short(middle: float) -> None:
    chart = line_chart("t", [line(middle + np.linspace(-1e-7, 1e-7, 9))], x_label="s")
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", chart)
    assert len(labels) > 3
    assert max(len(label) for label in labels) <= 7


def test_a_histogram_counts_every_clip() -> None:
    chart = histogram("t", np.random.default_rng([5]).normal(size=1000))
    heights = [float(height) for height in re.findall(r'height="([^"]*)"', chart)]
    assert len(heights) == 20
    assert max(heights) == pytest.approx(HEIGHT - 30)


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (-2.0, -1.0), (-1.0, 3.0)])
def test_an_interval_lies_on_its_side_of_zero(low: float, high: float) -> None:
    chart = interval_bar(low, high, (low + high) / 2, look="made")
    zero, start, end = (float(x) for x in re.findall(r'x[12]="([^"]*)"', chart)[1:4])
    assert zero == 110
    assert (start <= zero, end <= zero) == (low <= 0, high <= 0)


def bars(chart: str) -> list[tuple[str, float, float, float]]:
    """Class, left and right end, and height of each bar."""
    found = re.findall(
        r'<rect(?: class="(\w+)")? x="([^"]*)" y="[^"]*" width="([^"]*)" height="([^"]*)"', chart
    )
    return [(look, float(x), float(x) + float(width), float(height)) for look, x, width, height in found]


def limit_at(chart: str) -> list[float]:
    return [float(x) for x in re.findall(r'<line class="limit" x1="([^"]*)"', chart)]


@pytest.mark.parametrize("is_floor", [True, False])
def test_values_past_a_limit_are_on_its_other_side_and_of_another_colour(is_floor: bool) -> None:
    values = np.array([1.0, 2.0, 2.0, 3.0, 3.0, 3.0])
    chart = limit_histogram("t", values, [Limit(2.0, is_floor, "limit <2>")])
    (at,) = limit_at(chart)
    past = [bar for bar in bars(chart) if bar[0] == "past"]
    rest = [bar for bar in bars(chart) if bar[0] != "past"]
    # On the limit is not past it.
    assert (len(past), len(rest)) == (1, 2)
    low, high = (past, rest) if is_floor else (rest, past)
    assert max(right for _, _, right, _ in low) <= at
    assert min(left for _, left, _, _ in high) >= at - 0.1
    assert past[0][3] == pytest.approx(
        max(bar[3] for bar in bars(chart)) * (1 / 3 if is_floor else 1), abs=0.1
    )
    assert "limit &lt;2&gt;" in chart


def test_every_limit_is_drawn_even_where_no_value_is_near() -> None:
    chart = limit_histogram("t", np.array([5.0, 6.0]), [Limit(100.0, False, "a"), Limit(-3.0, True, "b")])
    assert len(limit_at(chart)) == 2
    assert len(bars(chart)) >= 1
    assert limit_histogram("t", np.array([np.nan]), [Limit(1.0, True, "")]) == ""
    assert limit_histogram("t", np.array([1.0]), []) == ""


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e12, 1e12) | st.integers(-99, 99).map(float), min_size=1, max_size=60),
    st.floats(-1e12, 1e12) | st.integers(-99, 99).map(float),
    st.booleans(),
)
def test_any_limit_is_drawn_within_the_picture(values: list[float], limit: float, is_floor: bool) -> None:
    chart = limit_histogram("t", np.array(values), [Limit(limit, is_floor, "x")])
    assert "nan" not in chart
    (at,) = limit_at(chart)
    assert 0 <= at <= WIDTH
    assert all(
        left >= 0 and right <= WIDTH + 1 and height <= HEIGHT for _, left, right, height in bars(chart)
    )
    is_past = any(value < limit if is_floor else value > limit for value in values)
    assert (' class="past"' in chart) == is_past


def test_a_share_is_as_wide_as_it_is_large() -> None:
    widths = [right - left for _, left, right, _ in bars(share_bar(0.25))]
    assert widths == [200, 50]
