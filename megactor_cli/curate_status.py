"""What `megactor curate --status` prints."""

from datetime import timedelta
from typing import TYPE_CHECKING

from megactor_cli.console import Console
from megactor_core.pages.page import duration

if TYPE_CHECKING:
    from megactor_core.curation.status import CurateStatus

_STATES = {
    "running": "at work",
    "finished": "finished",
    "interrupted": "interrupted: the same command goes on",
    "failed": "failed: the same command goes on",
    "killed": "killed: the same command goes on",
    "unknown": "begun on another machine; from here it cannot be seen whether it is at work",
}


def show_status(status: "CurateStatus", console: Console) -> None:
    """How far the run is, in a few lines."""
    share = f" ({100 * status.done // status.clips} %)" if status.clips else ""
    console.facts(
        {
            "run": f"{_STATES[status.state]} (process {status.process} on {status.host})",
            "begun": f"{status.started}, {_span(status.elapsed_seconds)} of work",
            "done": f"{status.done} of {status.clips} clips{share}",
            "kept so far": f"{status.kept}, {duration(3600 * status.kept_hours)} of "
            f"{duration(3600 * status.raw_hours)}",
            "rejected": f"{status.rejected}{_counts(status.first_reasons)}",
            "errors": f"{status.errors}{_counts(status.errors_by_kind)}",
            "pace": _pace(status),
            **({} if status.seconds_left is None else {"left": _span(status.seconds_left)}),
            "last clip": _last(status),
        }
    )


def _pace(status: "CurateStatus") -> str | None:
    if status.clips_a_second is None or status.times_real_time is None:
        return None
    return f"{status.clips_a_second:.3g} clips/s, {status.times_real_time:.3g} x real time"


def _last(status: "CurateStatus") -> str | None:
    last = status.last_clip
    if last is None:
        return None
    reason = f" ({last.reason})" if last.reason else ""
    return f"{last.clip_id}: {last.status}{reason}, {_span(last.seconds_ago)} ago"


def _counts(counts: dict[str, int]) -> str:
    return f" ({', '.join(f'{name}: {count}' for name, count in counts.items())})" if counts else ""


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
