"""Public networks in folders, read by their own libraries: whatever is wrong there becomes one error."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megactor_core.errors import WeightsError, first_line
from megactor_core.files import read_json

MAX_CONFIG_BYTES = 1_000_000
NAMES_OF_CODE = frozenset({"auto_map", "custom_pipelines", "trust_remote_code", "quantization_config"})
"""Keys by which a config.json can name code, or a library that is to be loaded, beside the network's own."""
HARMLESS_PRIVATE_KEYS = frozenset({"_class_name", "_commit_hash", "_diffusers_version", "_name_or_path"})
"""Of the keys with an underscore, those that say where a folder comes from. The libraries keep settings of
their own under others: one of them made transformers before 5.3 load code (CVE-2026-4372)."""


def load_pretrained(network: Any, folder: Path) -> Any:
    """`network.from_pretrained(folder)` from safetensors only; nothing is fetched and no code is run.

    Raises WeightsError for a folder that the library cannot read, whose config.json names code, or that lacks
    tensors: the libraries would draw those at random and go on.
    """
    _require_plain_config(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong is said below, in one error
            model, report = network.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except Exception as error:  # odd values make the libraries raise whatever they happen to mean
        raise _unusable(folder, first_line(error)) from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise _unusable(folder, f"{len(missing)} tensors are missing, the first is '{missing[0]}'")
    return model


def _require_plain_config(folder: Path) -> None:
    try:
        config = read_json(folder / "config.json", max_bytes=MAX_CONFIG_BYTES)
    except (OSError, ValueError) as error:
        raise _unusable(folder, f"config.json: {first_line(error)}") from None
    if not isinstance(config, dict):
        raise _unusable(folder, "config.json holds no settings by name")
    for key in _keys(config):
        if key in NAMES_OF_CODE or (key.startswith("_") and key not in HARMLESS_PRIVATE_KEYS):
            raise _unusable(folder, f"config.json has the setting '{key}', which can make it load code")


def _keys(value: Any) -> Iterator[str]:
    """The keys of a JSON value at any depth."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    yield from value if isinstance(value, dict) else ()
    for item in inner:
        yield from _keys(item)


def _unusable(folder: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"Cannot read the weights in '{folder}': {reason.rstrip('.')}.",
        fix="Copy the folder again, or fetch it with `megactor weights pull`.",
    )
