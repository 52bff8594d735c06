"""What was made: the report of a run, and the description beside the video."""

from dataclasses import asdict, dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from megactor_core.animation.backoff import Lowering
from megactor_core.animation.badge import Badge
from megactor_core.animation.conditions import Conditions
from megactor_core.animation.driving import Driving
from megactor_core.animation.marks import tool
from megactor_core.animation.plan import Plan
from megactor_core.config.animate import LostFacePolicy
from megactor_core.faces.track import treatments
from megactor_core.files import sha256_of, write_json
from megactor_core.models.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class AnimateReport:
    """What was made; `to_json` has the keys of `animate --json`."""

    output: Path
    frames: int
    fps: float
    width: int
    height: int
    seconds: float
    modalities: list[str]
    audio_scale: float
    alpha: float
    seed: int
    checkpoint: str
    trained: bool
    lost_face_frames: int
    """Driving frames in which no face was found; which ones is in the description."""
    compute_seconds: float
    """Wall time of the whole run."""
    compare: Path | None = None
    contact_sheet: Path | None = None
    lowered: list[Lowering] | None = None
    """Settings that were lowered because memory ran out, in turn; None where none was."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is None, such as files that nobody asked for, is left out."""
        values = {key: value for key, value in asdict(self).items() if value is not None}
        return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}

    @staticmethod
    def from_json(values: dict[str, Any]) -> "AnimateReport":
        """The report that `to_json` gave, from a mapping that may hold more."""
        known = {field.name: values[field.name] for field in fields(AnimateReport) if field.name in values}
        return TypeAdapter(AnimateReport).validate_python(known)


def describe(
    job: Plan,
    checkpoint: Checkpoint,
    conditions: Conditions,
    *,
    lowered: list[Lowering],
    seconds: float,
) -> AnimateReport:
    """The report of a finished run; also writes FILE.json beside the video."""
    config, size_px = job.config, conditions.size_px
    report = AnimateReport(
        output=job.outputs.video,
        frames=conditions.frames,
        fps=float(config.fps),
        width=size_px,
        height=size_px,
        seconds=float(conditions.frames / config.fps),
        modalities=job.modalities,
        audio_scale=config.audio_scale,
        alpha=config.alpha,
        seed=config.seed,
        checkpoint=str(checkpoint.folder),
        trained=checkpoint.info.trained,
        lost_face_frames=len(conditions.driving.lost_frames),
        compute_seconds=round(seconds, 3),
        compare=job.outputs.compare,
        contact_sheet=job.outputs.sheet,
        lowered=lowered or None,
    )
    write_json(job.outputs.description, _description(job, checkpoint, conditions, report))
    return report


def _description(
    job: Plan, checkpoint: Checkpoint, conditions: Conditions, report: AnimateReport
) -> dict[str, Any]:
    badge = Badge.of(job.config, frames=conditions.frames, side_px=conditions.size_px)
    return {
        "tool": tool(),
        **report.to_json(),
        "sha256": sha256_of(report.output),
        "checkpoint_name": checkpoint.info.name,
        "checkpoint_sha256": checkpoint.sha256,
        "badge": badge.to_json(),
        "provenance": {"signed": job.config.provenance},
        "inputs": job.input_hashes(),
        "regions": sorted(job.regions),
        "driving_frames": conditions.driving.frames,
        "driving_faces": _driving_faces(conditions.driving, job.config.on_lost_face),
        "lost_frames": list(conditions.driving.lost_frames),
        "config": job.config.model_dump(mode="json"),
    }


def _driving_faces(driving: Driving, policy: LostFacePolicy) -> list[dict[str, int | str]]:
    """What was done with the face of every driving frame, a row a run of equal frames."""
    found = np.ones(driving.frames, dtype=bool)
    found[list(driving.lost_frames)] = False
    rows: list[dict[str, int | str]] = []
    first = 0
    for treatment, run in groupby(treatments(found, policy=policy)):
        after = first + len(list(run))
        rows.append({"first": first, "last": after - 1, "face": treatment})
        first = after
    return rows
