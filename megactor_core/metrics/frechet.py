"""Frechet distance between two sets of features, each described by its mean and covariance.

The distance of FID and FVD: ||m_a - m_b||^2 + tr(A) + tr(B) - 2 tr((A B)^(1/2)), with covariances A and B
over N - 1. The trace of the root is taken from symmetric factors instead of the root of the product, which is
exact for covariances without full rank too. Everything is float64.

Shape legend:
    N rows (pictures or clips)   D dimensions of the features   R <= D rank of a covariance
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.linalg

from megactor_core.errors import MetricError

JACKKNIFE_GROUPS: Final = 10
"""Groups that are left out in turn to find the error of a distance (ours)."""
BLOCK_ROWS: Final = 256
"""Rows summed at once: fixed, so that the sums do not depend on how the rows are handed over."""
ADDED_VARIANCE: Final = 1e-6
"""Added to both covariances where their factors cannot be found, as pytorch-fid does for its root."""


class RunningMoments:
    """Mean and covariance of rows that come in any portions; memory is D^2, whatever the number of rows.

    Equal rows in equal order give equal bits, however they were portioned.
    """

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.count = 0
        self._mean = np.zeros(dimensions)
        self._scatter = np.zeros((dimensions, dimensions))  # sum of (x - mean)(x - mean)^T
        self._waiting: list[np.ndarray] = []
        self._waiting_rows = 0

    def add(self, features: np.ndarray) -> None:
        """Take in rows (N, D). Raises MetricError for another shape and for values that are not finite."""
        rows = np.array(features, dtype=np.float64)
        self._require_rows(rows)
        self.count += len(rows)
        self._waiting.append(rows)
        self._waiting_rows += len(rows)
        if self._waiting_rows >= BLOCK_ROWS:
            self._sum_whole_blocks()

    def merge(self, other: "RunningMoments") -> None:
        """Take in what `other` has; `other` stays as it is. Raises MetricError for other dimensions."""
        if other.dimensions != self.dimensions:
            raise _wrong_dimensions(other.dimensions, self.dimensions)
        mean, scatter = other._moments()
        self._mean, self._scatter = self._moments()
        self._waiting, self._waiting_rows = [], 0
        self._mean, self._scatter = _merged(
            (self.count, self._mean, self._scatter), (other.count, mean, scatter)
        )
        self.count += other.count

    def mean(self) -> np.ndarray:
        """The mean of all rows: (D,). Raises MetricError where there is none."""
        if self.count == 0:
            raise MetricError("There are no features to take a distance of.", fix="Give at least two.")
        return self._moments()[0]

    def covariance(self) -> np.ndarray:
        """The covariance over N - 1: (D, D); zeros for a single row."""
        return self._moments()[1] / max(1, self.count - 1)

    @property
    def is_rank_deficient(self) -> bool:
        """Whether there are too few rows for a covariance of full rank: the distance is then biased."""
        return self.count <= self.dimensions

    def _require_rows(self, rows: np.ndarray) -> None:
        if rows.ndim != 2:
            raise MetricError(
                f"Features have {rows.ndim} axes, not 2.", fix="Give an array of (rows, dimensions)."
            )
        if rows.shape[1] != self.dimensions:
            raise _wrong_dimensions(rows.shape[1], self.dimensions)
        if not np.isfinite(rows).all():
            bad = int((~np.isfinite(rows)).any(axis=1).sum())
            raise MetricError(
                f"{bad} of {len(rows)} feature rows hold values that are not finite.",
                fix="Look for damaged frames or weights.",
            )

    def _sum_whole_blocks(self) -> None:
        rows = np.concatenate(self._waiting)
        whole = len(rows) - len(rows) % BLOCK_ROWS
        summed = self.count - len(rows)
        for start in range(0, whole, BLOCK_ROWS):
            self._mean, self._scatter = _merged(
                (summed + start, self._mean, self._scatter), _block(rows[start : start + BLOCK_ROWS])
            )
        self._waiting, self._waiting_rows = [rows[whole:]], len(rows) - whole

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and scatter, waiting rows included; those go on waiting, so that later bits do not change."""
        if not self._waiting_rows:
            return self._mean, self._scatter
        rows = np.concatenate(self._waiting)
        return _merged((self.count - len(rows), self._mean, self._scatter), _block(rows))


class GroupedMoments:
    """Moments of rows that belong to groups, for the error of a distance by leaving groups out in turn.

    Rows of a clip resemble each other and belong in one group. Memory is groups x D^2: 320 MiB for the 2048
    dimensions of FID and ten groups.
    """

    def __init__(self, dimensions: int, *, groups: int = JACKKNIFE_GROUPS) -> None:
        self.groups = [RunningMoments(dimensions) for _ in range(groups)]

    def add(self, features: np.ndarray, *, group: int) -> None:
        """Take in rows (N, D) of the group of that number, counted round: 10 is 0 again."""
        self.groups[group % len(self.groups)].add(features)

    def moments(self, *, without: int | None = None) -> RunningMoments:
        """The moments of all rows, or of all but one group's."""
        total = RunningMoments(self.groups[0].dimensions)
        for number, group in enumerate(self.groups):
            if number != without and group.count:
                total.merge(group)
        return total


