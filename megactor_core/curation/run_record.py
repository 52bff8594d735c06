"""run.json: what somebody who looks at a run from outside must know and the journal does not hold."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from megactor_core.config.curate import GateName
from megactor_core.curation.gates import GatePlan
from megactor_core.curation.output import RUN
from megactor_core.errors import Interrupted, MegActorError, OutputError, first_line
from megactor_core.files import read_json, write_json

Ending = Literal["finished", "interrupted", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run as it began, and how it ended, if it has."""

    run: int
    """Its number in the journal."""
    clips: int
    """In the sources."""
    elsewhere: int
    """Clips in the journal that are in none of these sources."""
    gates: tuple[GateName, ...]
    versions: dict[GateName, str]
    """What the gates' measures depend on: those of other versions are taken anew."""
    host: str
    process: int
    process_began: int | None
    """In the system's ticks: tells the process from a later one of the same number. None: not known."""
    started: str
    """ISO 8601, UTC, as `ended`."""
    ended: str | None = None
    ending: Ending | None = None
    """None while it is at work, and for ever of one that was killed."""

    @staticmethod
    def of_this_process(*, run: int, clips: int, elsewhere: int, plan: GatePlan) -> "RunRecord":
        """A run that begins now."""
        return RunRecord(
            run=run,
            clips=clips,
            elsewhere=elsewhere,
            gates=plan.gates,
            versions=plan.versions,
            host=socket.gethostname(),
            process=os.getpid(),
            process_began=_began(os.getpid()),
            started=_now(),
        )

    @property
    def is_alive(self) -> bool | None:
        """Whether its process is there; None where that cannot be seen, from another machine."""
        if self.ending is not None:
            return False
        if self.host != socket.gethostname():
            return None
        return _exists(self.process) and _began(self.process) == self.process_began


@contextmanager
def recorded(record: RunRecord, output: Path) -> Iterator[None]:
    """Write the record, and when the block ends write how; raises OutputError."""
    path = output / RUN
    write_json(path, asdict(record))
    ending: Ending = "failed"
    try:
        yield
        ending = "finished"
    except (KeyboardInterrupt, Interrupted):
        ending = "interrupted"
        raise
    finally:
        with suppress(OSError, MegActorError):  # a full disk has been told of by what it stopped
            write_json(path, asdict(replace(record, ended=_now(), ending=ending)))


def read_record(output: Path) -> RunRecord | None:
    """The record of the last run, None where there is none; raises OutputError where it cannot be read."""
    try:
        values = read_json(output / RUN)
        RunRecord(**values)  # refuses unknown names, which the check of types passes over
        record = TypeAdapter(RunRecord).validate_python(values)
        for moment in filter(None, (record.started, record.ended)):
            if datetime.fromisoformat(moment).tzinfo is None:
                raise ValueError(f"'{moment}' is in no time zone")
        return record
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise OutputError(
            f"The record of the run, '{output / RUN}', cannot be read ({first_line(error)}).",
            fix="The next run writes it anew.",
        ) from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _began(process: int) -> int | None:
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        return int(text.rpartition(")")[2].split()[19])  # proc(5): starttime, the 22nd of all
    except (OSError, ValueError, IndexError):
        return None
