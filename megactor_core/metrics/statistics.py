"""From numbers a clip to numbers a set: means, correlations, and intervals by resampling clips.

Not in the paper, which prints means alone. The clip is the unit: frames of a clip resemble each other, and
intervals over frames would be far too narrow. A value that is NaN is missing: it is left out and counted.
Infinite values (the PSNR of equal frames) are values.

Shape legend:
    N clips   R resamples
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from megactor_core.errors import MetricError

LEVEL: Final = 0.95
"""How often the interval is to cover the mean of all clips that could have been drawn (ours)."""
RESAMPLES: Final = 2000
"""Sets drawn anew from the clips (ours): ends of the interval move by about 2 % of its width by the seed."""
_BLOCK_VALUES: Final = 2**20
"""Values drawn at once, which bounds the memory."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Ends of a confidence interval; NaN where fewer than two values are known."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Summary:
    """A metric over a set of clips."""

    mean: float
    """NaN where no clip has a value."""
    low: float
    """The interval's ends; NaN where fewer than two clips have a value."""
    high: float
    count: int
    """Clips with a value."""
    missing: int
    """Clips without."""


def summarise(values: np.ndarray, *, seed: int, level: float = LEVEL, resamples: int = RESAMPLES) -> Summary:
    """Mean and `bootstrap_interval` of N clips' values: (N,), NaN where a clip has none."""
    values = np.asarray(values, dtype=np.float64)
    known = values[~np.isnan(values)]
    interval = bootstrap_interval(known, seed=seed, level=level, resamples=resamples)
    return Summary(
        mean=_mean_of_any(known),
        low=interval.low,
        high=interval.high,
        count=len(known),
        missing=len(values) - len(known),
    )


