"""Reading weight files: nothing in them runs, and every kind of damage is one error."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from megactor_core.errors import WeightsError
from megactor_core.models.tensor_files import (
    DIFFUSERS_FILE,
    DIFFUSERS_INDEX,
    read_diffusers_folder,
    read_tensors,
    require_shapes,
)

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2, dtype=torch.float16)}


class Exploit:
    """Unpickled, it makes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.proof),)


def assert_same(found: dict[str, torch.Tensor]) -> None:
    assert found.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert torch.equal(found[name], value)
        assert found[name].dtype == value.dtype


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "pt", "ckpt", "bin", "model"])
def test_every_kind_of_file_gives_its_tensors(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights.{suffix}"
    if suffix == "safetensors":
        save_file(TENSORS, path)
    else:
        torch.save(TENSORS, path)
    assert_same(read_tensors(path))


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_tensors_of_no_use_are_left_out(tmp_path: Path, suffix: str) -> None:
    counted = {**TENSORS, "a.num_batches_tracked": torch.tensor(3)}
    path = tmp_path / f"weights.{suffix}"
    save_file(counted, path) if suffix == "safetensors" else torch.save(counted, path)
    assert_same(read_tensors(path, leave_out=".num_batches_tracked"))
    with pytest.raises(WeightsError, match=r"is torch\.int64, not a dense"):
        read_tensors(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_state_dict_is_found_in_both_formats_of_torch(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": TENSORS, "epoch": 3}, path, _use_new_zipfile_serialization=zipped)
    assert_same(read_tensors(path))


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: {"state_dict": TENSORS, "extra": e}])
@pytest.mark.parametrize("write", ["torch", "pickle"])
def test_code_in_a_file_is_refused_and_does_not_run(
    tmp_path: Path, write: str, wrap: Callable[[Exploit], Any]
) -> None:
    path, proof = tmp_path / "weights.pth", tmp_path / "proof"
    hostile = wrap(Exploit(proof))
    if write == "torch":
        torch.save(hostile, path)
    else:
        path.write_bytes(pickle.dumps(hostile))
    with pytest.raises(WeightsError, match="objects or code, which are never loaded") as caught:
        read_tensors(path)
    assert not proof.exists()
    assert "weights_only" not in str(caught.value)  # the reader's own advice is to load it all the same
    if write == "pickle":  # for a careless reader it is a working exploit
        pickle.loads(path.read_bytes())
        assert proof.is_dir()


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", b"\x80\x02", bytes(range(256)), b"not weights"],
    ids=["empty", "zip", "pickle", "bytes", "text"],
)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"weights\."):
        read_tensors(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "no tensors by name"),
        ([torch.ones(1)], "no tensors by name"),
        ({"a": torch.ones(2), "b": 3}, "'b' is int"),
        ({"a": torch.ones(2, dtype=torch.int32)}, "'a' is torch.int32"),
        ({3: torch.ones(2)}, "3 is torch.float32"),
        ({"a": torch.ones(2, device="meta")}, "'a' is torch.float32, not a dense"),
        ({"a": torch.ones(2, 2).to_sparse()}, "'a' is torch.float32, not a dense"),
    ],
    ids=["empty", "list", "number", "integers", "number for a name", "no numbers", "sparse"],
)
def test_other_contents_are_refused(tmp_path: Path, content: object, said: str) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=said):
        read_tensors(path)


def test_missing_files_and_unknown_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights file"):
        read_tensors(tmp_path / "nowhere.pth")
    (tmp_path / "weights.onnx").touch()
    with pytest.raises(WeightsError, match=r"'.onnx'; weights are read from .safetensors, .pth"):
        read_tensors(tmp_path / "weights.onnx")


def test_shards_are_joined(tmp_path: Path) -> None:
    for number, (name, value) in enumerate(TENSORS.items()):
        save_file({name: value}, tmp_path / f"part-{number}.safetensors")
    weight_map = {name: f"part-{number}.safetensors" for number, name in enumerate(TENSORS)}
    (tmp_path / DIFFUSERS_INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert_same(read_diffusers_folder(tmp_path))
    (tmp_path / "part-1.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"no weights file .*part-1"):
        read_diffusers_folder(tmp_path)


@pytest.mark.parametrize(
    "weight_map", [None, {}, [], {"a": 3}, {"a": "../outside.safetensors"}, {"a": "/etc/passwd"}]
)
def test_an_index_names_files_beside_it_only(tmp_path: Path, weight_map: object) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    save_file(TENSORS, tmp_path / "outside.safetensors")
    (folder / DIFFUSERS_INDEX).write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(WeightsError, match="does not name the files beside it"):
        read_diffusers_folder(folder)


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff", b"[" * 200_000, b" " * 1_000_001], ids=range(5))
def test_a_broken_index_is_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / DIFFUSERS_INDEX).write_bytes(content)
    with pytest.raises(WeightsError, match=r"index\.json"):
        read_diffusers_folder(tmp_path)


def test_a_folder_without_weights_says_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"neither {DIFFUSERS_FILE}"):
        read_diffusers_folder(tmp_path)


def test_shapes_that_differ_are_named_with_both() -> None:
    found, wanted = {"a": (1, 2), "b": (3,), "d": (5,)}, {"a": (1, 2), "b": (4,), "c": (5,)}
    require_shapes(wanted, wanted, source=Path("file"), fix="")
    for mine, said in (
        (found, r"file: 'b' is \(3,\), the model asks for \(4,\); 3 of 4 tensors do not fit"),
        (wanted | {"d": (5,)}, r"'d' is \(5,\), the model asks for no such tensor; 1 of 4"),
        ({"a": (1, 2), "b": (4,)}, r"'c' is missing, the model asks for \(5,\); 1 of 3"),
    ):
        with pytest.raises(WeightsError, match=said):
            require_shapes(mine, wanted, source=Path("file"), fix="")
