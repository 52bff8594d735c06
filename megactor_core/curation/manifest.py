"""manifest.parquet: a row a clip, with where it comes from, what was measured and what was decided.

The first columns are those that `megactor preprocess` and training read; then every measure; then what it
cost. Two runs over the same clips differ in the last group alone.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from megactor_core.config.curate import GATES, GateName, RulesConfig
from megactor_core.config.splits import Split
from megactor_core.curation.decide import Decision, decide
from megactor_core.curation.duplicates import Placed, find_duplicates, joint_splits
from megactor_core.curation.footage import VIDEO_FPS
from megactor_core.curation.measures import MEASURES, Kind, Measures
from megactor_core.curation.rows import known
from megactor_core.curation.rules import Failure
from megactor_core.engine.stage import ROW_ID, Row
from megactor_core.files import atomic_path

MANIFEST: Final = "manifest.parquet"
DUPLICATE: Final = "duplicate"
"""Why a clip is rejected that shows what another one does."""
_TYPES: Final[Mapping[Kind, pa.DataType]] = {
    "whole": pa.int64(),
    "number": pa.float64(),
    "flag": pa.bool_(),
    "text": pa.string(),
    "numbers": pa.list_(pa.float64()),
}

SCHEMA: Final = pa.schema(
    [
        ("clip_id", pa.string()),
        ("dataset", pa.string()),
        ("identity", pa.string()),
        ("source_id", pa.string()),
        ("split", pa.string()),
        ("source_uri", pa.string()),
        ("driver_path", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("keep", pa.bool_()),
        ("reasons", pa.list_(pa.string())),
        ("first_reason", pa.string()),
        ("status", pa.string()),
        ("stopped_at", pa.string()),
        ("missing", pa.list_(pa.string())),
        ("error_kind", pa.string()),
        ("error", pa.string()),
        ("audited", pa.bool_()),
        ("unmeasured", pa.list_(pa.string())),
        ("sound_shift_s", pa.float64()),
        *((measure.name, _TYPES[measure.kind]) for measure in MEASURES),
        ("content", pa.string()),
        ("decodes", pa.int64()),
        *((f"cpu_{gate}_s", pa.float64()) for gate in GATES),
        ("attempts", pa.int64()),
        ("host", pa.string()),
    ]
)
"""keep: whether `preprocess` takes it. reasons: every rule that is broken, with value and limit;
first_reason: the name of the first. status: ok, rejected, pending (`missing` gates are to be measured before
it is decided) or error. stopped_at: the gate after which measuring stopped, or the stage that failed.
unmeasured: why a measure is absent. sound_shift_s: seconds by which the sound is to be delayed."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A clip's row of the journal and what was decided on it."""

    row: Row
    measures: Measures
    decision: Decision | None
    """None for one that failed."""
    split: Split
    done: tuple[GateName, ...]
    """Gates whose measures are known."""
    gates: tuple[GateName, ...]
    """Gates there are, in order."""

    @property
    def clip_id(self) -> str:
        return str(self.row[ROW_ID])

    @property
    def seconds(self) -> float:
        """Length; 0 where it is not known."""
        return float(self.measures.get("seconds") or 0.0)

    @property
    def keep(self) -> bool:
        return self.decision is not None and self.decision.status == "ok"

    @property
    def status(self) -> str:
        return "error" if self.decision is None else self.decision.status

    @property
    def failures(self) -> tuple[Failure, ...]:
        return () if self.decision is None else self.decision.failures


def judge(
    rows: Sequence[Row],
    rules: RulesConfig,
    *,
    gates: Sequence[GateName] | None = None,
    versions: Mapping[GateName, str] | None = None,
) -> list[Judged]:
    """Decide on all clips, sorted by clip_id: each by its measures, then what is there twice.

    gates and versions are those of the present run; None takes each row's own, as it was measured.
    """
    splits = joint_splits([_placed(row, row["split"]) for row in rows])
    judged = []
    for row in sorted(rows, key=lambda row: str(row[ROW_ID])):
        measures, done = known(row, row["versions"] if versions is None else versions)
        own = tuple(row["gates"] if gates is None else gates)
        clip = Judged(row, measures, None, splits[row[ROW_ID]], tuple(done), own)
        judged.append(clip if row["status"] == "error" else decide_alone(clip, rules))
    return without_duplicates(judged, rules)


