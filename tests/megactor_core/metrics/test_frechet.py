"""The Frechet distance against other ways to compute it, and the sums that it is taken from."""

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.errors import MetricError
from megactor_core.metrics import frechet
from megactor_core.metrics.frechet import (
    GroupedMoments,
    RunningMoments,
    distance_of_moments,
    frechet_distance,
    frechet_estimate,
)


def features(
    rows: int, dimensions: int, *, seed: int, shift: float = 0, rank: int | None = None
) -> np.ndarray:
    rng = np.random.default_rng([seed, rows, dimensions])
    mixing = rng.normal(size=(rank or dimensions, dimensions))
    return rng.normal(size=(rows, rank or dimensions)) @ mixing + shift


def by_eigenvalues(a: np.ndarray, b: np.ndarray) -> float:
    """Independent of the code under test: the root of the symmetric product, from its eigenvalues."""
    mean = np.square(a.mean(0) - b.mean(0)).sum()
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ second @ root)
    return float(mean + np.trace(first) + np.trace(second) - 2 * np.sqrt(np.clip(inner, 0, None)).sum())


@pytest.mark.real
def test_the_golden_features_parity(real_data: Path) -> None:
    with np.load(real_data / "golden" / "golden_frechet.npz") as golden:
        distance = frechet_distance(golden["a"], golden["b"])
        by_hand = by_eigenvalues(golden["a"].astype(np.float64), golden["b"].astype(np.float64))
    assert distance == pytest.approx(12.8342283160, abs=2e-9)
    assert distance == pytest.approx(by_hand, rel=1e-10)


def test_full_rank_parity_with_the_matrix_root() -> None:
    a, b = features(300, 24, seed=1), features(260, 24, seed=2, shift=0.3)
    product = np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)
    traces = np.trace(np.cov(a, rowvar=False)) + np.trace(np.cov(b, rowvar=False))
    root = np.trace(np.real(scipy.linalg.sqrtm(product)))
    expected = np.square(a.mean(0) - b.mean(0)).sum() + traces - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(a, b) == pytest.approx(by_eigenvalues(a, b), rel=1e-9)


@pytest.mark.parametrize(("rows", "rank"), [(12, None), (200, 5), (2, None)])
def test_deficient_rank_parity_with_eigenvalues(rows: int, rank: int | None) -> None:
    a, b = features(rows, 24, seed=1, rank=rank), features(rows + 1, 24, seed=2, rank=rank)
    assert frechet_distance(a, b) == pytest.approx(by_eigenvalues(a, b), rel=1e-6)


def test_known_distances() -> None:
    a = features(200, 6, seed=3)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(a, a + 2) == pytest.approx(6 * 4)
    # Scaling by s turns the covariance C into s^2 C: what is left is (s - 1)^2 tr(C).
    centred = a - a.mean(0)
    assert frechet_distance(centred, 3 * centred) == pytest.approx(4 * np.trace(np.cov(a, rowvar=False)))


def test_one_row_counts_with_its_mean_alone() -> None:
    a = features(40, 4, seed=4)
    assert frechet_distance(a[:1], a) == pytest.approx(np.square(a[0] - a.mean(0)).sum())
    assert frechet_distance(a[:1], a[:1]) == 0


@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.integers(0, 5))
def test_sums_have_equal_bits_however_the_rows_come(portions: list[int], seed: int) -> None:
    rows = features(sum(portions), 5, seed=seed, shift=100)
    at_once, in_portions = RunningMoments(5), RunningMoments(5)
    at_once.add(rows)
    for part in np.split(rows, np.cumsum(portions)[:-1]):
        in_portions.add(part)
        in_portions.mean()  # looking changes nothing
    np.testing.assert_array_equal(at_once.mean(), in_portions.mean())
    np.testing.assert_array_equal(at_once.covariance(), in_portions.covariance())


