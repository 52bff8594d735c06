"""megactor curate: every clip is measured, cheapest measures first, and kept or rejected with reasons."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from megactor_core.config.curate import CurateConfig
from megactor_core.config.recipes import save_config
from megactor_core.curation.gates import GatePlan, plan_gates
from megactor_core.curation.manifest import judge
from megactor_core.curation.output import CONFIG, JOURNAL, LOCK, WORK, require_own_output
from megactor_core.curation.publish import publish
from megactor_core.curation.rows import Rows, as_they_are
from megactor_core.curation.run_record import RunRecord, recorded
from megactor_core.curation.sources import Sources, find_sources
from megactor_core.curation.summary import CurateReport
from megactor_core.engine.job import JobReport, run_job
from megactor_core.engine.journal import Journal
from megactor_core.engine.stage import ROW_ID, Outcome, Row, Stage
from megactor_core.errors import Interrupted
from megactor_core.files import require_writable_folder, sole_owner
from megactor_core.listener import Listener, OnNote, OnProgress


def curate(
    config: CurateConfig, on_progress: OnProgress | None = None, on_note: OnNote | None = None
) -> CurateReport:
    """Measure all clips that are not done yet, decide on all, and write the manifest and a summary.

    A clip that cannot be read is a row with its error and never stops the rest; what was done survives any
    interruption, and a clip that an earlier run stopped at a rule which is looser now goes on from there.
    Sources are only read.
    Raises UsageError where there is nothing to curate or weights are missing that nothing may stand in for;
    OutputError where the output holds something else, cannot be written or another run is at work there;
    Interrupted on Ctrl-C (the same call goes on).
    """
    listener = Listener.of(on_progress, on_note)
    sources = find_sources(config)
    require_own_output(config)
    plan = plan_gates(config.measure, on_progress=listener.phase("getting the face models"))
    announce(listener, sources, plan)
    require_writable_folder(config.output)
    with sole_owner(config.output / LOCK):
        journal = Journal(config.output / JOURNAL)
        save_config(config, config.output / CONFIG)
        earlier = {row[ROW_ID]: row for row in journal.results()}
        work = config.output.absolute() / WORK
        with recorded(_record(sources, earlier, journal, plan), config.output):
            try:
                rows = Rows(sources, earlier, plan=plan, config=config)
                job = _work(stages_of(config, plan, work), rows, journal, config, listener.progress)
            finally:
                shutil.rmtree(work, ignore_errors=True)  # of this run and of killed ones: no worker is left
            results = as_they_are(journal.results(), sources)
            judged = judge(results, config.rules, gates=plan.gates, versions=plan.versions)
            return publish(judged, config, missing=[asdict(item) for item in plan.missing], job=job)


def announce(listener: Listener, sources: Sources, plan: GatePlan) -> None:
    """Say what there is to curate, and what cannot be measured of it."""
    datasets = sorted({clip.dataset for clip in sources.clips})
    listener.note(f"{len(sources.clips)} clips in {', '.join(datasets)}.")
    for text in sources.notes:
        listener.note(text)
    for missing in plan.missing:
        instead = f"; in its place: {missing.instead}" if missing.instead else ""
        listener.note(f"Not measured: {missing.what}{instead}. {missing.fix}")


def _record(sources: Sources, earlier: Mapping[str, Row], journal: Journal, plan: GatePlan) -> RunRecord:
    return RunRecord.of_this_process(
        run=journal.last_run() + 1,
        clips=len(sources.clips),
        elsewhere=len(earlier.keys() - {clip.clip_id for clip in sources.clips}),
        plan=plan,
    )


def stages_of(config: CurateConfig, plan: GatePlan, work: Path) -> list[Stage]:
    """The stages of a run; `work` is for crops."""
    # Brings PyTorch along, which takes longer to load than a mistake in a path takes to find.
    from megactor_core.curation.stages import make_stages

    return make_stages(config, plan, work=work)


def _work(
    stages: Sequence[Stage], rows: Rows, journal: Journal, config: CurateConfig, progress: OnProgress
) -> JobReport:
    """Run the job; its progress tells the pace, an interruption how far it came."""
    ended, video_seconds, begun = 0, 0.0, time.monotonic()

    def add(outcome: Outcome) -> None:
        nonlocal video_seconds
        video_seconds += outcome.row["measures"].get("seconds") or 0.0

    def count(phase: str, done: int, total: int) -> None:
        nonlocal ended
        ended = done
        pace = video_seconds / max(time.monotonic() - begun, 1e-9)
        progress(f"{phase}, {pace:.1f} x real time" if video_seconds else phase, done, total)

    try:
        return run_job(
            stages, rows, journal=journal, config=config, phase="curating", on_progress=count, on_row=add
        )
    except (KeyboardInterrupt, Interrupted) as stop:
        kind = type(stop) if isinstance(stop, Interrupted) else Interrupted
        raise kind(
            f"Interrupted; {ended} of {len(rows)} clips are done in '{config.output}'.",
            fix="Run the same command again to go on.",
        ) from None
