"""What is to be done for each clip: new rows, rows that go on where they stopped, rows that are done.

A row of the journal knows its measures, the gates that gave them and what each gate's measures depend on.
From that and the rules follows which gates are still to be taken. A row that lacks nothing keeps its version,
so that the engine passes it over; one that lacks something gets a version that says what it begins with, the
same for the same state, so that a run that was killed goes on.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from megactor_core.config.curate import CurateConfig, GateName
from megactor_core.curation.decide import missing_gates
from megactor_core.curation.gates import GatePlan
from megactor_core.curation.measures import GATE_OF, of_gate
from megactor_core.curation.sources import Content, SourceClip, Sources, content_of
from megactor_core.engine.stage import ROW_ID, ROW_VERSION, Row

VANISHED: Final = "vanished"
"""Kind of error of a clip that an earlier run measured and whose file is gone."""
LOOKS_AT_ONCE: Final = 16
LOOKS_AHEAD: Final = 64
"""Sources whose content is looked at before the first of them is handed out (ours)."""


class Rows:
    """The rows of a job, of a known number, in the order of the sources."""

    def __init__(
        self, sources: Sources, earlier: Mapping[str, Row], *, plan: GatePlan, config: CurateConfig
    ) -> None:
        self._sources = sources
        self._earlier = earlier
        self._plan = plan
        self._config = config

    def __len__(self) -> int:
        return len(self._sources.clips)

    def __iter__(self) -> Iterator[Row]:
        for clip, content in _looked_at(self._sources.clips):
            before = self._earlier.get(clip.clip_id)
            yield row_to_do(clip, content, before, plan=self._plan, config=self._config)


def _looked_at(clips: Sequence[SourceClip]) -> Iterator[tuple[SourceClip, Content]]:
    """Each clip with what its file holds, several at a time: a look waits for a shared file system."""
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        for start in range(0, len(clips), LOOKS_AHEAD):
            part = clips[start : start + LOOKS_AHEAD]
            yield from zip(part, pool.map(content_of, [clip.path for clip in part]), strict=True)


def row_to_do(
    clip: SourceClip, content: Content, before: Row | None, *, plan: GatePlan, config: CurateConfig
) -> Row:
    """A clip's row with what is known of it and what is to be measured."""
    version = f"{content.version} {clip.fault or ''}".strip()
    if before is not None and before["content_version"] != version:
        before = None
    audited = is_audited(clip.clip_id, share=config.audit, seed=config.audit_seed)
    measures, done = ({}, []) if before is None else known(before, plan.versions)
    todo = missing_gates(measures, done=done, gates=plan.gates, rules=config.rules, audited=audited)
    row = {
        **clip.to_row(),
        "content": content.digest,
        "content_version": version,
        "audited": audited,
        "gates": list(plan.gates),
        "versions": plan.versions,
        "measures": measures,
        "done": done,
        "todo": list(todo),
        "stopped": None,
        "unmeasured": {} if before is None else _still_unmeasured(before, done),
        "gate_seconds": {} if before is None else before["gate_seconds"],
        "decodes": 0 if before is None else before["decodes"],
    }
    row[ROW_VERSION] = f"{version} {_state(plan, done)}"
    if before is not None and (_failed_alike(before, plan) or not (todo or before["status"] == "error")):
        row[ROW_VERSION] = before[ROW_VERSION]
    return row


def as_they_are(results: Sequence[Row], sources: Sources) -> list[Row]:
    """The journal's rows with what the sources say of them now; those whose files are gone as errors.

    Clips of earlier runs' sources stay in the output as long as their files are there.
    """
    now = {clip.clip_id: clip.to_row() for clip in sources.clips}
    return [row | now[row[ROW_ID]] if row[ROW_ID] in now else _elsewhere(row) for row in results]


def known(row: Row, versions: Mapping[GateName, str]) -> tuple[dict[str, Any], list[GateName]]:
    """What of a row's measures is as it would be measured now, and by which gates."""
    done = [gate for gate in row["done"] if row["versions"].get(gate) == versions.get(gate)]
    names = {name for gate in done for name in of_gate(gate)}
    return {name: value for name, value in row["measures"].items() if name in names}, done


def is_audited(clip_id: str, *, share: float, seed: int) -> bool:
    """Whether a clip is of the share that is measured whatever rule it breaks: by a hash of its name."""
    digest = hashlib.blake2b(f"{seed} {clip_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def _still_unmeasured(before: Row, done: list[GateName]) -> dict[str, str]:
    """Why measures are absent, of those that are not taken again."""
    return {name: why for name, why in before["unmeasured"].items() if GATE_OF[name] in done}


def _elsewhere(row: Row) -> Row:
    if row["fault"] is not None or os.path.exists(row["source_path"]):
        return row
    return row | {
        "status": "error",
        "error_kind": VANISHED,
        "error": f"'{row['source_path']}' was there in an earlier run, and is gone.",
    }


def _failed_alike(before: Row, plan: GatePlan) -> bool:
    """Whether the row failed and would be measured alike now: only `--retry-errors` tries it again."""
    return bool(
        before["status"] == "error"
        and before["versions"] == plan.versions
        and before["gates"] == list(plan.gates)
    )


def _state(plan: GatePlan, done: list[GateName]) -> str:
    state = [plan.versions, list(plan.gates), sorted(done)]
    return hashlib.blake2b(json.dumps(state, sort_keys=True).encode(), digest_size=8).hexdigest()
