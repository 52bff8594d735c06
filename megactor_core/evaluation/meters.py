"""Meters: each takes in the frames of a pair of clips, block by block, and gives its numbers at the end.

A block's size never changes a number: meters work frame by frame, or over windows that are their own.

Shape legend:
    n frames of a block   F frames compared   H, W height and width   N samples at 16 kHz   D features
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from megactor_core.config.evaluate import EvaluateConfig, MetricName
from megactor_core.errors import MegActorError, MetricError
from megactor_core.evaluation.feature_cache import Tape
from megactor_core.metrics.av_sync import av_sync
from megactor_core.metrics.i3d import InceptionI3d, i3d_features
from megactor_core.metrics.inception import InceptionV3, inception_features
from megactor_core.metrics.lpips import LPIPS, lpips_distances
from megactor_core.metrics.niqe import niqe
from megactor_core.metrics.picture import psnr
from megactor_core.metrics.statistics import mean_decibels

PSNR_MOST_DB: Final = 100.0
"""What a clip that is equal, or as good as, counts: an infinite one would drown all others (ours)."""
Mean = Callable[[np.ndarray], float]
PictureMetric = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Block:
    """Frames of both clips at the same times: (n, H, W, 3) uint8 each.

    The points (n, 68, 2) are NaN where the face was lost, and None where no metric asks for them.
    """

    real: np.ndarray
    generated: np.ndarray
    real_points: np.ndarray | None = None
    generated_points: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Whole:
    """What is known of the pair once all of it was read."""

    frames: int
    width: int
    height: int
    real_points: np.ndarray | None
    """(F, 68, 2)"""
    generated_points: np.ndarray | None
    sound: np.ndarray | None
    """(N,) mono from the first frame's time on."""
    no_sound: str
    """Why there is none."""

    def require_sound(self) -> np.ndarray:
        """The sound; raises MetricError where there is none."""
        if self.sound is None:
            raise MetricError(self.no_sound, fix="Give clips with sound, or leave this metric out.")
        return self.sound


@dataclass(frozen=True, slots=True)
class Found:
    """A clip's numbers by name, and arrays that are kept: a value a frame, or features for the set."""

    values: dict[str, float] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    gap: str | None = None
    """Why other numbers of the metric are not among them."""


class Meter(Protocol):
    """Raises MetricError where its metric cannot be taken of the clip; the others go on."""

    @property
    def metric(self) -> MetricName: ...

    def add(self, block: Block) -> None: ...

    def finish(self, whole: Whole) -> Found: ...


@dataclass(slots=True)
class Guarded:
    """A meter of which a clip that it cannot measure becomes a reason, not an end."""

    meter: Meter
    reason: str | None = None

    def add(self, block: Block) -> None:
        if self.reason is None:
            try:
                self.meter.add(block)
            except MetricError as error:
                self.reason = error.message

    def finish(self, whole: Whole) -> Found:
        if self.reason is None:
            try:
                found = _known(self.meter.finish(whole))
                self.reason = found.gap
                return found
            except MegActorError as error:
                self.reason = error.message
        return Found()


def _known(found: Found) -> Found:
    """Without the numbers that are not finite; raises MetricError where that leaves none."""
    values = {name: value for name, value in found.values.items() if np.isfinite(value)}
    if found.values and not values:
        raise MetricError("No finite number came out.", fix="Look for damaged frames or weights.")
    return Found(values, found.arrays, found.gap)


def _mean(values: np.ndarray) -> float:
    """NaN where one is: a frame without a number must not make the clip's better."""
    return float(values.mean())


class PictureMeter:
    """A measure of each pair of frames, and its mean over the clip."""

    def __init__(self, metric: MetricName, measure: PictureMetric, *, mean: Mean = _mean) -> None:
        self.metric = metric
        self._measure, self._mean = measure, mean
        self._values: list[np.ndarray] = []

    def add(self, block: Block) -> None:
        self._values.append(np.asarray(self._measure(block.real, block.generated), dtype=np.float64))

    def finish(self, _whole: Whole) -> Found:
        values = np.concatenate(self._values)
        return Found({self.metric: self._mean(values)}, {self.metric: values})


def psnr_meter() -> PictureMeter:
    """PSNR of the clip's mean squared error, which no equal frame hides."""
    return PictureMeter("psnr", psnr, mean=lambda values: min(mean_decibels(values), PSNR_MOST_DB))


