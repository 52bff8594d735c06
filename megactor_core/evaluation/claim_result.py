"""What was measured of a checkpoint's claims, as plain records."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Value:
    """A number over the clips."""

    mean: float
    low: float
    """Ends of the 95 % interval; NaN where fewer than two clips have a value."""
    high: float
    count: int
    seeds: tuple[float, ...]
    """The mean over the clips with each seed."""


@dataclass(frozen=True, slots=True)
class TakeResult:
    """A take's numbers: `pooled` are correlations over the frames of all clips, the mean over the seeds."""

    label: str
    values: dict[str, Value]
    pooled: dict[str, float]
    failures: dict[str, str]
    """Clips that could not be animated, and why."""


Results = Mapping[str, TakeResult]
"""By the take's name."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """One figure that is wanted. `least` True: at least `wanted`; False: at most."""

    name: str
    wanted: float
    least: bool
    measured: float
    """NaN where it was not measured."""

    @property
    def met(self) -> bool:
        """False where it was not measured."""
        return self.measured >= self.wanted if self.least else self.measured <= self.wanted

    @property
    def missed_by(self) -> float:
        """How far the measured figure is on the wrong side; 0 where it is met."""
        apart = self.wanted - self.measured if self.least else self.measured - self.wanted
        return max(apart, 0.0)
