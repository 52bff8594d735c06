"""A job: every row through every stage, once, whatever happens on the way."""

import operator
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from megactor_core.config.engine import EngineConfig
from megactor_core.engine.batch import Plan
from megactor_core.engine.guard import RETRIED_KINDS
from megactor_core.engine.inline import InlineRunner
from megactor_core.engine.journal import Finished, Journal
from megactor_core.engine.local import LocalRunner
from megactor_core.engine.parts import RESERVED, encode_values
from megactor_core.engine.stage import ROW_ID, Outcome, Row, Stage, fans_out, row_key
from megactor_core.errors import ConfigError, MegActorError, OutputError, UsageError
from megactor_core.listener import OnProgress

OnRow = Callable[[Outcome], None]


class Runner(Protocol):
    """Where rows are worked on. Every runner hands them to a Workbench, so results are the same on all."""

    worker_deaths: int

    def run(self, rows: Iterator[Outcome]) -> Iterator[Outcome]:
        """One ended row for each row given, in any order, committed before it is yielded; may be repeated.

        It reads `rows` only as far as its workers need.
        """

    def close(self) -> None:
        """End all workers, whatever they do."""


@dataclass(frozen=True, slots=True)
class JobReport:
    """What became of the rows of a job, those of earlier runs included.

    rows = ok + rejected + sum(errors). skipped: rows that an earlier run had finished. reasons: rejections by
    reason. errors: failed rows by kind. worker_deaths: workers that a row (or the system) killed.
    damaged_parts: part files of earlier runs that could not be read; their rows were done again.
    """

    rows: int
    skipped: int
    ok: int
    rejected: int
    reasons: dict[str, int]
    errors: dict[str, int]
    worker_deaths: int
    damaged_parts: int
    wall_seconds: float
    parent_cpu_seconds: float
    worker_cpu_seconds: float


def run_job(
    stages: Sequence[Stage],
    rows: Iterable[Row],
    *,
    journal: Journal,
    config: EngineConfig,
    phase: str = "rows",
    on_progress: OnProgress | None = None,
    on_row: OnRow | None = None,
) -> JobReport:
    """Run each row that the journal does not hold yet through the stages, one after the other.

    A row is a dict with `row_id` (text, unique) and `row_version` (what its source's content is known by, say
    size and time of change). Results lie in `journal` as soon as they are there; a run that was stopped in
    any way goes on where it was. `on_row` is told of every row that ends in this run, in any order.
    Raises UsageError for rows or stages that do not fit together or a journal of another job, OutputError
    where the journal is in use by another run or cannot be written to begin with, MegActorError where the
    disk fails later, and the error of a stage's `setup`.
    """
    stages = tuple(stages)
    _require_stages(stages)
    started, cpu_before = time.monotonic(), _own_cpu_seconds()
    with journal.opened(stages) as run:
        finished, damaged = journal.finished()
        tally = _Tally(phase, operator.length_hint(rows), on_progress, on_row)
        plan = Plan(
            stages=stages,
            parts=journal.parts,
            marks=journal.marks,
            run=run,
            timeout_seconds=config.timeout_seconds,
        )
        todo = _Todo(rows, plan=plan, finished=finished, config=config, tally=tally)
        runner = _runner(plan, config, journal)
        try:
            _work(runner, todo, tally, config)
        except OutputError as error:
            # Found out in the middle of the work (a full disk, say): what was asked for was no mistake.
            raise MegActorError(error.message, fix=error.fix) from None
        finally:
            runner.close()
            # Whoever gets here was stopped in good order: no row is to blame.
            plan.inflight.forget_this_run()
        journal.merge()
    return tally.report(
        worker_deaths=runner.worker_deaths,
        damaged_parts=damaged,
        wall_seconds=time.monotonic() - started,
        parent_cpu_seconds=_own_cpu_seconds() - cpu_before,
    )


def _work(runner: Runner, todo: "_Todo", tally: "_Tally", config: EngineConfig) -> None:
    """Every row once, then those again, from the start, that failed for an unknown reason."""
    fresh: Iterator[Outcome] = todo.rows()
    while True:
        failed: list[Outcome] = []
        for outcome in runner.run(fresh):
            given = todo.handed_out.pop(outcome.key)
            if outcome.error_kind in RETRIED_KINDS and outcome.attempts < config.max_attempts:
                failed.append(replace(given, attempts=outcome.attempts + 1))
            else:
                tally.add(outcome)
        if not failed:
            return
        fresh = todo.once_more(failed)