@given(st.integers(2, 700), st.floats(0, 1), st.sampled_from([0.0, 1e6]))
def test_merged_sums_are_those_of_all_rows(count: int, cut: float, shift: float) -> None:
    rows = features(count, 3, seed=9, shift=shift)
    first, second = RunningMoments(3), RunningMoments(3)
    first.add(rows[: int(cut * count)])
    second.add(rows[int(cut * count) :])
    before = second.mean().copy() if second.count else None
    first.merge(second)
    assert first.count == count
    np.testing.assert_allclose(first.mean(), rows.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(first.covariance(), np.cov(rows, rowvar=False), rtol=1e-7, atol=1e-9)
    if before is not None:
        np.testing.assert_array_equal(second.mean(), before)


def test_the_error_is_that_of_leaving_groups_out() -> None:
    a, b = features(200, 4, seed=5), features(200, 4, seed=6, shift=0.5)
    grouped = GroupedMoments(4), GroupedMoments(4)
    numbers = np.arange(200) % 10
    for group in range(10):
        grouped[0].add(a[numbers == group], group=group)
        grouped[1].add(b[numbers == group], group=group + 10)
    estimate = frechet_estimate(*grouped)
    left_out = np.array([frechet_distance(a[numbers != k], b[numbers != k]) for k in range(10)])
    assert estimate.distance == pytest.approx(frechet_distance(a, b))
    assert estimate.error == pytest.approx(np.sqrt(0.9 * np.square(left_out - left_out.mean()).sum()))
    assert estimate.rows == (200, 200)
    assert not estimate.is_biased


def test_the_error_is_of_the_size_that_repeated_draws_show() -> None:
    def estimate(seed: int) -> tuple[float, float]:
        pair = GroupedMoments(3), GroupedMoments(3)
        rng = np.random.default_rng([seed, 77])
        for group in range(10):
            pair[0].add(rng.normal(size=(40, 3)), group=group)
            pair[1].add(rng.normal(size=(40, 3)) + 1, group=group)
        found = frechet_estimate(*pair)
        assert found.error is not None
        return found.distance, found.error

    distances, errors = np.array([estimate(seed) for seed in range(60)]).T
    assert 0.7 < np.mean(errors) / np.std(distances) < 1.4


def test_few_rows_and_groups_are_said() -> None:
    a, b = GroupedMoments(8), GroupedMoments(8)
    a.add(features(5, 8, seed=1), group=0)
    b.add(features(50, 8, seed=2), group=0)
    estimate = frechet_estimate(a, b)
    assert estimate.error is None
    assert estimate.is_biased


def test_a_little_variance_is_added_where_factors_cannot_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = features(60, 5, seed=1), features(60, 5, seed=2)
    expected, calls = frechet_distance(a, b), []
    factor = frechet._factor

    def fails_at_first(covariance: np.ndarray) -> np.ndarray:
        calls.append(covariance)
        if len(calls) == 1:
            raise np.linalg.LinAlgError("no convergence")
        return factor(covariance)

    monkeypatch.setattr(frechet, "_factor", fails_at_first)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(calls[1] - calls[0], 1e-6 * np.eye(5), atol=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        (np.zeros((3, 4)), np.zeros((3, 5)), "5 dimensions, the others 4"),
        (np.zeros((0, 4)), np.zeros((3, 4)), "no features"),
        (np.zeros(4), np.zeros((3, 4)), "1 axes"),
        (np.full((3, 4), np.nan), np.zeros((3, 4)), "3 of 3 feature rows"),
    ],
)
def test_bad_features_are_one_error(a: np.ndarray, b: np.ndarray, says: str) -> None:
    with pytest.raises(MetricError, match=says):
        frechet_distance(a, b)


def test_other_dimensions_do_not_merge() -> None:
    with pytest.raises(MetricError, match="dimensions"):
        RunningMoments(3).merge(RunningMoments(4))
    with pytest.raises(MetricError, match="dimensions"):
        distance_of_moments(RunningMoments(3), RunningMoments(4))
