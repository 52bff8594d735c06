"""A clip of a dry run's sample: how far it came, and what that cost."""

from dataclasses import dataclass
from typing import Any

from megactor_core.config.curate import GateName, RulesConfig
from megactor_core.curation.manifest import Judged
from megactor_core.curation.rules import broken_rules


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one clip."""

    stratum: int
    """By number."""
    status: str
    error_kind: str | None
    first_reason: str | None
    video_seconds: float
    """0 where it could not be opened."""
    passed: dict[GateName, bool]
    """Of the gates that it reached; one that failed did not pass."""
    cpu_seconds: dict[GateName, float]
    rest_seconds: float
    """Processor time of the clip that is no gate's."""
    gpu_seconds: dict[GateName, float]
    crop_bytes: int

    @property
    def is_kept(self) -> bool:
        return self.status == "ok"


def trial_of(clip: Judged, rules: RulesConfig, *, stratum: int) -> Trial:
    """The trial that a row of the journal tells of.

    A clip that failed did so in the first gate of its stage or after it, which leaves no account of its own:
    what it took since is that gate's.
    """
    row = clip.row
    cpu: dict[GateName, float] = dict(row["gate_seconds"])
    rest = max(0.0, row["cpu_seconds"] - sum(cpu.values()))
    passed = {gate: not broken_rules(clip.measures, rules, gates=[gate]) for gate in clip.done}
    if clip.status == "error" and row["todo"]:
        gate = row["todo"][0]
        passed[gate] = False
        cpu[gate] = cpu.get(gate, 0.0) + rest
        rest = 0.0
    return Trial(
        stratum=stratum,
        status=clip.status,
        error_kind=row["error_kind"],
        first_reason=clip.failures[0].rule if clip.failures else None,
        video_seconds=clip.seconds,
        passed=passed,
        cpu_seconds=cpu,
        rest_seconds=rest,
        gpu_seconds=_dict(row.get("gpu_seconds")),
        crop_bytes=row.get("crop_bytes") or 0,
    )


def _dict(value: Any) -> dict[GateName, float]:
    return dict(value or {})
