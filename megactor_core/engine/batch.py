"""What a worker does with the rows that it is handed, on any runner: mark, work, commit, unmark."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from megactor_core.engine.guard import guarded_chain
from megactor_core.engine.inflight import MAX_KILLS, Inflight
from megactor_core.engine.parts import write_part
from megactor_core.engine.stage import Outcome, Stage, WorkerContext
from megactor_core.errors import MegActorError

KILLED: Final = "killed_worker"
TIMEOUT: Final = "timeout"


@dataclass(frozen=True, slots=True)
class Plan:
    """What all workers of a job know; it pickles.

    parts and marks are folders. run: the number of this run of the journal.
    """

    stages: tuple[Stage, ...]
    parts: Path
    marks: Path
    run: int
    timeout_seconds: float | None

    @property
    def inflight(self) -> Inflight:
        return Inflight(self.marks, self.run)


Alarm = Callable[[float], None]
"""alarm(seconds): end this process unless it is called again within that time; 0 takes it back."""


def no_alarm(seconds: float) -> None:
    """No time limit."""


class _Watch:
    """Marks the row that is due and sets the alarm for it."""

    def __init__(self, inflight: Inflight, alarm: Alarm) -> None:
        self._inflight = inflight
        self._alarm = alarm
        self._marks: dict[str, int] = {}

    def due(self, key: str, *, limit_seconds: float) -> None:
        if key in self._marks:
            self._inflight.touch(key, self._marks[key])
        else:
            self._marks[key] = self._inflight.enter(key)
        self._alarm(limit_seconds)

    def over(self) -> None:
        self._alarm(0)


@dataclass(slots=True)
class Workbench:
    """A worker's stages, set up when they are first used."""

    plan: Plan
    context: WorkerContext
    alarm: Alarm
    _inflight: Inflight = field(init=False)
    _ready: set[int] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._inflight = self.plan.inflight

    def run(self, rows: Sequence[Outcome], *, segment: slice, last_death: str | None = None) -> list[Outcome]:
        """Take rows through a segment of the stages and commit those that end here; all come back.

        Rows that go on to another segment come back with status "ok" and keep their marks; whoever holds
        their result then removes these. `last_death` says how the worker died that had these rows before.
        """
        self.prepare(segment)
        plan, inflight = self.plan, self._inflight
        poison = {row.key for row in rows if inflight.is_poison(row.key)}
        given_up = [_given_up(row, last_death) for row in rows if row.key in poison]
        healthy = [row for row in rows if row.key not in poison]
        worked = guarded_chain(
            plan.stages[segment],
            healthy,
            watch=_Watch(inflight, self.alarm),
            timeout_seconds=plan.timeout_seconds,
        )
        is_last = segment.stop == len(plan.stages)
        ended = given_up + [outcome for outcome in worked if is_last or outcome.status != "ok"]
        if ended:
            write_part(plan.parts, ended, run=plan.run, host=socket.gethostname())
            inflight.retire(outcome.key for outcome in ended)
        return given_up + worked

    def prepare(self, segment: slice) -> None:
        """Set up the stages of a segment that are not yet; raises MegActorError where one cannot be."""
        for number in range(segment.start, segment.stop):
            if number not in self._ready:
                _set_up_stage(self.plan.stages[number], self.context)
                self._ready.add(number)


def _set_up_stage(stage: Stage, context: WorkerContext) -> None:
    try:
        stage.setup(context)
    except MegActorError:
        raise
    except Exception as error:
        raise MegActorError(
            f"The stage '{stage.name}' could not start ({type(error).__name__}: {error})."
        ) from error


def _given_up(row: Outcome, last_death: str | None) -> Outcome:
    kind = TIMEOUT if last_death == TIMEOUT else KILLED
    text = {
        TIMEOUT: "the row took longer than its time limit, twice",
        KILLED: f"the worker died on this row each time it was tried (last: {last_death or 'the whole run'})",
    }[kind]
    return replace(row, status="error", error_kind=kind, error=text, attempts=MAX_KILLS)
