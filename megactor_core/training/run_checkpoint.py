"""Checkpoints of a run: everything that going on bit for bit needs, whole or not there at all.

checkpoints/step-00001000/
    weights.safetensors     the trained parameters, by name
    average.safetensors     their moving average
    optimiser.safetensors   AdamW's moments, `<parameter>/<moment>`
    state.json              the step, the next sample, what else is counted
    manifest.json           size and SHA-256 of each file

Parameters that the stage does not train are in checkpoints/start/, an ordinary checkpoint that is written
once. No state of a random generator is kept: every draw is made from (seed, number).
"""

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from megactor_core.errors import WeightsError
from megactor_core.files import atomic_folder, read_json, sha256_of, write_json

CHECKPOINTS, START = "checkpoints", "start"
WEIGHTS, AVERAGE, OPTIMISER = "weights.safetensors", "average.safetensors", "optimiser.safetensors"
STATE, MANIFEST = "state.json", "manifest.json"
_PREFIX = "step-"
_FILES = {WEIGHTS, AVERAGE, OPTIMISER, STATE}

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: steps done, the sample that comes next, the loss of the last step."""

    step: int = 0
    next_index: int = 0
    loss: float | None = None
    data: str = ""
    """Fingerprint of the data; empty where it is not known."""
    grad_scale: float | None = None
    """Loss scale of float16; None for other precisions."""
    grad_scale_age: int = 0
    """Steps since the loss scale changed."""


@dataclass(frozen=True, slots=True)
class RunState:
    """What a run checkpoint holds."""

    progress: Progress
    weights: Tensors
    average: Tensors
    optimiser: Tensors


def checkpoint_folder(run: Path, step: int) -> Path:
    return run / CHECKPOINTS / f"{_PREFIX}{step:08d}"


def start_folder(run: Path) -> Path:
    """The model as the run found it."""
    return run / CHECKPOINTS / START


def save_state(run: Path, state: RunState, *, keep: int) -> Path:
    """Write the checkpoint of a step, then remove all but the newest `keep`; the folder written.

    An earlier folder of the same step, which can only be a damaged one, is replaced. Raises OSError where
    the disk is full or cannot be written; older checkpoints are then as they were.
    """
    folder = checkpoint_folder(run, state.progress.step)
    shutil.rmtree(folder, ignore_errors=True)
    with atomic_folder(folder) as temporary:
        for name, tensors in (
            (WEIGHTS, state.weights),
            (AVERAGE, state.average),
            (OPTIMISER, state.optimiser),
        ):
            save_file({key: value.contiguous() for key, value in tensors.items()}, temporary / name)
        write_json(temporary / STATE, asdict(state.progress))
        write_json(temporary / MANIFEST, {name: _fingerprint(temporary / name) for name in sorted(_FILES)})
    keep_newest(run, keep)
    return folder


def keep_newest(run: Path, count: int) -> None:
    """Remove the older checkpoints, of which a kill may have left some."""
    for old in step_folders(run)[:-count]:
        _remove(old)


def _remove(folder: Path) -> None:
    """Remove a checkpoint, which loses its name first: a part of one is none."""
    hidden = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    with suppress(OSError):
        os.rename(folder, hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def newest_valid(run: Path, on_damage: Callable[[str], None]) -> Path | None:
    """The newest checkpoint whose files are what its manifest says; None where the run has made none.

    `on_damage` hears of newer ones that are not whole. Raises WeightsError where none of them is.
    """
    folders = step_folders(run)
    for folder in reversed(folders):
        damage = find_damage(folder)
        if damage is None:
            return folder
        on_damage(f"{damage} It is passed over.")
    if folders:
        raise WeightsError(
            f"None of the {len(folders)} checkpoints in '{run / CHECKPOINTS}' is whole.",
            fix="Copy them again, or train anew with another --output.",
        )
    return None


def step_folders(run: Path) -> list[Path]:
    """The run's checkpoints, oldest first."""
    found = [path for path in (run / CHECKPOINTS).glob(f"{_PREFIX}*") if path.is_dir() and _step(path) >= 0]
    return sorted(found, key=_step)


def find_damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, as a sentence; None where every file is as it was written."""
    try:
        manifest = read_json(folder / MANIFEST)
        if set(manifest) != _FILES:
            return f"The checkpoint '{folder}' has another manifest than this version writes."
        for name, expected in manifest.items():
            if _fingerprint(folder / name) != expected:
                return f"The checkpoint file '{folder / name}' is not what its manifest says."
    except (OSError, ValueError, TypeError) as error:
        return f"The checkpoint '{folder}' cannot be read ({error})."
    return None


def load_state(folder: Path) -> RunState:
    """Read a checkpoint that `newest_valid` found; raises WeightsError for contents that do not fit."""
    try:
        return RunState(
            progress=Progress(**read_json(folder / STATE)),
            weights=load_file(folder / WEIGHTS),
            average=load_file(folder / AVERAGE),
            optimiser=load_file(folder / OPTIMISER),
        )
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise WeightsError(
            f"Cannot read the checkpoint '{folder}': {error}.", fix="Copy it again, or remove it."
        ) from None


def clear_leftovers(run: Path) -> None:
    """Remove what a killed run left half written; only for the owner of the run's lock."""
    for folder in (run, run / CHECKPOINTS):
        for path in folder.glob(".*.partial-*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _step(folder: Path) -> int:
    """The step in a checkpoint's name; -1 for other folders."""
    digits = folder.name.removeprefix(_PREFIX)
    return int(digits) if digits.isdecimal() else -1


def _fingerprint(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
