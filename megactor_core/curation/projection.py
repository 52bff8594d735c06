"""From a sample's trials to what all of the input, and any number of hours like it, will cost and give."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from megactor_core.config.curate import GATES, CurateConfig, GateName
from megactor_core.curation.estimate import Interval, StratifiedSample
from megactor_core.curation.strata import Stratum
from megactor_core.curation.trial import Trial
from megactor_core.engine.batch import KILLED, TIMEOUT

STRONG_HALF_WIDTH: Final = 0.05
"""A kept share that is known less closely than this is no strong statement (ours)."""
CLIPS_FOR_IT: Final = 385
"""Clips by which any share is known so closely: (1.96 / 0.05)^2 / 4."""
_HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Machine:
    """On what the work is foretold."""

    cores: int
    gpus: int
    gpu_note: str
    """Why there are no GPU-hours; empty where there are."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """What is written."""

    manifest: float
    journal: float
    crops: float
    """Written for SyncNet and deleted as it has seen them."""


@dataclass(frozen=True, slots=True)
class GateCost:
    """A gate as the sample found it; None where no clip reached it."""

    gate: GateName
    clips: int
    """Of the sample that reached it."""
    pass_share: Interval | None
    """Of the clips that reach it."""
    cpu_seconds: Interval | None
    """Processor time of a clip that reaches it."""
    gpu_seconds: Interval | None
    core_hours: Interval
    """For all of the input."""


@dataclass(frozen=True, slots=True)
class Projection:
    """What so much raw video costs and gives."""

    clips: float
    raw_hours: Interval
    kept_hours: Interval
    core_hours: Interval
    gpu_hours: Interval | None
    wall_hours: Interval
    """On the machine's cores and GPUs, all busy."""
    bytes: Bytes


@dataclass(frozen=True, slots=True)
class DataSetSample:
    """How much of a data set was measured."""

    clips: int
    measured: int
    strata: int


@dataclass(frozen=True, slots=True)
class DryRunReport:
    """What a sample says. Shares, costs and sums are weighted by strata; intervals are of 95 %."""

    clips: int
    measured: int
    datasets: dict[str, DataSetSample]
    gates: tuple[GateCost, ...]
    rest_cpu_seconds: Interval
    """Processor time of a clip that is no gate's, a mean over all clips."""
    kept_share: Interval
    """Of the clips."""
    kept_share_of_time: Interval | None
    """None where no clip of the sample could be opened."""
    statuses: dict[str, int]
    """Clips of the sample: ok, rejected, error."""
    first_reasons: dict[str, int]
    errors_by_kind: dict[str, int]
    machine: Machine
    sources: Projection
    hours: Projection | None
    """For the hours that were asked for; None where none were, or nothing says how long a clip is."""
    not_measured: list[dict[str, Any]]
    remarks: tuple[str, ...]
    """What people should know before they build on it."""
    wall_seconds: float
    worker_cpu_seconds: float
    """Of this dry run, as the line before."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a dry run found out, before anything is made of it."""

    strata: Sequence[Stratum]
    trials: Sequence[Trial]
    row_bytes: Bytes
    """Of a clip in the manifest and in the journal; crops are the trials' own."""
    gates: tuple[GateName, ...]
    wall_seconds: float
    worker_cpu_seconds: float


def project(
    measured: Measured, config: CurateConfig, *, machine: Machine, not_measured: list[dict[str, Any]]
) -> DryRunReport:
    """Everything that the sample says."""
    sums = _Sums(measured, config)
    trials = measured.trials
    gates = tuple(_gate_cost(gate, sums) for gate in GATES if gate in measured.gates)
    of_sources = _sources(sums, machine, measured.row_bytes)
    hours = None if config.hours is None else _hours(config.hours, sums, machine, of_sources)
    kept = sums.sample.share(sums.kept, of=sums.ones)
    assert kept is not None, "there is no sample without clips"
    return DryRunReport(
        clips=sum(stratum.clips for stratum in measured.strata),
        measured=len(trials),
        datasets=_datasets(measured.strata),
        gates=gates,
        rest_cpu_seconds=sums.sample.total(sums.rest).times(1 / float(sums.sample.weights.sum())),
        kept_share=kept,
        kept_share_of_time=sums.sample.share(sums.kept, of=sums.seconds),
        statuses=dict(Counter(trial.status for trial in trials).most_common()),
        first_reasons=_counted(trial.first_reason for trial in trials),
        errors_by_kind=_counted(trial.error_kind for trial in trials if trial.status == "error"),
        machine=machine,
        sources=of_sources,
        hours=hours,
        not_measured=not_measured,
        remarks=tuple(_remarks(measured, config, kept, hours)),
        wall_seconds=measured.wall_seconds,
        worker_cpu_seconds=measured.worker_cpu_seconds,
    )


class _Sums:
    """The trials in columns (n,), and the sample that weights them."""

    def __init__(self, measured: Measured, config: CurateConfig) -> None:
        self.trials = measured.trials
        self.sample = StratifiedSample(
            [trial.stratum for trial in self.trials],
            [stratum.clips for stratum in measured.strata],
            resamples=config.forecast.resamples,
            seed=config.forecast.seed,
        )
        self.ones = self.column(lambda _: 1.0)
        self.kept = self.column(lambda trial: trial.is_kept)
        self.seconds = self.column(lambda trial: trial.video_seconds)
        self.rest = self.column(lambda trial: trial.rest_seconds)
        self.cpu = self.column(lambda trial: sum(trial.cpu_seconds.values())) + self.rest
        self.gpu = self.column(lambda trial: sum(trial.gpu_seconds.values()))
        self.crops = self.column(lambda trial: trial.crop_bytes)

    def column(self, value: Callable[[Trial], float]) -> np.ndarray:
        return np.array([float(value(trial)) for trial in self.trials])


