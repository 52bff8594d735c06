"""The output folder of `megactor curate`: what lies in it, and whose it is.

config.yaml  journal/  lock     of the runs
run.json                        how the last run began and ended, for `--status`
manifest.parquet                what preprocess reads
summary.json  report.html       for scripts, and for people
pictures/                       small frames of the clips that reports have shown
work/                           of a run that is at work
"""

from typing import Final

from megactor_core.config.curate import CurateConfig
from megactor_core.config.recipes import read_recipe
from megactor_core.errors import ConfigError, OutputError, UsageError

CONFIG, JOURNAL, LOCK, SUMMARY, WORK = "config.yaml", "journal", "lock", "summary.json", "work"
RUN: Final = "run.json"
REPORT, PICTURES = "report.html", "pictures"
_ANOTHER: Final = "Choose another --output: what lies there is left alone."


def require_own_output(config: CurateConfig) -> None:
    """Check that the output is empty or of earlier runs; raises OutputError where it is something else."""
    folder = config.output
    if not folder.is_dir():
        return  # nothing there, or what cannot be written to, which is found out when it is tried
    # Hidden files are the system's; a run that was stopped at once leaves its lock.
    visible = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - {LOCK, RUN}
    if visible and not (CONFIG in visible and (visible == {CONFIG} or JOURNAL in visible)):
        raise OutputError(f"'{folder}' is not empty, and holds nothing that was curated here.", fix=_ANOTHER)
    if visible:
        saved_config(config)


def earlier_config(config: CurateConfig) -> CurateConfig:
    """The settings of the run that made the output; raises UsageError where there is none."""
    if not (config.output / JOURNAL).is_dir() or not (config.output / CONFIG).is_file():
        raise UsageError(
            f"There is nothing to decide on in '{config.output}'.",
            fix="Run `megactor curate` first, or give its --output.",
        )
    return saved_config(config)


def saved_config(config: CurateConfig) -> CurateConfig:
    """The settings in the output; raises OutputError where they are none of this version."""
    path = config.output / CONFIG
    try:
        return CurateConfig.build(read_recipe(path), source=f"'{path}'")
    except ConfigError as error:
        raise OutputError(
            f"'{config.output}' holds no settings of this version of megactor ({error.message}).",
            fix=_ANOTHER,
        ) from None
