"""Intervals against published values and against what is known of samples that were drawn many times."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.curation.estimate import StratifiedSample, wilson


@pytest.mark.parametrize(
    ("share", "clips", "low", "high"),
    [(0.8, 10, 0.490, 0.943), (0.0, 10, 0.0, 0.278), (1.0, 29, 0.883, 1.0), (15 / 148, 148, 0.0624, 0.1605)],
)
def test_wilsons_interval_is_the_published_one(share: float, clips: int, low: float, high: float) -> None:
    """15 of 148: Newcombe, Statistics in Medicine 17, 1998, table I."""
    found = wilson(share, clips=clips)
    assert (found.low, found.high) == (pytest.approx(low, abs=6e-4), pytest.approx(high, abs=6e-4))


@given(share=st.floats(0, 1), clips=st.floats(0.5, 1e6))
def test_wilsons_interval_holds_its_share(share: float, clips: float) -> None:
    found = wilson(share, clips=clips)
    assert 0 <= found.low <= share <= found.high <= 1


def sample_of(drawn: list[int], totals: list[int]) -> StratifiedSample:
    strata = [number for number, count in enumerate(drawn) for _ in range(count)]
    return StratifiedSample(strata, totals, resamples=2000, seed=0)


def test_strata_count_for_as_many_clips_as_they_stand_for() -> None:
    sample = sample_of([2, 2], [10, 90])
    values = np.array([1.0, 1.0, 3.0, 5.0])
    assert sample.total(values).value == pytest.approx(10 * 1 + 90 * 4)
    ratio = sample.ratio(values, np.ones(4))
    assert ratio is not None
    assert ratio.value == pytest.approx(370 / 100)
    share = sample.share(np.array([1.0, 1.0, 0.0, 1.0]), of=np.ones(4))
    assert share is not None
    assert share.value == pytest.approx(0.1 + 0.9 / 2)


def test_a_share_is_known_as_closely_as_its_weights_allow() -> None:
    hits, ones = np.array([1.0, 0.0] * 20), np.ones(40)
    even, uneven = (sample_of([20, 20], totals).share(hits, of=ones) for totals in ([50, 50], [1, 99]))
    assert even is not None
    assert even.high == pytest.approx(wilson(0.5, clips=40).high)
    assert uneven is not None
    assert uneven.high - uneven.low > 1.3 * (even.high - even.low)


@pytest.mark.parametrize("clips", [2, 3, 30])
def test_the_spread_of_a_sum_is_not_too_small_where_clips_are_few(clips: int) -> None:
    """Over many samples the mean of the resampled variance is that of the sum, however many clips."""
    rng = np.random.default_rng(1)
    ratios = []
    for values in rng.normal(10, 1, size=(400, clips)):
        sample = StratifiedSample([0] * clips, [100], resamples=200, seed=0)
        ratios.append((sample._resampled @ values).var() / (100**2 / clips))
    assert np.mean(ratios) == pytest.approx(1, rel=0.25)


def test_what_all_clips_share_has_no_spread_and_nothing_has_no_ratio() -> None:
    sample = sample_of([3, 1], [30, 5])
    total = sample.total(np.full(4, 2.0))
    assert (total.value, total.low, total.high) == pytest.approx((70, 70, 70))
    assert sample.ratio(np.ones(4), np.zeros(4)) is None
    assert sample.share(np.ones(4), of=np.zeros(4)) is None


def test_the_same_seed_gives_the_same_bounds() -> None:
    values = np.arange(6.0)
    bounds = {
        (found.low, found.high)
        for seed in (0, 0, 1)
        for found in [StratifiedSample([0] * 6, [60], resamples=200, seed=seed).total(values)]
    }
    assert len(bounds) == 2