def summarise_difference(
    first: np.ndarray,
    second: np.ndarray,
    *,
    seed: int,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> Summary:
    """How far `second` is above `first`, clip by clip: (N,) twice, the same clips in the same order.

    Pairs share what makes a clip hard, so the interval is narrower than the two sets' own; where it leaves
    out 0, the two differ. A clip without a value in either is missing; equal values differ by 0, infinite
    ones too. Raises MetricError for unequal numbers of clips.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    require_equal_lengths(first, second, of="values")
    with np.errstate(invalid="ignore"):  # infinity less itself
        difference = np.where(first == second, 0.0, second - first)
    return summarise(difference, seed=seed, level=level, resamples=resamples)


def bootstrap_interval(
    values: np.ndarray, *, seed: int, level: float = LEVEL, resamples: int = RESAMPLES
) -> Interval:
    """The interval of the mean of (N,) values: bias-corrected and accelerated bootstrap (BCa, Efron 1987).

    NaN values are left out. The interval depends on the values and the seed only, not on the values' order.
    Where some values are infinite there is no acceleration, and the percentiles are taken as they are.
    Raises MetricError for a level outside ]0, 1[ and for no resamples.
    """
    if not 0 < level < 1 or resamples < 1:
        raise MetricError(
            f"There is no interval of level {level} from {resamples} resamples.",
            fix="Give a level between 0 and 1, and at least one resample.",
        )
    known = np.sort(np.asarray(values, dtype=np.float64).ravel())  # sorted: NaN last
    known = known[: len(known) - int(np.isnan(known).sum())]
    if len(known) < 2:
        return Interval(np.nan, np.nan)
    if known[0] == known[-1]:
        return Interval(float(known[0]), float(known[0]))
    means = np.sort(_resampled_means(known, seed=seed, resamples=resamples))
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if np.isfinite(known).all():
        tails = _corrected(tails, means, known)
    # Order statistics themselves: between a finite and an infinite one there is nothing to interpolate.
    ends = means[np.clip(np.ceil(tails * resamples).astype(int) - 1, 0, resamples - 1)]
    return Interval(float(ends[0]), float(ends[1]))


def mean_of_known(values: np.ndarray) -> float:
    """The mean of the finite ones among the values, of any shape; NaN where there is none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else np.nan


def deviation_of_known(values: np.ndarray) -> float:
    """The standard deviation (over N) of the finite ones among (N,) values; NaN where fewer than two."""
    known = values[np.isfinite(values)]
    return float(known.std()) if known.size >= 2 else np.nan


def mean_decibels(values: np.ndarray) -> float:
    """The PSNR of a clip from those of its frames, (F,) dB: that of the mean of their squared errors.

    As FFmpeg's average; NaN frames are left out. The frames' own mean would be infinite as soon as a single
    frame equals the real one, however bad the others are; this is infinite for equal clips only.
    """
    known = values[~np.isnan(values)]
    if not known.size:
        return np.nan
    with np.errstate(divide="ignore"):
        return float(-10 * np.log10(np.mean(10 ** (-known / 10))))


def joint_deviation(track: np.ndarray) -> float:
    """The root of the summed variances of the columns of (N, D), each over what is finite in it."""
    return float(np.linalg.norm([deviation_of_known(column) for column in track.T]))


def ratio(value: float, unit: float) -> float:
    """How many times `unit` a value is; NaN where the unit is 0 or NaN."""
    return value / unit if unit > 0 else np.nan


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation of (N,) and (N,), where both are finite: exactly 1 for equal values.

    NaN where fewer than three pairs are left, or one of the two does not vary.
    Raises MetricError for unequal lengths.
    """
    a, b = _both_known(a, b)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    return float(np.clip((a * b).sum() / scale, -1, 1)) if scale > 0 else np.nan


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation, Pearson's of the ranks: 1 where the one rises whenever the other does.

    Missing values and errors as for `correlation`.
    """
    a, b = _both_known(a, b)
    return correlation(rankdata(a), rankdata(b)) if len(a) else np.nan


def require_equal_lengths(first: np.ndarray, second: np.ndarray, *, of: str) -> None:
    """Raise MetricError unless both have one length; `of` names what there are unequal numbers of."""
    if len(first) != len(second):
        raise MetricError(f"There are {len(first)} and {len(second)} {of}.", fix="Give equally many of both.")


def _both_known(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    require_equal_lengths(a, b, of="values")
    known = np.isfinite(a) & np.isfinite(b)
    return a[known].astype(np.float64), b[known].astype(np.float64)


def _mean_of_any(known: np.ndarray) -> float:
    """The mean; NaN of nothing, and of values that are infinite on both sides."""
    with np.errstate(invalid="ignore"):
        return float(known.mean()) if len(known) else np.nan


def _resampled_means(values: np.ndarray, *, seed: int, resamples: int) -> np.ndarray:
    """Means of N values drawn with replacement, (R,)."""
    rng = np.random.default_rng([seed])
    block = max(1, _BLOCK_VALUES // len(values))
    with np.errstate(invalid="ignore"):
        return np.concatenate(
            [
                values[rng.integers(len(values), size=(min(block, resamples - done), len(values)))].mean(1)
                for done in range(0, resamples, block)
            ]
        )


def _corrected(tails: np.ndarray, means: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The shares of the resampled means to read the interval off at: (2,) -> (2,), Efron 1987, section 4."""
    below = (means < values.mean()).mean() + (means == values.mean()).mean() / 2
    # Half a resample from either end keeps the correction finite.
    bias = ndtri(np.clip(below, 0.5 / len(means), 1 - 0.5 / len(means)))
    # The mean without one value is off by that value's deviation over N - 1, the other way.
    deviations = values - values.mean()
    deviations /= np.abs(deviations).max()  # so that no power of theirs vanishes
    acceleration = (deviations**3).sum() / (6 * (deviations**2).sum() ** 1.5)
    shifted = bias + ndtri(tails)
    return np.sort(ndtr(bias + shifted / (1 - acceleration * shifted)))
