"""From clips to sets: intervals cover what they claim, do not depend on order, and survive odd values."""

from dataclasses import dataclass

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st

from megactor_core.errors import MetricError
from megactor_core.metrics import statistics
from megactor_core.metrics.statistics import (
    Interval,
    bootstrap_interval,
    correlation,
    mean_decibels,
    rank_correlation,
    summarise,
    summarise_difference,
)

VALUES = np.random.default_rng(1).gamma(2, 3, 24)  # lopsided
finite_lists = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12)


# ---------------------------------------------------------------- intervals


@dataclass(frozen=True)
class Drawn:
    """What scipy takes the resampled means from."""

    bootstrap_distribution: np.ndarray


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_interval_parity_with_scipy_on_the_same_draws(level: float) -> None:
    values = np.sort(VALUES)
    means = np.sort(statistics._resampled_means(values, seed=5, resamples=4000))
    theirs = scipy.stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=0,
        bootstrap_result=Drawn(means),
        confidence_level=level,
        method="BCa",
    ).confidence_interval
    ours = bootstrap_interval(VALUES, seed=5, level=level, resamples=4000)
    # They interpolate between two neighbours, of which ours is one.
    for end, expected in ((ours.low, theirs.low), (ours.high, theirs.high)):
        place = np.searchsorted(means, expected)
        assert means[place - 2] <= end <= means[place + 1]


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    sets = rng.normal(3, 2, (400, 25))
    intervals = [bootstrap_interval(values, seed=0, level=0.9, resamples=500) for values in sets]
    covered = np.mean([interval.low <= 3 <= interval.high for interval in intervals])
    assert 0.84 < covered < 0.93  # somewhat short of the level: 25 values


@given(order=st.permutations(range(len(VALUES))))
@settings(max_examples=20)
def test_the_order_of_clips_changes_no_bit(order: list[int]) -> None:
    interval = bootstrap_interval(VALUES[order], seed=3, resamples=200)
    assert interval == bootstrap_interval(VALUES, seed=3, resamples=200)


def test_the_seed_alone_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    interval = bootstrap_interval(VALUES, seed=3)
    assert interval == bootstrap_interval(VALUES, seed=3)
    other = bootstrap_interval(VALUES, seed=4)
    assert interval != other
    width = interval.high - interval.low
    assert abs(interval.low - other.low) < 0.1 * width
    monkeypatch.setattr(statistics, "_BLOCK_VALUES", 7 * len(VALUES))
    assert bootstrap_interval(VALUES, seed=3) == interval


def test_more_clips_and_lower_levels_narrow_it() -> None:
    def width(values: np.ndarray, level: float = 0.95) -> float:
        interval = bootstrap_interval(values, seed=0, level=level)
        return interval.high - interval.low

    assert width(np.tile(VALUES, 4)) == pytest.approx(width(VALUES) / 2, rel=0.15)
    assert width(VALUES, level=0.5) < 0.5 * width(VALUES)
    assert bootstrap_interval(VALUES, seed=0).low < VALUES.mean() < bootstrap_interval(VALUES, seed=0).high


@given(values=finite_lists, missing=st.integers(0, 3))
@example(values=[0.0, 1e-150], missing=0)  # their squares vanish
@settings(max_examples=50)
def test_missing_values_are_left_out_and_counted(values: list[float], missing: int) -> None:
    summary = summarise(np.array([np.nan] * missing + values), seed=1, resamples=50)
    assert (summary.count, summary.missing) == (len(values), missing)
    assert summary.mean == pytest.approx(np.mean(values))
    if len(values) == 1:
        assert np.isnan([summary.low, summary.high]).all()
    else:
        assert min(values) - 1e-6 <= summary.low <= summary.high <= max(values) + 1e-6


def test_no_values_at_all() -> None:
    for values in (np.array([]), np.array([np.nan, np.nan])):
        summary = summarise(values, seed=1)
        assert np.isnan([summary.mean, summary.low, summary.high]).all()
        assert (summary.count, summary.missing) == (0, len(values))


def test_equal_values_are_certain() -> None:
    assert bootstrap_interval(np.full(5, 0.1), seed=0) == Interval(0.1, 0.1)
    assert bootstrap_interval(np.full(5, np.inf), seed=0) == Interval(np.inf, np.inf)