@dataclass(frozen=True, slots=True)
class FrechetEstimate:
    """A distance, how sure it is, and from how many rows."""

    distance: float
    error: float | None
    """Jackknife standard error; None where fewer than two groups can be left out."""
    rows: tuple[int, int]
    is_biased: bool
    """Whether a set has too few rows for a covariance of full rank; compare only at equal numbers then."""


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The Frechet distance of two sets of features: (N, D) and (M, D) -> a number >= 0.

    Where a set has a single row, only the means count, as FVD of one video is usually computed.
    Raises MetricError for empty sets, other shapes, and values that are not finite.
    """
    sets = []
    for features in (a, b):
        rows = np.asarray(features)
        moments = RunningMoments(rows.shape[1] if rows.ndim == 2 else 0)
        moments.add(rows)
        sets.append(moments)
    return distance_of_moments(*sets)


def distance_of_moments(a: RunningMoments, b: RunningMoments) -> float:
    """The Frechet distance of two sets whose moments were summed; see `frechet_distance`."""
    if a.dimensions != b.dimensions:
        raise _wrong_dimensions(b.dimensions, a.dimensions)
    between_means = float(np.square(a.mean() - b.mean()).sum())
    if min(a.count, b.count) < 2:
        return between_means
    first, second = a.covariance(), b.covariance()
    traces = float(np.trace(first) + np.trace(second))
    # The distance of equal sets is 0; rounding may leave it a little below.
    return max(0.0, between_means + traces - 2 * _trace_of_root(first, second))


def frechet_estimate(a: GroupedMoments, b: GroupedMoments) -> FrechetEstimate:
    """The distance of two grouped sets, and its error by leaving out each group from both sets in turn.

    Give rows that belong together (a clip and its generated copy) the same group number in both sets.
    """
    total_a, total_b = a.moments(), b.moments()
    return FrechetEstimate(
        distance=distance_of_moments(total_a, total_b),
        error=_jackknife_error(a, b),
        rows=(total_a.count, total_b.count),
        is_biased=total_a.is_rank_deficient or total_b.is_rank_deficient,
    )


def _jackknife_error(a: GroupedMoments, b: GroupedMoments) -> float | None:
    partial = []
    for number, pair in enumerate(zip(a.groups, b.groups, strict=True)):
        if any(group.count for group in pair):
            left = a.moments(without=number), b.moments(without=number)
            if min(moments.count for moments in left) < 2:
                return None
            partial.append(distance_of_moments(*left))
    if len(partial) < 2:
        return None
    spread = float(np.square(np.array(partial) - np.mean(partial)).sum())
    return math.sqrt(spread * (len(partial) - 1) / len(partial))


Moments = tuple[int, np.ndarray, np.ndarray]
"""Count, mean (D,), scatter (D, D)."""


def _block(rows: np.ndarray) -> Moments:
    mean = rows.mean(axis=0)
    around = rows - mean
    return len(rows), mean, around.T @ around


def _merged(a: Moments, b: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scatter of two sets together, without the cancellation of sums of squares."""
    total = max(1, a[0] + b[0])
    apart = b[1] - a[1]
    mean = a[1] + apart * (b[0] / total)
    scatter = a[2] + b[2] + np.outer(apart, apart) * (a[0] * b[0] / total)
    return mean, scatter


def _trace_of_root(first: np.ndarray, second: np.ndarray) -> float:
    """tr((A B)^(1/2)): the sum of the singular values of F^T G, where A = F F^T and B = G G^T."""
    try:
        return _sum_of_singular_values(first, second)
    except np.linalg.LinAlgError:
        more = ADDED_VARIANCE * np.eye(len(first))
        return _sum_of_singular_values(first + more, second + more)


def _sum_of_singular_values(first: np.ndarray, second: np.ndarray) -> float:
    product = _factor(first).T @ _factor(second)  # (R_a, R_b)
    return float(scipy.linalg.svdvals(product).sum()) if product.size else 0.0


def _factor(covariance: np.ndarray) -> np.ndarray:
    """F with F F^T = covariance: (D, D) -> (D, R); directions that are rounding are left out."""
    values, vectors = scipy.linalg.eigh(covariance)
    rounding = len(values) * np.finfo(np.float64).eps * max(0.0, float(values[-1]))
    kept = values > rounding
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))


def _wrong_dimensions(found: int, wanted: int) -> MetricError:
    return MetricError(
        f"Features have {found} dimensions, the others {wanted}.", fix="Take both from the same network."
    )