def decide_alone(clip: Judged, rules: RulesConfig) -> Judged:
    """A clip that could be measured, by these rules and its own measures, whatever the others show."""
    return replace(clip, decision=decide(clip.measures, done=clip.done, gates=clip.gates, rules=rules))


def without_duplicates(judged: list[Judged], rules: RulesConfig) -> list[Judged]:
    """The same clips; of kept ones that show the same, all but one are rejected, if they are to be."""
    if rules.duplicates == "keep":
        return judged
    duplicates = find_duplicates([_placed(clip.row, clip.split) for clip in judged if clip.keep])
    return [
        _rejected_as_copy(clip, of=duplicates[clip.clip_id]) if clip.clip_id in duplicates else clip
        for clip in judged
    ]


def write_manifest(output: Path, judged: Iterable[Judged], rules: RulesConfig) -> Path:
    """Write the manifest, atomically; raises OutputError."""
    path = output / MANIFEST
    records = [to_record(clip, rules, output=output) for clip in judged]
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(records, SCHEMA), temporary, compression="zstd")
    return path


def to_record(clip: Judged, rules: RulesConfig, *, output: Path) -> dict[str, Any]:
    """A row of the manifest."""
    row, decision = clip.row, clip.decision
    seconds, driver = row["gate_seconds"], row.get("driver_path")
    return {
        **{name: row[name] for name in ("dataset", "identity", "source_id", "start_s", "end_s", "audited")},
        "clip_id": clip.clip_id,
        "split": clip.split,
        "source_uri": os.path.relpath(row["source_path"], output.absolute()),
        "driver_path": driver and os.path.relpath(driver, output.absolute()),
        "keep": clip.keep,
        "reasons": [failure.reason for failure in clip.failures],
        "first_reason": clip.failures[0].rule if clip.failures else None,
        "status": clip.status,
        "stopped_at": row["stopped_at"] if decision is None else row["stopped"],
        "missing": [] if decision is None or clip.failures else list(decision.missing),
        "error_kind": row["error_kind"],
        "error": row["error"],
        "unmeasured": [f"{name}: {why}" for name, why in sorted(row["unmeasured"].items())],
        "sound_shift_s": sound_shift(clip.measures, rules),
        **clip.measures,
        "content": row["content"],
        "decodes": row["decodes"],
        **{f"cpu_{gate}_s": seconds.get(gate) for gate in GATES},
        "attempts": row["attempts"],
        "host": row["host"],
    }


def sound_shift(measures: Measures, rules: RulesConfig) -> float | None:
    """By how much a kept clip's sound is to be delayed, in seconds; None where it is not to be moved.

    SyncNet's offset, or where it has not looked, the clear offset of the check without weights.
    """
    if rules.wrong_offset != "correct":
        return None
    frames, limit = measures.get("sync_offset_frames"), rules.max_sync_offset_frames
    if frames is None and (measures.get("av_confidence") or 0.0) >= rules.min_av_confidence:
        frames, limit = measures.get("av_offset_frames"), rules.max_av_offset_frames
    if frames is None or limit is None or abs(frames) <= limit:
        return None
    return float(frames / VIDEO_FPS)


def _rejected_as_copy(clip: Judged, *, of: str) -> Judged:
    return replace(clip, decision=Decision("rejected", (Failure(DUPLICATE, None, None, f"of {of}"),), ()))


def _placed(row: Row, split: Split) -> Placed:
    start = row["start_s"] or 0.0
    seconds = row["measures"].get("seconds")
    end = row["end_s"] if row["end_s"] is not None else start + (seconds or 0.0)
    return Placed(
        clip_id=row[ROW_ID],
        dataset=row["dataset"],
        identity=row["identity"],
        source_id=row["source_id"],
        content=row["content"],
        start_seconds=start,
        end_seconds=end,
        source_start_seconds=row["source_start_s"],
        split=split,
    )
