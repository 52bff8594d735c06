"""Whether the strengths at the command line do what they say: a few held-out clips, animated once a strength.

audio_scale: sound alone drives, at each weight of the audio's attention. alpha: the clip's own video drives,
at each amplitude. Cross-talk: sound and eyes drive a head that is kept still (alpha 0), once with the clip's
own eyes and once with those of another clip; nothing but the eye patches differs. Not in the paper.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from megactor_core.config.animate import AnimateConfig
from megactor_core.config.evaluate import EvaluateConfig, Mode
from megactor_core.data.sample import VIDEO, Sample
from megactor_core.errors import MegActorError, MetricError
from megactor_core.evaluation.generate import (
    GENERATED,
    HeldOut,
    animate_all,
    animation_of,
)
from megactor_core.faces.landmarks import detect_landmarks
from megactor_core.listener import OnNote, OnProgress
from megactor_core.media.video import read_video
from megactor_core.metrics.control import alpha_response, audio_scale_response, cross_talk
from megactor_core.metrics.geometry import FaceMeasures
from megactor_core.metrics.statistics import summarise

FOLDER: Final = "control"


@dataclass(frozen=True, slots=True)
class ControlValue:
    """A measure over the clips; see metrics.control for what each says."""

    value: float
    interval: tuple[float, float] | None
    count: int


@dataclass(frozen=True, slots=True)
class ControlResult:
    """`clips` holds each clip's numbers, its responses strength by strength under `curves`, and reasons for
    those that could not be taken."""

    audio_scales: tuple[float, ...]
    alphas: tuple[float, ...]
    measures: dict[str, ControlValue]
    clips: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Clip:
    """A held-out clip, and another whose eyes are lent to it (None where there is no other)."""

    sample: Sample
    other: Sample | None


def measure_controls(
    checkpoint: Path,
    held_out: HeldOut,
    config: EvaluateConfig,
    *,
    output: Path,
    progress: OnProgress,
    note: OnNote,
) -> ControlResult:
    """Animate and measure the first `control.clips` clips; what was animated before is not made again."""
    clips = list(_clips(held_out.samples, config.control.clips))
    jobs = [job for clip in clips for job in _jobs(clip, checkpoint, config, output)]
    made = animate_all(jobs, output=output, phase="animating controls", progress=progress, note=note)
    errors = {
        job.output: result.message
        for job, result in zip(jobs, made, strict=True)
        if isinstance(result, MegActorError)
    }
    rows = []
    for number, clip in enumerate(clips, start=1):
        rows.append(_measure(clip, _Made(config, output, errors)))
        progress("measuring controls", number, len(clips))
    return ControlResult(
        audio_scales=config.control.audio_scales,
        alphas=config.control.alphas,
        measures=_summaries(rows, seed=config.bootstrap_seed),
        clips=tuple(rows),
    )


def _clips(samples: Sequence[Sample], count: int) -> Iterator[_Clip]:
    for number, sample in enumerate(samples[:count]):
        others = [*samples[number + 1 :], *samples[:number]]
        yield _Clip(sample, others[0] if others else None)


def _path(output: Path, kind: str, sample: Sample) -> Path:
    return output / GENERATED / FOLDER / kind / f"{sample.facts.sample_id}.mp4"


def _jobs(clip: _Clip, checkpoint: Path, config: EvaluateConfig, output: Path) -> Iterator[AnimateConfig]:
    def job(mode: Mode, kind: str, **changes: Any) -> AnimateConfig:
        plain = animation_of(mode, clip.sample, checkpoint, config, output)
        return plain.updated(output=_path(output, kind, clip.sample), **changes)

    for alpha in config.control.alphas:
        yield job("V", f"alpha-{alpha:g}", alpha=alpha)
    if clip.sample.facts.has_audio:
        for scale in config.control.audio_scales:
            yield job("A", f"audio-scale-{scale:g}", audio_scale=scale)
        if clip.other is not None:
            yield job("A+V", "own-eyes", alpha=0.0)
            yield job("A+V", "other-eyes", alpha=0.0, driving=clip.other.folder / VIDEO)


@dataclass(frozen=True, slots=True)
class _Made:
    """The animated clips."""

    config: EvaluateConfig
    output: Path
    errors: dict[Path | None, str]

    def path(self, kind: str, clip: _Clip) -> Path:
        """Raises MetricError where the clip could not be animated."""
        path = _path(self.output, kind, clip.sample)
        if path in self.errors:
            raise MetricError(self.errors[path])
        if not path.is_file():
            raise MetricError("The clip has no sound, or there is no other clip to lend its eyes.")
        return path

    def faces(self, kind: str, clip: _Clip) -> FaceMeasures:
        frames = read_video(self.path(kind, clip), limits=self.config.limits)
        return FaceMeasures.of_track(detect_landmarks(frames, back_end=self.config.landmarks))


def _measure(clip: _Clip, made: _Made) -> dict[str, Any]:
    """One clip's numbers; a control that cannot be measured is a reason."""
    control = made.config.control
    row: dict[str, Any] = {"name": clip.sample.facts.sample_id, "measures": {}, "skipped": {}, "curves": {}}

    def audio_scale() -> dict[str, float]:
        faces = [made.faces(f"audio-scale-{scale:g}", clip) for scale in control.audio_scales]
        found = audio_scale_response(control.audio_scales, faces)
        row["curves"]["audio_scale"] = _curves(found.scales, mouth_amplitude=found.mouth_amplitudes)
        return {"audio_scale_monotonicity": found.monotonicity, "audio_scale_ratio": found.ratio}

    def alpha() -> dict[str, float]:
        faces = [made.faces(f"alpha-{alpha:g}", clip) for alpha in control.alphas]
        found = alpha_response(control.alphas, faces)
        row["curves"]["alpha"] = _curves(found.alphas, roll=found.roll_gains, shift=found.shift_gains)
        return {
            "alpha_monotonicity": found.monotonicity,
            "alpha_roll_slope": found.roll_slope,
            "alpha_shift_slope": found.shift_slope,
        }

    def eyes() -> dict[str, float]:
        kinds = ("own-eyes", "other-eyes")
        first, second = (made.faces(kind, clip) for kind in kinds)
        frames = [read_video(made.path(kind, clip), limits=made.config.limits) for kind in kinds]
        found = cross_talk(*frames, first=first, second=second)
        return {
            "cross_talk_leak_ratio": found.leak_ratio,
            "cross_talk_eyes_change": found.eyes_change,
            "cross_talk_mouth_change": found.mouth_change,
            "cross_talk_mouth_open_change": found.mouth_open_change,
        }

    measures: dict[str, Callable[[], dict[str, float]]] = {
        "audio_scale": audio_scale,
        "alpha": alpha,
        "cross_talk": eyes,
    }
    for name, measure in measures.items():
        try:
            found = {key: value for key, value in measure().items() if np.isfinite(value)}
        except MegActorError as error:
            found, row["skipped"][name] = {}, error.message
        else:
            if not found:
                row["skipped"][name] = "No face was found, or nothing moves."
        row["measures"] |= found
    return row


def _curves(strengths: np.ndarray, **responses: np.ndarray) -> dict[str, list[float | None]]:
    """A response's value at each strength; None where there is none."""
    tracks = {"strengths": strengths, **responses}
    return {
        name: [float(value) if np.isfinite(value) else None for value in track]
        for name, track in tracks.items()
    }


def _summaries(rows: Sequence[dict[str, Any]], *, seed: int) -> dict[str, ControlValue]:
    names = list(dict.fromkeys(name for row in rows for name in row["measures"]))
    summaries = {}
    for name in names:
        summary = summarise(np.array([row["measures"].get(name, np.nan) for row in rows]), seed=seed)
        interval = (summary.low, summary.high) if np.isfinite(summary.low) else None
        summaries[name] = ControlValue(summary.mean, interval, summary.count)
    return summaries