def test_infinite_values_are_values() -> None:
    one_in_ten = np.array([*np.arange(9.0), np.inf])
    summary = summarise(one_in_ten, seed=0)
    assert summary.mean == summary.high == np.inf
    assert 0 < summary.low < 8
    both_sides = summarise(np.array([-np.inf, 1.0, np.inf]), seed=0, resamples=100)
    assert np.isnan(both_sides.mean)


def test_what_is_no_interval_is_refused() -> None:
    for level, resamples in ((0.0, 100), (1.0, 100), (np.nan, 100), (0.95, 0)):
        with pytest.raises(MetricError, match="no interval of level"):
            bootstrap_interval(VALUES, seed=0, level=level, resamples=resamples)


# ---------------------------------------------------------------- two sets


def test_pairs_say_more_than_sets_do() -> None:
    better = VALUES + 0.5 + np.random.default_rng(2).normal(0, 0.1, len(VALUES))
    difference = summarise_difference(VALUES, better, seed=0)
    assert difference.mean == pytest.approx(0.5, abs=0.1)
    assert 0.4 < difference.low < difference.high < 0.6
    first, second = summarise(VALUES, seed=0), summarise(better, seed=0)
    assert second.low < first.high  # the sets alone would not tell
    assert summarise_difference(better, VALUES, seed=0).mean == pytest.approx(-difference.mean)


def test_a_set_does_not_differ_from_itself() -> None:
    values = np.array([1.0, np.inf, 3.0, np.nan])
    difference = summarise_difference(values, values, seed=0)
    assert (difference.mean, difference.low, difference.high) == (0, 0, 0)
    assert (difference.count, difference.missing) == (3, 1)
    with pytest.raises(MetricError, match="4 and 3 values"):
        summarise_difference(values, values[1:], seed=0)


# ---------------------------------------------------------------- means and correlations


def test_decibels_are_averaged_as_errors() -> None:
    errors = np.array([4.0, 9.0, 100.0])
    frames = 10 * np.log10(255**2 / errors)
    assert mean_decibels(frames) == pytest.approx(10 * np.log10(255**2 / errors.mean()))
    assert mean_decibels(np.array([np.inf, frames[0]])) == pytest.approx(frames[0] + 10 * np.log10(2))
    assert mean_decibels(np.array([np.nan, frames[0]])) == pytest.approx(frames[0])
    assert mean_decibels(np.full(3, np.inf)) == np.inf
    assert np.isnan(mean_decibels(np.array([np.nan])))


@given(
    values=st.lists(st.integers(-(10**9), 10**9), min_size=3, max_size=30), unit=st.sampled_from([1e-9, 1.0])
)
def test_equal_tracks_correlate_perfectly(values: list[int], unit: float) -> None:
    """Squares of numbers below 1e-77 leave the range of doubles, so those are not tried."""
    track = np.array(values) * unit
    found = correlation(track, track)
    assert found == 1 or (np.isnan(found) and np.ptp(track) == 0)


def test_correlation_parity_with_scipy() -> None:
    rng = np.random.default_rng(6)
    a = rng.integers(0, 8, 40).astype(np.float64)  # with ties
    b = a + rng.normal(0, 2, 40)
    assert correlation(a, b) == pytest.approx(scipy.stats.pearsonr(a, b).statistic)
    assert rank_correlation(a, b) == pytest.approx(scipy.stats.spearmanr(a, b).statistic)
    gaps_a, gaps_b = a.copy(), b.copy()
    gaps_a[3], gaps_b[5] = np.nan, np.inf
    both = [i for i in range(40) if i not in (3, 5)]
    assert correlation(gaps_a, gaps_b) == pytest.approx(scipy.stats.pearsonr(a[both], b[both]).statistic)


def test_what_does_not_vary_does_not_correlate() -> None:
    track = np.arange(5.0)
    assert np.isnan(correlation(track, np.full(5, 0.1)))
    assert np.isnan(correlation(track[:2], track[:2]))
    assert np.isnan(rank_correlation(track, np.full(5, np.nan)))
    with pytest.raises(MetricError, match="5 and 4 values"):
        correlation(track, track[1:])
