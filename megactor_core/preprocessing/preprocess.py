"""megactor preprocess: every clip of a source becomes a training sample, or a row that says why not."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.config.recipes import save_config
from megactor_core.config.splits import SPLITS
from megactor_core.data.sample import SAMPLES, IndexRow, write_index
from megactor_core.engine.job import JobReport, run_job
from megactor_core.engine.journal import Journal
from megactor_core.engine.stage import ROW_VERSION, Row, Stage
from megactor_core.errors import Interrupted, MegActorError
from megactor_core.faces.landmarks import prepare
from megactor_core.files import require_writable_folder, sole_owner, write_json
from megactor_core.listener import Listener, OnNote, OnProgress
from megactor_core.media.image import write_image
from megactor_core.preprocessing.output import (
    CONFIG,
    JOURNAL,
    LOCK,
    SHEET,
    SUMMARY,
    is_whole,
    require_own_output,
    require_same_source,
    unlisted_samples,
)
from megactor_core.preprocessing.publish import index_row
from megactor_core.preprocessing.report import PreprocessReport, summarise
from megactor_core.preprocessing.sheet import sample_sheet
from megactor_core.preprocessing.sources import Source, find_source
from megactor_core.preprocessing.workplace import clear_abandoned

_AGAIN: Final = " again"


def preprocess(
    config: PreprocessConfig, on_progress: OnProgress | None = None, on_note: OnNote | None = None
) -> PreprocessReport:
    """Make samples of all clips that are not done yet, then write the index, a summary and a contact sheet.

    A clip that cannot be read or shows no face is a row of the index with its reason and never stops the
    rest; what was done survives any interruption. Sources are only read.
    Raises UsageError where there is nothing to preprocess, the output holds samples of other settings, or
    weights are missing; OutputError where the output holds something else or samples of other clips alone,
    cannot be written or another run is at work there; Interrupted on Ctrl-C (the same call goes on).
    """
    listener = Listener.of(on_progress, on_note)
    progress, note = listener.progress, listener.note
    source = open_source(config, progress=progress, note=note)
    require_own_output(config)
    stages = _stages(config)
    require_writable_folder(config.output)
    with sole_owner(config.output / LOCK):
        samples, journal = config.output / SAMPLES, Journal(config.output / JOURNAL)
        require_same_source(config, source, journal)
        save_config(config, config.output / CONFIG)
        try:
            job = _work(stages, _Rows(source, journal, samples), journal, config, progress)
        finally:
            clear_abandoned(samples)  # of this run and of killed ones: all their workers are gone by now
        index = _index(source, journal, config)
        report = summarise(index, job, source=source, output=config.output)
        write_index(config.output, index)
        write_json(config.output / SUMMARY, report.to_json())
        for text in _remarks(report, index, job, config):
            note(text)
        _write_sheet(index, job, config, note=note)
    return report


def _stages(config: PreprocessConfig) -> list[Stage]:
    # Brings PyTorch along, which takes longer to load than a mistake in a path takes to find.
    from megactor_core.preprocessing.stages import make_stages

    return make_stages(config, config.output)


def _work(
    stages: Sequence[Stage], rows: "_Rows", journal: Journal, config: PreprocessConfig, progress: OnProgress
) -> JobReport:
    """Run the job; an interruption says how far it came."""
    ended = 0

    def count(phase: str, done: int, total: int) -> None:
        nonlocal ended
        ended = done
        progress(phase, done, total)

    try:
        return run_job(stages, rows, journal=journal, config=config, phase="preprocessing", on_progress=count)
    except (KeyboardInterrupt, Interrupted) as stop:
        kind = type(stop) if isinstance(stop, Interrupted) else Interrupted
        raise kind(
            f"Interrupted; {ended} of {len(rows)} clips are done in '{config.output}'.",
            fix="Run the same command again to go on.",
        ) from None


def open_source(config: PreprocessConfig, *, progress: OnProgress, note: OnNote) -> Source:
    """The clips, said where they come from, with the face models at hand; raises as `preprocess`."""
    source = find_source(config)
    note(f"{len(source.clips)} clips in {source.described}.")
    for text in source.notes:
        note(text)
    prepare(
        config.landmarks, on_progress=lambda done, total: progress("getting the face models", done, total)
    )
    return source


class _Rows:
    """The rows of the job, of a known number. A finished sample that was removed or damaged is made again."""

    def __init__(self, source: Source, journal: Journal, samples: Path) -> None:
        self._clips = source.clips
        self._samples = samples
        self._done = {row["row_id"]: row for row in journal.results() if row["status"] == "ok"}

    def __len__(self) -> int:
        return len(self._clips)

    def __iter__(self) -> Iterator[Row]:
        for clip in self._clips:
            row = clip.to_row()
            before = self._done.get(clip.sample_id)
            done = "" if before is None else str(before[ROW_VERSION])
            if before is not None and done.startswith(row[ROW_VERSION]):
                is_there = is_whole(self._samples / clip.sample_id, before)
                row[ROW_VERSION] = done if is_there else done + _AGAIN
            yield row


def _index(source: Source, journal: Journal, config: PreprocessConfig) -> list[IndexRow]:
    wanted = [clip.sample_id for clip in source.clips]
    return [index_row(result, config) for result in journal.results(wanted)]


def _remarks(
    report: PreprocessReport, index: Sequence[IndexRow], job: JobReport, config: PreprocessConfig
) -> Iterator[str]:
    """What people should know of a run that ended."""
    if job.skipped == job.rows:
        yield f"All {job.rows} clips were done already; nothing was computed."
    unlisted = unlisted_samples(config.output, index)
    if unlisted:
        yield (
            f"'{config.output / SAMPLES}' also holds {len(unlisted)} samples that are not of this source or "
            f"no longer good, such as '{unlisted[0]}'; they are not in the index. Remove them if you do not "
            "want them, or give their source again."
        )
    for split in SPLITS:
        if report.ok and not report.identities_by_split[split]:
            yield (
                f"No identity is in the split '{split}': of {sum(report.identities_by_split.values())} "
                "identities, each is put there by a hash of its name, nine to train for one to validation. "
                "Give more identities, or a manifest with a column `split`."
            )


def _write_sheet(
    index: Sequence[IndexRow], job: JobReport, config: PreprocessConfig, *, note: OnNote
) -> None:
    """Write the contact sheet where it may have changed; samples that cannot be shown are only remarked."""
    path = config.output / SHEET
    if not any(row.status == "ok" for row in index) or (path.is_file() and job.skipped == job.rows):
        return
    try:
        picture = sample_sheet(config.output, index)
    except MegActorError as error:
        note(f"No contact sheet: {error}")
    else:
        write_image(path, picture)
