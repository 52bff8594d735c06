"""What a run found, counted: raw and kept hours by data set, pass rates by rule, reasons, errors, cost.

The averages of the paper's Table 1 stand beside kept hours, but can only be of all clips: four of its five
data sets fail the paper's own rules on them. So each average is given of the raw and of the kept clips.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from megactor_core.config.curate import GATES, CurateConfig, GateName
from megactor_core.curation.decide import unmeasured_rules
from megactor_core.curation.manifest import DUPLICATE, Judged
from megactor_core.curation.output import REPORT
from megactor_core.curation.rules import RULES, Rule, rule_named
from megactor_core.engine.job import JobReport

AVERAGES: Final = (
    "face_width_mean",
    "face_height_mean",
    "sync_c",
    "sync_d",
    "rotation_magnitude_mean",
    "yaw_mean",
    "av_confidence",
    "speech_share",
)
"""Measures whose means are given by data set: the paper's Table 1, and what stands in for SyncNet."""


@dataclass(frozen=True, slots=True)
class RuleCount:
    """How a rule fared: clips on which it could be checked, and those of them that break it."""

    checked: int
    broken: int
    pass_rate: float | None


@dataclass(frozen=True, slots=True)
class Audit:
    """What the clips of which everything was measured say of the first looks.

    false_rejects: clips that break first looks alone, by rule: every measure of record lets them pass.
    """

    clips: int
    rejected_by_screens: int
    false_rejects: dict[str, int]
    false_reject_rate: float | None
    """Of the clips that no measure of record rejects, those that a first look does."""


@dataclass(frozen=True, slots=True)
class CurateReport:
    """clips = kept + rejected + pending + errors; hours are those of clips whose length is known."""

    output: str
    manifest: str
    report: str
    """The page for people."""
    clips: int
    kept: int
    rejected: int
    pending: int
    """To be measured before they can be decided on: run again."""
    errors: int
    computed: int
    """Clips that this run worked on."""
    raw_hours: float
    kept_hours: float
    datasets: dict[str, dict[str, Any]]
    """By name: `raw` and `kept`, each with clips, identities, hours and means with their counts."""
    reasons: dict[str, int]
    """Clips that break each rule, with every rule counted."""
    first_reasons: dict[str, int]
    """Rejected clips by the first rule that they break."""
    rules: dict[str, RuleCount]
    errors_by_kind: dict[str, int]
    not_measured: list[dict[str, Any]]
    """what, why, fix, instead (what stands in for it, or nothing) and gates."""
    idle_rules: list[str]
    """Rules that nothing can break, since their gate is not taken."""
    audit: Audit
    cpu_seconds_by_gate: dict[str, float]
    """Over all runs."""
    decodes: int
    settings: dict[str, Any]
    wall_seconds: float
    """Of this run, as the rest."""
    worker_cpu_seconds: float
    parent_cpu_seconds: float
    worker_deaths: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def summarise(
    judged: Sequence[Judged],
    config: CurateConfig,
    *,
    missing: Sequence[dict[str, Any]],
    job: JobReport | None,
) -> CurateReport:
    """Count; `job` is None where nothing was measured."""
    statuses = Counter(clip.status for clip in judged)
    output = str(config.output)
    return CurateReport(
        output=output,
        manifest=f"{output}/manifest.parquet",
        report=f"{output}/{REPORT}",
        clips=len(judged),
        kept=statuses["ok"],
        rejected=statuses["rejected"],
        pending=statuses["pending"],
        errors=statuses["error"],
        computed=0 if job is None else job.rows - job.skipped,
        raw_hours=_hours(judged),
        kept_hours=_hours(_kept(judged)),
        datasets=_datasets(judged),
        reasons=_counted(failure.rule for clip in judged for failure in clip.failures),
        first_reasons=_counted(clip.failures[0].rule for clip in judged if clip.failures),
        rules={rule.name: _fared(rule, judged) for rule in RULES if rule.is_on(config.rules)},
        errors_by_kind=_counted(str(clip.row["error_kind"]) for clip in judged if clip.status == "error"),
        not_measured=list(missing),
        idle_rules=unmeasured_rules(_gates_taken(judged), config.rules),
        audit=_audit(judged),
        cpu_seconds_by_gate={
            gate: sum(clip.row["gate_seconds"].get(gate, 0.0) for clip in judged) for gate in GATES
        },
        decodes=sum(clip.row["decodes"] for clip in judged),
        settings=config.model_dump(mode="json", include={"audit", "audit_seed", "measure", "rules"}),
        wall_seconds=0.0 if job is None else job.wall_seconds,
        worker_cpu_seconds=0.0 if job is None else job.worker_cpu_seconds,
        parent_cpu_seconds=0.0 if job is None else job.parent_cpu_seconds,
        worker_deaths=0 if job is None else job.worker_deaths,
    )


def _gates_taken(judged: Iterable[Judged]) -> list[GateName]:
    taken = {gate for clip in judged for gate in clip.row["gates"]}
    return [gate for gate in GATES if gate in taken]


def _kept(judged: Iterable[Judged]) -> list[Judged]:
    return [clip for clip in judged if clip.keep]


def _hours(judged: Iterable[Judged]) -> float:
    return sum(clip.seconds for clip in judged) / 3600


def _datasets(judged: Sequence[Judged]) -> dict[str, dict[str, Any]]:
    names = sorted({clip.row["dataset"] for clip in judged})
    groups = {name: [clip for clip in judged if clip.row["dataset"] == name] for name in names}
    return {name: {"raw": _group(clips), "kept": _group(_kept(clips))} for name, clips in groups.items()}


def _group(clips: Sequence[Judged]) -> dict[str, Any]:
    means = {name: _mean(clips, name) for name in AVERAGES}
    return {
        "clips": len(clips),
        "identities": len({clip.row["identity"] for clip in clips}),
        "hours": _hours(clips),
        "means": {name: mean for name, (mean, _) in means.items()},
        "measured": {name: count for name, (_, count) in means.items()},
    }


def _mean(clips: Iterable[Judged], name: str) -> tuple[float | None, int]:
    values = [clip.measures[name] for clip in clips if clip.measures.get(name) is not None]
    return (float(np.mean(values)) if values else None), len(values)


def _fared(rule: Rule, judged: Iterable[Judged]) -> RuleCount:
    checked = broken = 0
    for clip in judged:
        if clip.status != "error" and all(clip.measures.get(name) is not None for name in rule.measures):
            checked += 1
            broken += any(failure.rule == rule.name for failure in clip.failures)
    return RuleCount(checked, broken, 1 - broken / checked if checked else None)


def _audit(judged: Sequence[Judged]) -> Audit:
    audited = [clip for clip in judged if clip.row["audited"] and clip.status in ("ok", "rejected")]
    good = wrongly = rejected = 0
    by_rule: Counter[str] = Counter()
    for clip in audited:
        rules = [failure.rule for failure in clip.failures if failure.rule != DUPLICATE]
        screens = [name for name in rules if rule_named(name).is_screen]
        rejected += bool(screens)
        if len(screens) == len(rules):
            good += 1
            wrongly += bool(screens)
            by_rule.update(screens)
    return Audit(len(audited), rejected, dict(by_rule.most_common()), wrongly / good if good else None)


def _counted(names: Iterable[str]) -> dict[str, int]:
    """Most frequent first."""
    return dict(Counter(names).most_common())
