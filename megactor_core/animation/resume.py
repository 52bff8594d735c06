"""Going on with an interrupted run, and knowing a finished one."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from megactor_core.animation.plan import CADENCE, Plan
from megactor_core.animation.report import AnimateReport
from megactor_core.animation.store import RunFolder
from megactor_core.errors import (
    ConfigError,
    Interrupted,
    MegActorError,
    OutOfMemory,
    OutputError,
    UsageError,
)
from megactor_core.files import read_json, sha256_of
from megactor_core.models.checkpoint import EMBEDDED, Checkpoint, checkpoint_sha256


def finished(job: Plan) -> AnimateReport | None:
    """The report of a finished run of the same settings, inputs and weights whose video is whole.

    None without --resume, and where the work is to be done.
    """
    if not job.config.resume:
        return None
    try:
        description = read_json(job.outputs.description)
        if _is_of_this_run(job, description) and _is_whole(job, description):
            report = AnimateReport.from_json(description)
            _clear_away(RunFolder.of(job.outputs.video))
            return report
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None


def _clear_away(folder: RunFolder) -> None:
    """Remove what a run kept that was killed after its video was complete."""
    if folder.exists():
        with suppress(OutputError, OSError):  # another run may be at work there, anew
            folder.claim()
            folder.remove()


def open_run(job: Plan, checkpoint: Checkpoint) -> RunFolder:
    """The run's folder, claimed: an interrupted run's with --resume, else a new one.

    Raises ConfigError where the interrupted run had other settings, inputs or weights, OutputError where
    another run is at work on the same output.
    """
    wanted = {
        **_identity(job.config.model_dump(mode="json")),
        "checkpoint weights": checkpoint.sha256,
        "input files": job.input_hashes(),
    }
    folder = RunFolder.of(job.outputs.video)
    folder.claim()
    try:
        if job.config.resume and folder.exists():
            _require_same_run(folder, wanted)
        else:
            folder.start({"run": wanted})
    except BaseException:
        folder.close()
        raise
    return folder


@contextmanager
def kept_when_interrupted(folder: RunFolder) -> Iterator[RunFolder]:
    """Remove the run's folder when the block ends well, or when its work could not begin.

    A run that is interrupted, or fails later (a full disk or memory, say), keeps it for --resume. Raises
    Interrupted in place of KeyboardInterrupt.
    """
    try:
        yield folder
    except KeyboardInterrupt:
        steps = folder.state().get("steps_done", 0)
        folder.close()
        raise Interrupted(
            f"Interrupted; the drivers and {steps} solver steps are kept in '{folder.path}'."
            if "conditions" in folder.state()
            else "Interrupted before anything was worth keeping.",
            fix="Run the same command with --resume to go on.",
        ) from None
    except UsageError:
        if "conditions" not in folder.state():
            folder.remove()
        folder.close()
        raise
    except OutOfMemory as error:
        if "conditions" not in folder.state():
            folder.remove()
            folder.close()
            raise
        folder.close()
        raise OutOfMemory(
            f"{error.message} The work so far is kept in '{folder.path}'.",
            fix=f"{error.fix} Without such a change the same command with --resume goes on.",
        ) from None
    except OSError as error:
        folder.close()
        raise MegActorError(
            f"{error.strerror or error}; the work so far is kept in '{folder.path}'.",
            fix="Mend that (free some space, say) and run the same command with --resume to go on.",
        ) from None
    except BaseException:
        folder.close()
        raise
    folder.remove()


def _require_same_run(folder: RunFolder, wanted: dict[str, Any]) -> None:
    found = folder.state().get("run")
    found = found if isinstance(found, dict) else {}
    for key in wanted:
        if found.get(key) != wanted[key]:
            raise ConfigError(
                f"Cannot go on with '{folder.path}': {key} was {found.get(key)!r}, now {wanted[key]!r}.",
                fix="Use the settings of the interrupted run, or leave --resume out to start anew.",
            )


def _identity(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in CADENCE}


def _is_of_this_run(job: Plan, description: dict[str, Any]) -> bool:
    return (
        _identity(description["config"]) == _identity(job.config.model_dump(mode="json"))
        and description["inputs"] == job.input_hashes()
        and description["checkpoint_sha256"] == checkpoint_sha256(job.config.checkpoint or EMBEDDED)
    )


def _is_whole(job: Plan, description: dict[str, Any]) -> bool:
    extras = [path for path in (job.outputs.compare, job.outputs.sheet) if path is not None]
    if not all(path.exists() for path in (job.outputs.video, *extras)):
        return False
    return sha256_of(job.outputs.video) == description["sha256"]
