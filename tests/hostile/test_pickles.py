"""Nothing in a file is ever run: each pickle here would make a folder, and for a careless reader it does."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from megactor_core.animation.conditions import AUDIO_INDEX
from megactor_core.config.curate import CurateConfig
from megactor_core.curation.crops import read_crops
from megactor_core.curation.sources import find_sources
from megactor_core.data.sample import INDEX, read_index
from megactor_core.errors import MegActorError, WeightsError
from megactor_core.models import tensor_files
from megactor_core.models.tensor_files import PICKLES, read_tensors


class Exploit:
    """Makes a folder when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.proof),)


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    """Is there once a pickle was run."""
    return tmp_path / "proof"


@pytest.mark.parametrize("suffix", PICKLES)
@pytest.mark.parametrize("layout", ["zip", "legacy", "plain", "among tensors", "protocol 0"])
def test_weights_with_code_are_refused(tmp_path: Path, proof: Path, suffix: str, layout: str) -> None:
    path = tmp_path / f"weights{suffix}"
    exploit = Exploit(proof)
    match layout:
        case "zip":
            torch.save(exploit, path)
        case "legacy":
            torch.save(exploit, path, _use_new_zipfile_serialization=False)
        case "among tensors":
            torch.save({"a": torch.ones(2), "b": exploit}, path)
        case _:
            path.write_bytes(pickle.dumps(exploit, protocol=0 if layout == "protocol 0" else None))
    with pytest.raises(WeightsError, match="never loaded"):
        read_tensors(path)
    assert not proof.exists()


def test_a_careless_reader_is_exploited(tmp_path: Path, proof: Path) -> None:
    torch.save(Exploit(proof), tmp_path / "weights.pth")
    torch.load(tmp_path / "weights.pth", weights_only=False)
    assert proof.is_dir()


def test_a_refused_file_is_never_read_a_second_time(
    tmp_path: Path, proof: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hole of other projects: weights_only=True fails, and the file is then read without it."""
    calls: list[dict[str, Any]] = []
    real = torch.load

    def load(*arguments: Any, **named: Any) -> Any:
        calls.append(named)
        return real(*arguments, **named)

    monkeypatch.setattr(tensor_files.torch, "load", load)
    torch.save(Exploit(proof), tmp_path / "weights.pth")
    with pytest.raises(WeightsError):
        read_tensors(tmp_path / "weights.pth")
    assert [call["weights_only"] for call in calls] == [True]


@pytest.mark.parametrize("name", [INDEX, "manifest.parquet"])
def test_pickled_types_in_parquet_are_not_loaded(tmp_path: Path, proof: Path, name: str) -> None:
    metadata = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Exploit(proof)),
    }
    field = pa.field("source_uri", pa.string(), metadata=metadata)
    pq.write_table(pa.table([["a.mp4"]], schema=pa.schema([field])), tmp_path / name)
    if name == INDEX:
        with pytest.raises(MegActorError):
            read_index(tmp_path)
    else:
        config = CurateConfig(sources=(tmp_path / name,), output=tmp_path / "out")
        assert [clip.name for clip in find_sources(config).clips] == ["a.mp4"]
    assert not proof.exists()


def test_arrays_of_objects_are_refused(tmp_path: Path, proof: Path) -> None:
    path = tmp_path / AUDIO_INDEX
    np.save(path, np.array([Exploit(proof)], dtype=object))
    with pytest.raises(ValueError, match="Python objects"):
        read_crops(path)
    assert not proof.exists()


def test_an_archive_with_a_pickle_beside_the_data_is_refused(tmp_path: Path, proof: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.ones(2)}, path)
    with zipfile.ZipFile(path) as good, zipfile.ZipFile(tmp_path / "bad.pth", "w") as bad:
        for member in good.infolist():
            content = (
                pickle.dumps(Exploit(proof)) if member.filename.endswith("data.pkl") else good.read(member)
            )
            bad.writestr(member.filename, content)
    with pytest.raises(WeightsError, match="never loaded"):
        read_tensors(tmp_path / "bad.pth")
    assert not proof.exists()