def _gate_cost(gate: GateName, sums: _Sums) -> GateCost:
    reached = sums.column(lambda trial: gate in trial.passed)
    passed = sums.column(lambda trial: trial.passed.get(gate, False))
    cpu = sums.column(lambda trial: trial.cpu_seconds.get(gate, 0.0))
    gpu = sums.column(lambda trial: trial.gpu_seconds.get(gate, 0.0))
    return GateCost(
        gate=gate,
        clips=int(reached.sum()),
        pass_share=sums.sample.share(passed, of=reached),
        cpu_seconds=sums.sample.ratio(cpu, reached),
        gpu_seconds=sums.sample.ratio(gpu, reached) if gpu.any() else None,
        core_hours=sums.sample.total(cpu).times(1 / _HOUR),
    )


def _sources(sums: _Sums, machine: Machine, row_bytes: Bytes) -> Projection:
    sample = sums.sample
    clips = float(sample.weights.sum())
    raw = sample.total(sums.seconds).times(1 / _HOUR)
    kept = sample.total(sums.seconds * sums.kept).times(1 / _HOUR)
    share = sample.share(sums.kept, of=sums.seconds)
    core = sample.total(sums.cpu).times(1 / _HOUR)
    gpu = sample.total(sums.gpu).times(1 / _HOUR) if sums.gpu.any() else None
    return Projection(
        clips=clips,
        raw_hours=raw,
        # Of a sample of which nothing (or all) is kept, so is every one drawn from it: Wilson knows better.
        kept_hours=kept if share is None else kept.widened(share.times(raw.value)),
        core_hours=core,
        gpu_hours=gpu,
        wall_hours=_wall(core, gpu, machine),
        bytes=Bytes(
            manifest=clips * row_bytes.manifest,
            journal=clips * row_bytes.journal,
            crops=sample.total(sums.crops).value,
        ),
    )


def _hours(hours: float, sums: _Sums, machine: Machine, of_sources: Projection) -> Projection | None:
    """So many hours of clips like those of the input."""
    sample = sums.sample
    kept = sample.ratio(sums.seconds * sums.kept, sums.seconds)
    share = sample.share(sums.kept, of=sums.seconds)
    core = sample.ratio(sums.cpu, sums.seconds)
    gpu = sample.ratio(sums.gpu, sums.seconds) if sums.gpu.any() else None
    if kept is None or share is None or core is None:
        return None
    factor = hours / of_sources.raw_hours.value
    gpu = None if gpu is None else gpu.times(hours)
    return Projection(
        clips=of_sources.clips * factor,
        raw_hours=Interval(hours, hours, hours),
        kept_hours=kept.widened(share).times(hours),
        core_hours=core.times(hours),
        gpu_hours=gpu,
        wall_hours=_wall(core.times(hours), gpu, machine),
        bytes=Bytes(*(factor * amount for amount in asdict(of_sources.bytes).values())),
    )


def _wall(core_hours: Interval, gpu_hours: Interval | None, machine: Machine) -> Interval:
    """Cores and GPUs work side by side; whichever has more to do is waited for."""
    cores = core_hours.times(1 / machine.cores)
    if gpu_hours is None:
        return cores
    gpus = gpu_hours.times(1 / max(1, machine.gpus))
    return Interval(max(cores.value, gpus.value), max(cores.low, gpus.low), max(cores.high, gpus.high))


def _datasets(strata: Sequence[Stratum]) -> dict[str, DataSetSample]:
    names = sorted({stratum.dataset for stratum in strata})
    groups = {name: [stratum for stratum in strata if stratum.dataset == name] for name in names}
    return {
        name: DataSetSample(
            clips=sum(stratum.clips for stratum in group),
            measured=sum(len(stratum.drawn) for stratum in group),
            strata=len(group),
        )
        for name, group in groups.items()
    }


def _remarks(measured: Measured, config: CurateConfig, kept: Interval, hours: Projection | None) -> list[str]:
    trials, clips = measured.trials, sum(stratum.clips for stratum in measured.strata)
    remarks = []
    if max(kept.value - kept.low, kept.high - kept.value) > STRONG_HALF_WIDTH:
        more = (
            f"About {CLIPS_FOR_IT} clips tell it to within {100 * STRONG_HALF_WIDTH:.0f} in a hundred: "
            "--set forecast.clips=N, for each data set."
            if len(trials) < clips
            else "There are no more clips to draw from."
        )
        remarks.append(
            f"The sample of {len(trials)} clips is too small for a strong statement: between "
            f"{100 * kept.low:.0f} and {100 * kept.high:.0f} in a hundred clips are kept. {more}"
        )
    alone = sorted({stratum.dataset for stratum in measured.strata if len(stratum.drawn) == 1})
    if alone:
        remarks.append(f"Of {', '.join(alone)} a single clip was measured: its intervals are too narrow.")
    lost = sum(trial.error_kind in (KILLED, TIMEOUT) for trial in trials)
    if lost:
        remarks.append(f"{lost} clips ended their worker; the time that they took is in no figure here.")
    if config.hours is not None and hours is None:
        remarks.append(
            f"No clip of the sample could be opened: nothing can be said of {config.hours:g} hours."
        )
    if config.rules.duplicates == "reject":
        remarks.append("Clips that are there twice are known once all are measured; none are taken off here.")
    return remarks


def _counted(names: Any) -> dict[str, int]:
    return dict(Counter(name for name in names if name is not None).most_common())
