"""The claims of the paper and of this project, measured on held-out synthetic clips with their exact truth.

Every clip is animated once a take and seed, read once by the gauge, and counted in all claims that need it.
The clip is the unit of every interval: its value is the mean over the seeds, and clips are resampled.

Shape legend:
    F frames
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from megactor_core.config.claims import ClaimsConfig
from megactor_core.errors import MegActorError, OutputError, WeightsError
from megactor_core.evaluation.claim_result import TakeResult, Threshold, Value
from megactor_core.evaluation.claim_strips import write_strips
from megactor_core.evaluation.claim_tables import claims_page
from megactor_core.evaluation.claim_thresholds import thresholds_of
from megactor_core.evaluation.generate import animate_all
from megactor_core.evaluation.take_measures import (
    Measured,
    TrueClip,
    head_gains,
    leak,
    measure,
    measure_picture,
    pooled,
)
from megactor_core.evaluation.takes import (
    OTHER,
    OWN,
    Take,
    jobs_of,
    leak_name,
    seeds_of,
    takes_of,
    video_of,
    write_inputs,
)
from megactor_core.evaluation.truth_clips import TruthClip, truth_clips
from megactor_core.files import atomic_path, read_json, require_writable_folder, sha256_of, write_json
from megactor_core.listener import Listener, OnNote, OnProgress
from megactor_core.media.video import read_video
from megactor_core.metrics.gauge import Gauge, load_gauge
from megactor_core.metrics.statistics import mean_of_known, summarise
from megactor_core.models.checkpoint import CONFIG as CHECKPOINT_CONFIG
from megactor_core.models.checkpoint import MANIFEST

RESULT, PAGE, INPUTS = "claims.json", "claims.md", "inputs.json"
_Rows = dict[str, dict[int, dict[str, Measured]]]
"""By take, seed and clip."""


@dataclass(frozen=True, slots=True)
class ClaimsReport:
    """What was measured; `to_json` is claims.json."""

    output: Path
    settings: dict[str, Any]
    takes: dict[str, TakeResult]
    thresholds: tuple[Threshold, ...]
    page: str
    """All tables as Markdown."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not known is None."""
        found: dict[str, Any] = _plain(asdict(self))
        del found["page"]
        return found


def measure_claims(
    config: ClaimsConfig, on_progress: OnProgress | None = None, on_note: OnNote | None = None
) -> ClaimsReport:
    """Animate what is not there yet, measure it, and write claims.json, claims.md and the strips.

    A clip that cannot be animated is a failure in the result. Raises MediaError or MetricError where the
    clips are not those of the corpus or too short, WeightsError for gauge and checkpoint, OutputError, and
    Interrupted on Ctrl-C (the same call goes on).
    """
    listener = Listener.of(on_progress, on_note)
    gauge = load_gauge(config.gauge)
    settings = _settings(config, gauge)
    clips = truth_clips(config.data, config.corpus, most=config.clips)
    _require_same_weights(config)
    write_inputs(clips, config)
    takes = takes_of(config)
    failed = _animate(takes, clips, config, listener)
    true = {
        clip.name: TrueClip.of(clip, gauge, frames=config.frames, landmarks=config.landmarks)
        for clip in clips
    }
    rows = _measure(takes, true, gauge, failed, config, listener)
    results = {take.name: _summed_up(take, rows[take.name], true, failed, config) for take in takes}
    thresholds = tuple(thresholds_of(results, config, gauge.facts))
    report = ClaimsReport(
        output=config.output,
        settings=settings,
        takes=results,
        thresholds=thresholds,
        page=claims_page(results, thresholds, config, settings),
    )
    write_json(config.output / RESULT, report.to_json())
    with atomic_path(config.output / PAGE) as temporary:
        temporary.write_text(report.page, encoding="utf-8")
    write_strips(takes, list(true.values())[: config.strips], config)
    return report


def _settings(config: ClaimsConfig, gauge: Gauge) -> dict[str, Any]:
    """What the numbers depend on, the sampler's settings among them."""
    for folder in filter(None, (config.checkpoint, config.before)):
        if not (folder / MANIFEST).is_file():
            raise WeightsError(f"'{folder}' is no checkpoint folder (no {MANIFEST}).", fix="Check the path.")
    path = config.checkpoint / CHECKPOINT_CONFIG
    about = read_json(path)
    steps, guidance = config.generate.steps, config.generate.guidance
    return {
        "checkpoint": about["name"],
        "stage": about["stage"],
        "checkpoint_sha256": sha256_of(config.checkpoint / MANIFEST),
        "steps": about["model"]["sampling"]["steps"] if steps is None else steps,
        "guidance": about["model"]["sampling"]["guidance"] if guidance is None else guidance,
        "noise": config.animate.get("noise") or about["model"]["sampling"].get("noise", "independent"),
        "config": config.model_dump(mode="json"),
        "gauge": gauge.facts.get("held_out"),
    }


