"""What a stratified sample says of all that it was drawn from, with 95 % intervals.

Shares have Wilson's interval (J. Am. Stat. Assoc. 22, 1927), for as many clips as the weights leave (Kish:
the square of their sum over the sum of their squares). Sums and ratios of sums have that of the bootstrap
within strata (Rao and Wu, J. Am. Stat. Assoc. 83, 1988): of h clips h - 1 are drawn, so that the spread is
not too small where there are few. Both take the input for a draw from many more clips like these.

Shape legend:
    n clips of the sample   H strata   R resamples
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np

_Z: Final = 1.959964
"""The normal distribution's quantile of 0.975."""
_PERCENTILES: Final = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, and the bounds between which the truth lies in 95 of 100 samples."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Interval":
        """All three times a factor that is not negative."""
        return Interval(self.value * factor, self.low * factor, self.high * factor)

    def widened(self, other: "Interval") -> "Interval":
        """The same estimate with the wider of the bounds of two."""
        return Interval(self.value, min(self.low, other.low), max(self.high, other.high))


def wilson(share: float, *, clips: float) -> Interval:
    """The interval of a share that was seen among so many clips; they need not be a whole number."""
    centre = share + _Z**2 / (2 * clips)
    half = _Z * sqrt(share * (1 - share) / clips + _Z**2 / (4 * clips**2))
    scale = 1 + _Z**2 / clips
    low, high = (centre - half) / scale, (centre + half) / scale
    return Interval(share, max(0.0, min(low, share)), min(1.0, max(high, share)))


class StratifiedSample:
    """Clips with the weights that their strata give them."""

    def __init__(
        self, stratum_of: Sequence[int], totals: Sequence[int], *, resamples: int, seed: int
    ) -> None:
        """stratum_of (n,) says in which stratum each clip is, totals (H,) how many clips there are in all."""
        strata = np.asarray(stratum_of)
        drawn = np.bincount(strata, minlength=len(totals))
        self.weights = np.asarray(totals, dtype=float)[strata] / drawn[strata]  # (n,)
        self._resampled = np.empty((resamples, len(strata)))  # (R, n)
        for number, (total, count) in enumerate(zip(totals, drawn, strict=True)):
            rng = np.random.default_rng([seed, number])
            again = max(1, count - 1)
            times = rng.multinomial(again, np.full(count, 1 / max(1, count)), size=resamples)
            self._resampled[:, strata == number] = times * (total / again)

    def total(self, values: np.ndarray) -> Interval:
        """The sum over all clips of what the sample's have, values (n,)."""
        return _interval(float(self.weights @ values), self._resampled @ values)

    def ratio(self, above: np.ndarray, below: np.ndarray) -> Interval | None:
        """One sum over another, (n,) each; None where the second is 0."""
        value = float(self.weights @ below)
        if value <= 0:
            return None
        sums = self._resampled @ below
        is_some = sums > 0
        again = (self._resampled @ above)[is_some] / sums[is_some]
        return _interval(float(self.weights @ above) / value, again)

    def share(self, hits: np.ndarray, *, of: np.ndarray) -> Interval | None:
        """The share that `hits` (n,) bool have of the amounts `of` (n,); None where these are all 0."""
        weights = self.weights * of
        if weights.sum() <= 0:
            return None
        clips = weights.sum() ** 2 / (weights**2).sum()
        return wilson(float(weights @ hits / weights.sum()), clips=float(clips))


def _interval(value: float, again: np.ndarray) -> Interval:
    if not len(again):
        return Interval(value, value, value)
    low, high = (float(bound) for bound in np.percentile(again, _PERCENTILES))
    return Interval(value, min(low, value), max(high, value))
