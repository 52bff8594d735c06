"""Public networks in folders, read by their own libraries: whatever is wrong there becomes one error."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from megactor_core.errors import WeightsError


def load_pretrained(network: Any, folder: Path) -> Any:
    """`network.from_pretrained(folder)` from safetensors only; nothing is fetched and no code is run.

    Raises WeightsError for a folder that the library cannot read, and for one that lacks tensors: the
    libraries would draw those at random and go on.
    """
    try:
        model, report = network.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, TypeError, AttributeError, KeyError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise _unusable(folder, reason) from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise _unusable(folder, f"{len(missing)} tensors are missing, the first is '{missing[0]}'")
    return model


def _unusable(folder: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"Cannot read the weights in '{folder}': {reason.rstrip('.')}.",
        fix="Copy the folder again, or fetch it with `megactor weights pull`.",
    )