class _Todo:
    """The rows that are not done yet."""

    def __init__(
        self,
        rows: Iterable[Row],
        *,
        plan: Plan,
        finished: Mapping[str, Finished],
        config: EngineConfig,
        tally: "_Tally",
    ) -> None:
        self.handed_out: dict[str, Outcome] = {}
        self._rows = rows
        self._stages = plan.stages
        self._inflight = plan.inflight
        self._finished = finished
        self._config = config
        self._tally = tally

    def rows(self) -> Iterator[Outcome]:
        """The rows to do, as they are asked for; what is done already is counted on the way."""
        seen: set[str] = set()
        for row in self._rows:
            _require_row(row, seen)
            seen.add(row[ROW_ID])
            key = row_key(row, self._stages)
            before = self._finished.get(row[ROW_ID])
            if before is not None and before.key != key:
                before = None
            if before is not None and self._is_done(before):
                self._tally.skip(before)
                self._inflight.leave([key])  # a kill came between its commit and the removal of its mark
            else:
                attempts = 1 if before is None or self._config.retry_errors else before.attempts + 1
                yield self._handed(Outcome(row=row, key=key, status="ok", attempts=attempts))

    def once_more(self, rows: Iterable[Outcome]) -> Iterator[Outcome]:
        """These rows again."""
        for row in rows:
            yield self._handed(row)

    def _handed(self, row: Outcome) -> Outcome:
        self.handed_out[row.key] = row
        return row

    def _is_done(self, before: Finished) -> bool:
        if before.status != "error":
            return True
        may_pass = before.error_kind in RETRIED_KINDS and before.attempts < self._config.max_attempts
        return not (may_pass or self._config.retry_errors)


class _Tally:
    """Counts rows as they end, and tells whoever listens."""

    def __init__(self, phase: str, total: int, on_progress: OnProgress | None, on_row: OnRow | None) -> None:
        self._phase = phase
        self._total = total
        self._on_progress = on_progress
        self._on_row = on_row
        self._done = self._skipped = 0
        self._statuses: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._cpu_seconds = 0.0

    def add(self, outcome: Outcome) -> None:
        """A row ended in this run."""
        self._cpu_seconds += outcome.cpu_seconds
        self._count(outcome.status, outcome.reason, outcome.error_kind)
        if self._on_row is not None:
            self._on_row(outcome)

    def skip(self, before: Finished) -> None:
        """A row had ended in an earlier run."""
        self._skipped += 1
        self._count(before.status, before.reason, before.error_kind)

    def report(
        self, *, worker_deaths: int, damaged_parts: int, wall_seconds: float, parent_cpu_seconds: float
    ) -> JobReport:
        return JobReport(
            rows=self._done,
            skipped=self._skipped,
            ok=self._statuses["ok"],
            rejected=self._statuses["rejected"],
            reasons=dict(self._reasons.most_common()),
            errors=dict(self._errors.most_common()),
            worker_deaths=worker_deaths,
            damaged_parts=damaged_parts,
            wall_seconds=wall_seconds,
            parent_cpu_seconds=parent_cpu_seconds,
            worker_cpu_seconds=self._cpu_seconds,
        )

    def _count(self, status: str, reason: str | None, error_kind: str | None) -> None:
        self._done += 1
        self._statuses[status] += 1
        if reason is not None:
            self._reasons[reason] += 1
        if error_kind is not None:
            self._errors[error_kind] += 1
        if self._on_progress is not None:
            self._on_progress(self._phase, self._done, max(self._total, self._done))


def _runner(plan: Plan, config: EngineConfig, journal: Journal) -> Runner:
    if config.workers == 0:
        return InlineRunner(plan, config)
    if config.engine == "ray":
        return _ray_runner(plan, config, journal)
    return LocalRunner.open(plan, config, lock=journal.workers_lock)


def _ray_runner(plan: Plan, config: EngineConfig, journal: Journal) -> Runner:
    try:
        from megactor_core.engine.ray_runner import RayRunner
    except ImportError as error:
        raise ConfigError(
            f"The engine `ray` cannot be used here: {error}.", fix='pip install "megactor[ray]"'
        ) from None
    return RayRunner(plan, config, lock=journal.workers_lock, after_wave=journal.merge)


def _require_stages(stages: Sequence[Stage]) -> None:
    names = [stage.name for stage in stages]
    if not stages or len(set(names)) < len(names):
        raise UsageError(f"A job needs stages with names of their own, not {names}.")
    if any(fans_out(stage) for stage in stages[:-1]):
        raise UsageError("A stage that fans out must be the last of its job.")


def _require_row(row: Row, seen: set[str]) -> None:
    name = row.get(ROW_ID)
    if not isinstance(name, str) or not name.isprintable():
        raise UsageError(f"A row has the row_id {name!r}, but it must be printable text.")
    if name in seen:
        raise UsageError(f"Two rows have the row_id '{name}'.")
    taken = RESERVED & row.keys()
    if taken:
        raise UsageError(f"The row '{name}' has the column '{min(taken)}', which the engine writes.")
    try:
        encode_values(row)
    except (TypeError, ValueError) as error:
        raise UsageError(f"The row '{name}' cannot be kept: {error}.") from None


def _own_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
