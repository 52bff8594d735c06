"""Tensors out of public weight files: nothing in a file is run, and whatever is wrong becomes one error."""

import zipfile
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from megactor_core import files
from megactor_core.errors import WeightsError

SAFETENSORS = ".safetensors"
PICKLES = (".pth", ".pt", ".ckpt", ".bin", ".model")
"""Suffixes of files that torch.save wrote."""
DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"
DIFFUSERS_INDEX = f"{DIFFUSERS_FILE}.index.json"
MAX_JSON_BYTES = 1_000_000
MAX_REPEATED_BYTES = 2**30
"""Of a tensor that repeats the numbers of its file: it takes that room as soon as it is copied (ours)."""

Layers = Mapping[str, tuple[str, ...]]
"""Another code base's layer -> ours; several of ours where the other stacks them along one tensor's rows."""
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class TensorGroup:
    """Tensors that share a fate: their names, and how many numbers they hold together."""

    names: tuple[str, ...]
    parameters: int

    @staticmethod
    def of(tensors: Mapping[str, Tensor], names: Iterable[str]) -> "TensorGroup":
        chosen = tuple(names)
        return TensorGroup(names=chosen, parameters=sum(tensors[name].numel() for name in chosen))

    def to_json(self) -> dict[str, int]:
        """Counts only: a full model has hundreds of names."""
        return {"tensors": len(self.names), "parameters": self.parameters}


def group_tensors(tensors: Mapping[str, Tensor], group_of: Mapping[str, str]) -> dict[str, TensorGroup]:
    """The tensors that `group_of` names, by their group."""
    names: dict[str, list[str]] = {}
    for name, group in group_of.items():
        names.setdefault(group, []).append(name)
    return {group: TensorGroup.of(tensors, members) for group, members in names.items()}


def read_tensors(path: Path, *, leave_out: str | None = None) -> dict[str, Tensor]:
    """All tensors of a file, on the CPU and in the file's precision; none whose name ends in `leave_out`.

    Reads .safetensors, and the .pth, .pt, .ckpt, .bin and .model files of torch.save; of those only tensors
    in plain containers, taken from under "state_dict" where that key is. Raises WeightsError for a file that
    is missing, damaged or of another kind, that holds objects or code, or other tensors than floating point.
    """
    if not path.is_file():
        raise WeightsError(f"There is no weights file '{path}'.", fix="Check the path.")
    if path.suffix == SAFETENSORS:
        return _only_floats(_without(_read_safetensors(path), leave_out), path)
    if path.suffix in PICKLES:
        return _only_floats(_without(_read_pickle(path), leave_out), path)
    raise WeightsError(
        f"'{path}' has the suffix '{path.suffix}'; weights are read from "
        f"{', '.join((SAFETENSORS, *PICKLES))} files.",
        fix="Name the weights file itself.",
    )


def read_diffusers_folder(folder: Path) -> dict[str, Tensor]:
    """The tensors of a network in diffusers' layout of files: one .safetensors file, or shards and an index.

    Raises WeightsError as `read_tensors` does, and for a folder or an index without such files.
    """
    index = folder / DIFFUSERS_INDEX
    shards = _shards(index) if index.is_file() else [folder / DIFFUSERS_FILE]
    if not index.is_file() and not shards[0].is_file():
        raise WeightsError(
            f"The folder '{folder}' holds neither {DIFFUSERS_FILE} nor {DIFFUSERS_INDEX}.",
            fix="Name the transformer folder of a diffusers release, or the weights file itself.",
        )
    return {name: value for file in shards for name, value in read_tensors(file).items()}


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON file that holds a mapping; raises WeightsError for any other."""
    try:
        values = files.read_json(path, max_bytes=MAX_JSON_BYTES)
    except (OSError, ValueError) as error:
        raise WeightsError(f"Cannot read {path}: {error}.", fix="Get the folder again.") from None
    if not isinstance(values, dict):
        raise WeightsError(f"{path} holds a {type(values).__name__}, not a mapping.", fix="Get it again.")
    return values


def expand_layers(layers: Layers, ours: Container[str]) -> dict[str, tuple[str, ...]]:
    """Layer names made tensor names: a weight and where we have one a bias, or the layer's own name."""
    return {
        theirs + suffix: tuple(name + suffix for name in names)
        for theirs, names in layers.items()
        for suffix in ("", ".weight", ".bias")
        if names[0] + suffix in ours
    }


def require_shapes(found: Shapes, wanted: Shapes, *, source: Path, fix: str) -> None:
    """Raise WeightsError that names the first tensor that is missing, unexpected or of another shape."""
    names = sorted(found.keys() | wanted.keys())
    bad = [name for name in names if found.get(name) != wanted.get(name)]
    if bad:
        raise WeightsError(
            f"{source}: '{bad[0]}' is {found.get(bad[0], 'missing')}, the model asks for "
            f"{wanted.get(bad[0], 'no such tensor')}; {len(bad)} of {len(names)} tensors do not fit.",
            fix=fix,
        )


def _shards(index: Path) -> list[Path]:
    weight_map = read_json(index).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise WeightsError(f"{index} does not name the files beside it.", fix="Get the folder again.")
    return [index.parent / name for name in sorted(set(names))]


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"Cannot read '{path}': {error}.", fix="Get the file again.") from None


def _read_pickle(path: Path) -> Any:
    _require_no_bomb(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # broken bytes make the reader raise whatever they happen to mean
        # The reader's own message is left out: it advises to load such a file unsafely.
        raise WeightsError(
            f"'{path}' is not a file of tensors alone ({type(error).__name__}): it is damaged, claims to be "
            "larger than memory, or holds objects or code, which are never loaded.",
            fix="Get the file again from its publisher, or a .safetensors file of the same weights.",
        ) from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        return content["state_dict"]
    return content


def _require_no_bomb(path: Path) -> None:
    """torch.save compresses nothing: an archive that unpacks to more than its size is none of its own."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except Exception:  # no archive, or a broken one: torch says what it is
        return
    if unpacked > path.stat().st_size:
        raise WeightsError(
            f"'{path}' has {path.stat().st_size} bytes, but unpacks to {unpacked}.",
            fix="Get the file again from its publisher.",
        )


def _without(content: Any, ending: str | None) -> Any:
    if ending is None or not isinstance(content, dict):
        return content
    return {name: value for name, value in content.items() if not str(name).endswith(ending)}


def _only_floats(content: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"'{path}' holds no tensors by name.", fix="Name another weights file.")
    for name, value in content.items():
        if not isinstance(name, str) or not _is_plain_float(value):
            kind = str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
            raise WeightsError(
                f"'{path}': {name!r} is {kind}, not a dense floating-point tensor.",
                fix="Name a file of model weights.",
            )
        claimed_bytes = value.numel() * value.element_size()
        if claimed_bytes > max(value.untyped_storage().nbytes(), MAX_REPEATED_BYTES):
            raise WeightsError(
                f"'{path}': {name!r} claims {value.numel()} numbers, but the file holds "
                f"{value.untyped_storage().nbytes() // value.element_size()} for it.",
                fix="Get the file again from its publisher.",
            )
    return content


def _is_plain_float(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.is_floating_point()
        and value.layout is torch.strided
        and value.device.type == "cpu"  # a file can hold tensors without numbers, on the meta device
    )