def _require_same_weights(config: ClaimsConfig) -> None:
    """Clips of other weights under the same path would pass for finished ones; raises OutputError."""
    folders = {"checkpoint": config.checkpoint} | ({"before": config.before} if config.before else {})
    mine = {name: sha256_of(folder / MANIFEST) for name, folder in folders.items()}
    path = config.output / INPUTS
    theirs = read_json(path) if path.is_file() else {}
    for name in mine.keys() & theirs.keys():
        if mine[name] != theirs[name]:
            raise OutputError(
                f"'{config.output}' holds clips of other weights ({name} {theirs[name][:12]}, now "
                f"{mine[name][:12]}).",
                fix="Choose another folder: --set output=DIR.",
            )
    require_writable_folder(config.output)
    write_json(path, theirs | mine)


def _animate(
    takes: Iterable[Take], clips: list[TruthClip], config: ClaimsConfig, listener: Listener
) -> dict[Path, str]:
    """Animate all takes; returns why the videos that are not there are not."""
    jobs = list(jobs_of(list(takes), clips, config))
    made = animate_all(
        [animation for *_, animation in jobs],
        output=config.output,
        phase="animating",
        progress=listener.progress,
        note=listener.note,
    )
    return {
        video_of(take, clip, seed, config): result.message
        for (take, clip, seed, _), result in zip(jobs, made, strict=True)
        if isinstance(result, MegActorError)
    }


def _measure(
    takes: Iterable[Take],
    true: Mapping[str, TrueClip],
    gauge: Gauge,
    failed: Mapping[Path, str],
    config: ClaimsConfig,
    listener: Listener,
) -> _Rows:
    """Read every animated clip once; one that failed has no row."""
    rows: _Rows = defaultdict(lambda: defaultdict(dict))
    jobs = list(jobs_of(list(takes), [one.clip for one in true.values()], config))
    for done, (take, clip, seed, _) in enumerate(jobs, start=1):
        path = video_of(take, clip, seed, config)
        if path not in failed:
            frames = read_frames(path)
            found = measure(true[clip.name], frames, gauge)
            if take.face == "twin":
                found.values.update(head_gains(true[clip.name], found.readings))
            if take.pictured:
                found.values.update(measure_picture(true[clip.name], frames, landmarks=config.landmarks))
            rows[take.name][seed][clip.name] = found
        listener.progress("measuring", done, len(jobs))
    if "leak" in config.claims:
        _add_leaks(rows, {take.name: take for take in takes}, true, config)
    return rows


def _add_leaks(
    rows: _Rows, takes: Mapping[str, Take], true: Mapping[str, TrueClip], config: ClaimsConfig
) -> None:
    """What changes from a clip's own twin's eyes to another's, among the numbers of the former."""
    for mode in config.mask_modes:
        own, other = (takes[leak_name(mode, whose=whose)] for whose in (OWN, OTHER))
        for seed, measured in rows[own.name].items():
            for name in measured.keys() & rows[other.name][seed].keys():
                frames = [read_frames(video_of(take, true[name].clip, seed, config)) for take in (own, other)]
                readings = (measured[name].readings, rows[other.name][seed][name].readings)
                measured[name].values.update(leak(frames[0], frames[1], readings))


def read_frames(path: Path) -> np.ndarray:
    """A clip's frames, (F, S, S, 3) uint8."""
    return np.stack(list(read_video(path)))


# ---------------------------------------------------------------- summing up


def _summed_up(
    take: Take,
    measured: Mapping[int, Mapping[str, Measured]],
    true: Mapping[str, TrueClip],
    failed: Mapping[Path, str],
    config: ClaimsConfig,
) -> TakeResult:
    names = list(
        dict.fromkeys(name for of in measured.values() for one in of.values() for name in one.values)
    )
    pools = [pooled(of_seed, true) for of_seed in measured.values() if of_seed]
    return TakeResult(
        label=take.label,
        values={name: _value(name, measured, list(true), seed=config.bootstrap_seed) for name in names},
        pooled={name: mean_of_known(np.array([pool[name] for pool in pools])) for name in pools[0]}
        if pools
        else {},
        failures={
            name: failed[path]
            for seed in seeds_of(take, config)
            for name, one in true.items()
            if (path := video_of(take, one.clip, seed, config)) in failed
        },
    )


def _value(
    name: str, measured: Mapping[int, Mapping[str, Measured]], clips: list[str], *, seed: int
) -> Value:
    """One number over seeds and clips; a clip's value is the mean over the seeds that gave one."""
    table = np.array(
        [
            [of_seed[clip].values.get(name, np.nan) if clip in of_seed else np.nan for clip in clips]
            for of_seed in measured.values()
        ]
    )  # (seeds, clips)
    summary = summarise(np.array([mean_of_known(column) for column in table.T]), seed=seed)
    return Value(
        mean=summary.mean,
        low=summary.low,
        high=summary.high,
        count=summary.count,
        seeds=tuple(mean_of_known(row) for row in table),
    )


def _plain(value: Any) -> Any:
    """JSON knows no NaN and no paths."""
    match value:
        case dict():
            return {str(key): _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case float():
            return value if np.isfinite(value) else None
        case Path():
            return str(value)
        case _:
            return value
