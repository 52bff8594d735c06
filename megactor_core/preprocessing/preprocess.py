"""megactor preprocess: every clip of a source becomes a training sample, or a row that says why not."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.config.recipes import read_recipe, save_config
from megactor_core.data.sample import FACTS, SAMPLES, IndexRow, write_index
from megactor_core.engine.job import JobReport, run_job
from megactor_core.engine.journal import Journal
from megactor_core.engine.stage import ROW_VERSION, Row
from megactor_core.errors import UsageError
from megactor_core.faces.landmarks import prepare
from megactor_core.files import require_writable_folder, sole_owner, write_json
from megactor_core.media.image import write_image
from megactor_core.preprocessing.publish import index_row
from megactor_core.preprocessing.report import PreprocessReport, summarise
from megactor_core.preprocessing.sheet import sample_sheet
from megactor_core.preprocessing.sources import Source, find_source
from megactor_core.preprocessing.stages import make_stages, settings_of_samples
from megactor_core.preprocessing.workplace import clear_abandoned

CONFIG, JOURNAL, LOCK, SUMMARY, SHEET = "config.yaml", "journal", "lock", "summary.json", "sheet.png"

OnProgress = Callable[[str, int, int], None]
"""on_progress(phase, done, total)"""
OnNote = Callable[[str], None]

_AGAIN: Final = " again"


def preprocess(
    config: PreprocessConfig, on_progress: OnProgress | None = None, on_note: OnNote | None = None
) -> PreprocessReport:
    """Make samples of all clips that are not done yet, then write the index, a summary and a contact sheet.

    A clip that cannot be read or shows no face is a row of the index with its reason and never stops the
    rest; what was done survives any interruption. Sources are only read.
    Raises UsageError where there is nothing to preprocess, the output holds samples of other settings, or
    weights are missing; OutputError where the output cannot be written or another run is at work there.
    """
    progress, note = on_progress or _no_progress, on_note or _no_note
    source = open_source(config, progress=progress, note=note)
    require_same_settings(config)
    stages = make_stages(config, config.output)
    require_writable_folder(config.output)
    with sole_owner(config.output / LOCK):
        save_config(config, config.output / CONFIG)
        samples, journal = config.output / SAMPLES, Journal(config.output / JOURNAL)
        clear_abandoned(samples)
        job = run_job(
            stages,
            _Rows(source, journal, samples),
            journal=journal,
            config=config,
            phase="preprocessing",
            on_progress=progress,
        )
        clear_abandoned(samples)
        index = _index(source, journal, config)
        report = summarise(index, job, source=source, output=config.output)
        _write(report, index, job, config)
    if job.skipped == job.rows:
        note(f"All {job.rows} clips were done already; nothing was computed.")
    return report


def open_source(config: PreprocessConfig, *, progress: OnProgress, note: OnNote) -> Source:
    """The clips, said where they come from, with the face models at hand; raises as `preprocess`."""
    source = find_source(config)
    note(f"{len(source.clips)} clips in {source.described}.")
    prepare(
        config.landmarks, on_progress=lambda done, total: progress("getting the face models", done, total)
    )
    return source


def require_same_settings(config: PreprocessConfig) -> None:
    """Raise UsageError where the output holds samples that were made with other settings."""
    path = config.output / CONFIG
    if not path.is_file():
        return
    earlier = settings_of_samples(PreprocessConfig.build(read_recipe(path), source=f"'{path}'"))
    differing = [(key, earlier.get(key), now) for key, now in settings_of_samples(config).items()]
    differing = [(key, before, now) for key, before, now in differing if before != now]
    if differing:
        key, before, now = differing[0]
        raise UsageError(
            f"The samples in '{config.output}' were made with {key} = {before}, but now {key} is {now}.",
            fix="Choose another --output: one folder holds samples of one kind.",
        )


class _Rows:
    """The rows of the job, of a known number. A finished sample that somebody removed is made again."""

    def __init__(self, source: Source, journal: Journal, samples: Path) -> None:
        self._clips = source.clips
        self._samples = samples
        # What a row was done as, where it became a sample.
        self._done = {row["row_id"]: row[ROW_VERSION] for row in journal.results() if row["status"] == "ok"}

    def __len__(self) -> int:
        return len(self._clips)

    def __iter__(self) -> Iterator[Row]:
        for clip in self._clips:
            row = clip.to_row()
            done = str(self._done.get(clip.sample_id, ""))
            if done.startswith(row[ROW_VERSION]):
                is_there = (self._samples / clip.sample_id / FACTS).is_file()
                row[ROW_VERSION] = done if is_there else done + _AGAIN
            yield row


def _index(source: Source, journal: Journal, config: PreprocessConfig) -> list[IndexRow]:
    wanted = [clip.sample_id for clip in source.clips]
    return [index_row(result, config) for result in journal.results(wanted)]


def _write(
    report: PreprocessReport, index: Sequence[IndexRow], job: JobReport, config: PreprocessConfig
) -> None:
    write_index(config.output, index)
    write_json(config.output / SUMMARY, report.to_json())
    has_sheet = (config.output / SHEET).is_file()
    if report.ok and not (has_sheet and job.skipped == job.rows):
        write_image(config.output / SHEET, sample_sheet(config.output, index))


def _no_progress(_phase: str, _done: int, _total: int) -> None:
    """Nobody listens."""


def _no_note(_text: str) -> None:
    """Nobody listens."""