def lpips_meter(network: LPIPS) -> PictureMeter:
    """LPIPS of each pair of frames."""
    return PictureMeter("lpips", lambda real, generated: lpips_distances(network, real, generated))


class NiqeMeter:
    """NIQE of both clips: the real one's says what the format itself costs."""

    metric: MetricName = "niqe"

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._generated: list[np.ndarray] = []
        self._real: list[np.ndarray] = []

    def add(self, block: Block) -> None:
        self._generated.append(niqe(block.generated))
        self._real.append(self._tape.take(len(block.real), lambda known: niqe(block.real[known:])))

    def finish(self, _whole: Whole) -> Found:
        generated, real = np.concatenate(self._generated), np.concatenate(self._real)
        return Found(
            {"niqe": float(generated.mean()), "niqe_real": float(real.mean())},
            {"niqe": generated, "niqe_real": real},
        )


class FidMeter:
    """Inception's features of every frame, for the set."""

    metric: MetricName = "fid"

    def __init__(self, network: InceptionV3, config: EvaluateConfig, tape: Tape) -> None:
        self._network, self._preprocessing, self._tape = network, config.fid_preprocessing, tape
        self._generated: list[np.ndarray] = []
        self._real: list[np.ndarray] = []

    def add(self, block: Block) -> None:
        self._generated.append(self._features(block.generated))
        self._real.append(self._tape.take(len(block.real), lambda known: self._features(block.real[known:])))

    def finish(self, _whole: Whole) -> Found:
        return features_found("fid", real=self._real, generated=self._generated)

    def _features(self, frames: np.ndarray) -> np.ndarray:
        return inception_features(self._network, frames, preprocessing=self._preprocessing)


class FvdMeter:
    """I3D's features of windows that follow one another, for the set; what is left over at the end is not."""

    metric: MetricName = "fvd"

    def __init__(self, network: InceptionI3d, config: EvaluateConfig, tape: Tape) -> None:
        self._network, self._config, self._tape = network, config, tape
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self._generated: list[np.ndarray] = []
        self._real: list[np.ndarray] = []

    def add(self, block: Block) -> None:
        for pair in zip(block.real, block.generated, strict=True):
            if self._config.fvd_windows == "first" and self._real:
                return
            self._waiting.append(pair)
            if len(self._waiting) == self._config.fvd_frames:
                self._measure()

    def finish(self, whole: Whole) -> Found:
        if not self._real:
            raise MetricError(
                f"FVD takes clips of {self._config.fvd_frames} frames; this one has {whole.frames}."
            )
        return features_found("fvd", real=self._real, generated=self._generated)

    def _measure(self) -> None:
        real, generated = (np.stack(side) for side in zip(*self._waiting, strict=True))
        self._waiting = []
        self._generated.append(self._features(generated))
        self._real.append(self._tape.take(1, lambda _known: self._features(real)))

    def _features(self, window: np.ndarray) -> np.ndarray:
        return i3d_features(self._network, [window], preprocessing=self._config.fvd_preprocessing)


def features_found(metric: str, *, real: list[np.ndarray], generated: list[np.ndarray]) -> Found:
    """Features of both sides (F, D) each; raises MetricError where they are not finite."""
    found = {f"{metric}_real": np.concatenate(real), f"{metric}_generated": np.concatenate(generated)}
    for name, values in found.items():
        if not np.isfinite(values).all():
            raise MetricError(f"The features {name} are not finite.")
    return Found(arrays=found)


class AvSyncMeter:
    """Whether lips and sound go together, without weights."""

    metric: MetricName = "av_sync"

    def __init__(self, config: EvaluateConfig) -> None:
        self._fps = float(config.fps)

    def add(self, block: Block) -> None:
        """All is done at the end."""

    def finish(self, whole: Whole) -> Found:
        assert whole.generated_points is not None, "a metric of faces"
        found = av_sync(whole.generated_points, whole.require_sound(), video_fps=self._fps)
        if found.offset_frames is None or found.correlation is None:
            raise MetricError(f"Nothing can be said of lips and sound: {found.reason}.")
        return Found(
            {
                "av_correlation": found.correlation,
                "av_offset": float(found.offset_frames) if found.is_clear else np.nan,
                "av_confidence": found.confidence,
            },
            {"av_curve": found.curve},
        )
