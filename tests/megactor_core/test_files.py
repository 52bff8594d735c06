"""Files that are whole or not there."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from megactor_core.errors import OutputError
from megactor_core.files import atomic_folder, atomic_path


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def write_half(path: Path) -> None:
    """Write a file, then fail."""
    path.write_text("half")
    path.parent.write_text("a folder cannot be written")


def test_a_file_replaces_an_earlier_one_only_as_a_whole(tmp_path: Path) -> None:
    final = tmp_path / "made.txt"
    final.write_text("earlier")
    with pytest.raises(IsADirectoryError), atomic_path(final) as temporary:
        write_half(temporary)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["earlier"]
    with atomic_path(final) as temporary:
        temporary.write_text("whole")
        assert final.read_text() == "earlier"
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    final = tmp_path / "folder"
    with pytest.raises(IsADirectoryError), atomic_folder(final) as temporary:
        write_half(temporary / "half")
    assert list(tmp_path.iterdir()) == []
    with atomic_folder(final) as temporary:
        (temporary / "file").write_text("whole")
        assert not final.exists()
    assert (final / "file").read_text() == "whole"
    with pytest.raises(OutputError), atomic_folder(final):
        pass


def test_what_safetensors_writes_is_readable_as_other_new_files_are(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("as any new file")
    with atomic_folder(tmp_path / "folder") as folder:
        (folder / "deep").mkdir()
        save_file({"a": torch.zeros(1)}, folder / "deep" / "a.safetensors")
    with atomic_path(tmp_path / "b.safetensors") as temporary:
        save_file({"a": torch.zeros(1)}, temporary)
    written = (tmp_path / "folder" / "deep" / "a.safetensors", tmp_path / "b.safetensors")
    assert [mode_of(path) for path in written] == [mode_of(plain)] * 2
