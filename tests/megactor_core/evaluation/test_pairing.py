"""Pairing by name: what pairs, what does not, and what is refused."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from megactor_core.engine.stage import ROW_ID, ROW_VERSION
from megactor_core.errors import UsageError
from megactor_core.evaluation.pairing import Pair, pair_folders, pair_of


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.fsencode(name))
    return folder


def test_names_pair_whatever_their_suffix(folders: SimpleNamespace) -> None:
    pairing = pair_folders(folders.generated, folders.real)
    assert [pair.name for pair in pairing.pairs] == ["a", "deep/b"]
    assert pairing.pairs[1].generated == folders.generated / "deep" / "b.mov"
    assert pairing.pairs[1].real == folders.real / "deep" / "b.mp4"
    assert (pairing.only_generated, pairing.only_real) == (("extra",), ("lonely",))


def test_hidden_files_and_other_files_are_no_clips(tmp_path: Path) -> None:
    made = touch(tmp_path / "g", "x.mp4", ".y.mp4", ".deep/z.mp4", "y.txt")
    real = touch(tmp_path / "r", "x.mkv", "y.mp4", "deep/z.mp4")
    pairing = pair_folders(made, real)
    assert [pair.name for pair in pairing.pairs] == ["x"]
    assert pairing.only_real == ("deep/z", "y")


def test_two_files_are_a_pair_whatever_their_names(tmp_path: Path) -> None:
    touch(tmp_path, "mine.mp4", "true.mp4")
    pairing = pair_folders(tmp_path / "mine.mp4", tmp_path / "true.mp4")
    assert [pair.name for pair in pairing.pairs] == ["mine"]


@pytest.mark.parametrize(
    ("made", "real", "message"),
    [
        (["a.mp4"], ["b.mp4"], "No clip of --generated .* has the name of one in --real"),
        (["a.mp4", "a.mov"], ["a.mp4"], "differ in their suffix alone"),
        ([], ["a.mp4"], "There is no video in --generated"),
        (["a.mp4"], ["a.txt"], "There is no video in --real"),
    ],
)
def test_what_cannot_pair_is_one_message(
    tmp_path: Path, made: list[str], real: list[str], message: str
) -> None:
    (tmp_path / "g").mkdir()
    with pytest.raises(UsageError, match=message):
        pair_folders(touch(tmp_path / "g", *made), touch(tmp_path / "r", *real))


def test_a_folder_and_a_file_do_not_pair(tmp_path: Path) -> None:
    touch(tmp_path, "g/a.mp4", "a.mp4")
    with pytest.raises(UsageError, match="is a file, the other a folder"):
        pair_folders(tmp_path / "g", tmp_path / "a.mp4")
    with pytest.raises(UsageError, match=r"--real .* does not exist"):
        pair_folders(tmp_path / "g", tmp_path / "nowhere")


def test_a_pair_comes_back_from_its_row(tmp_path: Path) -> None:
    strange = os.fsdecode(b"caf\xe9 \n.mp4")
    touch(tmp_path, f"g/{strange}", f"r/{strange}")
    (pair,) = pair_folders(tmp_path / "g", tmp_path / "r").pairs
    row = pair.to_row()
    assert row[ROW_ID].isprintable()
    assert pair_of(row) == pair
    moved = Pair(name="x", generated=pair.generated, real=pair.real, sound=pair.real, size=64, mode="A+V")
    assert pair_of(moved.to_row()) == moved
    assert moved.to_row()[ROW_ID] == "A+V/x"


def test_the_version_is_that_of_the_files(tmp_path: Path) -> None:
    touch(tmp_path, "g/a.mp4", "r/a.mp4")
    (pair,) = pair_folders(tmp_path / "g", tmp_path / "r").pairs
    before = pair.to_row()[ROW_VERSION]
    assert pair.to_row()[ROW_VERSION] == before
    (tmp_path / "g/a.mp4").write_text("other")
    assert pair.to_row()[ROW_VERSION] != before
