"""The output folder of `megactor preprocess`: whose it is, what it holds, and what in it is whole.

config.yaml  journal/  lock   of the runs
samples/  index.parquet       what training reads
summary.json  sheet.png       for people
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from megactor_core.config.preprocess import PreprocessConfig, settings_of_samples
from megactor_core.config.recipes import read_recipe
from megactor_core.data.sample import SAMPLES, IndexRow
from megactor_core.engine.journal import Journal
from megactor_core.engine.stage import ROW_ID, Row
from megactor_core.errors import ConfigError, OutputError, UsageError
from megactor_core.preprocessing.sources import Source

CONFIG, JOURNAL, LOCK, SUMMARY, SHEET = "config.yaml", "journal", "lock", "summary.json", "sheet.png"

_ANOTHER: Final = "Choose another --output"


def require_own_output(config: PreprocessConfig) -> None:
    """Check that the output is empty, or of earlier runs with the same settings.

    Raises OutputError where it holds something else, UsageError where its samples are of other settings.
    """
    folder = config.output
    if not folder.is_dir():
        return  # nothing there, or what cannot be written to, which is found out when it is tried
    # Hidden files are the system's; a run that was stopped at once leaves its lock.
    visible = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - {LOCK}
    if not visible:
        return
    try:
        earlier = PreprocessConfig.build(read_recipe(folder / CONFIG), source=f"'{folder / CONFIG}'")
    except ConfigError:
        raise _not_ours(folder) from None
    if visible != {CONFIG} and JOURNAL not in visible:
        raise _not_ours(folder)
    _require_same_settings(config, earlier)


def require_same_source(config: PreprocessConfig, source: Source, journal: Journal) -> None:
    """Raise OutputError where all samples in the output are of clips that the source does not have.

    A source that grew, or lost some clips, is the same; one without any of them is another, and its index
    would take the place of theirs.
    """
    known = [row for row in journal.results() if row["status"] == "ok"]
    if known and not {row[ROW_ID] for row in known} & {clip.sample_id for clip in source.clips}:
        raise OutputError(
            f"'{config.output}' holds {len(known)} samples of other clips, such as "
            f"'{known[0]['source_uri']}'; {source.described} has none of them.",
            fix=f"{_ANOTHER}, or put all clips into one folder or manifest.",
        )


def is_whole(folder: Path, result: Row) -> bool:
    """Whether a sample has every file that its result recorded, in the recorded size."""
    files = result.get("files") or {}
    try:
        return bool(files) and all((folder / name).stat().st_size == size for name, size in files.items())
    except OSError:
        return False


def unlisted_samples(output: Path, index: Sequence[IndexRow]) -> list[str]:
    """Names of the samples that lie in the output and are not in its index."""
    listed = {row.sample_id for row in index if row.status == "ok"}
    samples = output / SAMPLES
    there = (path.name for path in samples.iterdir()) if samples.is_dir() else iter(())
    return sorted(name for name in there if not name.startswith(".") and name not in listed)


def _require_same_settings(config: PreprocessConfig, earlier: PreprocessConfig) -> None:
    before = settings_of_samples(earlier)
    for key, now in settings_of_samples(config).items():
        if before.get(key) != now:
            raise UsageError(
                f"The samples in '{config.output}' were made with {key} = {before.get(key)}, "
                f"but now {key} is {now}.",
                fix=f"{_ANOTHER}: one folder holds samples of one kind.",
            )


def _not_ours(folder: Path) -> OutputError:
    return OutputError(
        f"'{folder}' is not empty, and holds no samples of this version of megactor.",
        fix=f"{_ANOTHER}: what lies there is left alone.",
    )
