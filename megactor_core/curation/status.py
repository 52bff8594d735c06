"""megactor curate --status: how far a run is, read from another process.

Nothing is locked and nothing is written: the journal's part files and run.json are each complete or absent.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from megactor_core.config.curate import CurateConfig
from megactor_core.curation.manifest import Judged, judge
from megactor_core.curation.output import JOURNAL, saved_config
from megactor_core.curation.run_record import RunRecord, read_record
from megactor_core.engine.journal import Journal
from megactor_core.engine.parts import decode_rows, part_paths, read_part
from megactor_core.engine.stage import ROW_ID, Row
from megactor_core.errors import UsageError

State = Literal["running", "finished", "interrupted", "failed", "killed", "unknown"]
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class LastClip:
    """The clip whose result was written last."""

    clip_id: str
    status: str
    """ok, rejected or error; ok is of the measuring, copies are told at the end."""
    reason: str | None
    seconds_ago: float


@dataclass(frozen=True, slots=True)
class CurateStatus:
    """clips = done + what is left; done = kept + rejected + errors.

    A clip whose file has changed since an earlier run counts as done until its turn comes.
    """

    output: str
    state: State
    """killed: it never ended, and its process is gone. unknown: it never ended, and is on another machine."""
    host: str
    process: int
    started: str
    ended: str | None
    elapsed_seconds: float
    """From its start to its end, to now, or to its last result where it was killed."""
    clips: int
    done: int
    kept: int
    """So far: of clips that show the same, one alone stays."""
    rejected: int
    errors: int
    errors_by_kind: dict[str, int]
    first_reasons: dict[str, int]
    raw_hours: float
    kept_hours: float
    """Of clips that are done, those of earlier runs included."""
    computed: int
    """Clips that this run has worked on."""
    clips_a_second: float | None
    times_real_time: float | None
    """Seconds of video that a second takes care of."""
    seconds_left: float | None
    """At that pace; None where nothing is at work or there is no pace yet."""
    last_clip: LastClip | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def read_status(config: CurateConfig) -> CurateStatus:
    """How far the last run in `config.output` is; no other setting counts.

    Raises UsageError where no run was begun there, OutputError where its record cannot be read.
    """
    record = read_record(config.output)
    if record is None:
        raise UsageError(
            f"No run was begun in '{config.output}'.", fix="Give the --output of a `megactor curate`."
        )
    rules = saved_config(config).rules
    parts = Journal(config.output / JOURNAL).parts
    judged = judge(_results(config.output), rules, gates=record.gates, versions=record.versions)
    return _status(config.output, record, judged, _last_clip(parts, run=record.run))


def _results(output: Path) -> list[Row]:
    """The journal's rows; a run that ends just now may replace many part files by one while they are read."""
    journal = Journal(output / JOURNAL)
    for _ in range(_TRIES):
        paths = part_paths(journal.parts)
        rows = journal.results()
        if set(paths) <= set(part_paths(journal.parts)):
            break
    return rows


def _status(
    output: Path, record: RunRecord, judged: Sequence[Judged], last_clip: LastClip | None
) -> CurateStatus:
    statuses = Counter(clip.status for clip in judged)
    state = _state(record)
    own = [clip for clip in judged if clip.row["run"] == record.run]
    elapsed = _elapsed_seconds(record, state, last_clip)
    clips, done = record.clips + record.elsewhere, len(judged) - statuses["pending"]
    pace = len(own) / elapsed if own and elapsed > 0 else None
    return CurateStatus(
        output=str(output),
        state=state,
        host=record.host,
        process=record.process,
        started=record.started,
        ended=record.ended,
        elapsed_seconds=elapsed,
        clips=clips,
        done=done,
        kept=statuses["ok"],
        rejected=statuses["rejected"],
        errors=statuses["error"],
        errors_by_kind=dict(
            Counter(str(clip.row["error_kind"]) for clip in judged if clip.status == "error").most_common()
        ),
        first_reasons=dict(Counter(clip.failures[0].rule for clip in judged if clip.failures).most_common()),
        raw_hours=_seconds(judged) / 3600,
        kept_hours=_seconds([clip for clip in judged if clip.keep]) / 3600,
        computed=len(own),
        clips_a_second=pace,
        times_real_time=_seconds(own) / elapsed if own and elapsed > 0 else None,
        seconds_left=(clips - done) / pace if pace and state in ("running", "unknown") else None,
        last_clip=last_clip,
    )


def _state(record: RunRecord) -> State:
    if record.ending is not None:
        return record.ending
    is_alive = record.is_alive
    return "unknown" if is_alive is None else "running" if is_alive else "killed"


def _elapsed_seconds(record: RunRecord, state: State, last_clip: LastClip | None) -> float:
    until = datetime.now(UTC)
    if record.ended is not None:
        until = datetime.fromisoformat(record.ended)
    since_start = (until - datetime.fromisoformat(record.started)).total_seconds()
    if state == "killed":
        since_start -= since_start if last_clip is None else last_clip.seconds_ago
    return max(0.0, since_start)


def _last_clip(parts: Path, *, run: int) -> LastClip | None:
    """Of this run; None where it has no result yet."""
    written = {path: time for path in part_paths(parts) if (time := _changed(path)) is not None}
    newest = max(written, key=lambda path: written[path], default=None)
    table = None if newest is None else read_part(newest)
    rows = [] if table is None else [row for row in decode_rows(table) if row["run"] == run]
    if newest is None or not rows:
        return None
    row = rows[-1]
    ago = datetime.now(UTC).timestamp() - written[newest]
    return LastClip(row[ROW_ID], row["status"], row["reason"] or row["error"], max(0.0, ago))


def _changed(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # merged into another one just now
        return None


def _seconds(judged: Sequence[Judged]) -> float:
    return sum(clip.seconds for clip in judged)
