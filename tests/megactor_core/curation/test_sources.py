"""Sources: which clips there are, what they are called, and what is wrong with them unopened."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megactor_core.config.curate import CurateConfig
from megactor_core.curation.sources import SourceClip, content_of, find_sources
from megactor_core.errors import UsageError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode())


def clips(*sources: Path, output: Path = Path("out")) -> dict[str, SourceClip]:
    found = find_sources(CurateConfig(sources=sources, output=output))
    return {f"{clip.dataset}/{clip.name}": clip for clip in found.clips}


def write_manifest(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_every_video_of_a_folder_is_a_clip(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    touch(raw / "anna" / "one.mp4", raw / "two.MOV", raw / "notes.txt", raw / ".hidden.mp4")
    touch(raw / "out" / "own.mp4")
    found = clips(raw, output=raw / "out")
    assert found.keys() == {"raw/anna/one.mp4", "raw/two.MOV"}
    assert found["raw/anna/one.mp4"].identity == "anna"
    assert found["raw/two.MOV"].identity == "two"
    assert found["raw/two.MOV"].source_id is None
    assert found["raw/two.MOV"].clip_id.startswith("two-")


def test_two_data_sets_of_one_name_stay_two(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "hdtf" / "x.mp4", tmp_path / "b" / "hdtf" / "x.mp4")
    found = find_sources(CurateConfig(sources=(tmp_path / "a" / "hdtf", tmp_path / "b" / "hdtf")))
    datasets = [clip.dataset for clip in found.clips]
    assert len({clip.clip_id for clip in found.clips}) == 2
    assert "hdtf" in datasets
    assert len(set(datasets)) == 2
    assert "has the name of another source" in found.notes[0]


def test_a_manifest_names_parts_people_and_splits(tmp_path: Path) -> None:
    row = {"source_uri": "../long.mp4", "identity": "anna", "source_id": "yt1", "split": "validation"}
    write_manifest(
        tmp_path / "set" / "manifest.parquet",
        [row | {"start_s": 0.0, "end_s": 4.0}, row | {"start_s": 4.0, "end_s": 9.5}],
    )
    found = find_sources(CurateConfig(sources=(tmp_path / "set",))).clips
    assert len({clip.clip_id for clip in found}) == 2
    assert {clip.path for clip in found} == {tmp_path / "long.mp4"}
    assert {(clip.start_s, clip.end_s, clip.split) for clip in found} == {
        (0.0, 4.0, "validation"),
        (4.0, 9.5, "validation"),
    }


def test_a_part_that_ends_before_it_begins_is_that_clips_fault(tmp_path: Path) -> None:
    rows = [{"source_uri": "x.mp4", "start_s": 5.0, "end_s": 2.0}, {"source_uri": "x.mp4"}]
    write_manifest(tmp_path / "manifest.parquet", rows)
    found = find_sources(CurateConfig(sources=(tmp_path / "manifest.parquet",))).clips
    assert sorted(clip.fault is None for clip in found) == [False, True]


def test_an_unreadable_folder_is_a_row_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "raw" / "good.mp4")

    def walk(folder: Path, *, onerror: Any, followlinks: bool) -> Any:
        assert followlinks
        onerror(PermissionError(13, "Permission denied", str(folder / "closed")))
        yield str(folder), [], ["good.mp4"]

    monkeypatch.setattr(os, "walk", walk)
    found = clips(tmp_path / "raw")
    assert found["raw/good.mp4"].fault is None
    assert "cannot be read (Permission denied)" in str(found["raw/closed"].fault)


def test_a_name_that_is_no_text_is_that_clips_fault(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / os.fsdecode(b"bad\xff.mp4")).write_bytes(b"x")
    (clip,) = clips(tmp_path / "raw").values()
    assert "UTF-8" in str(clip.fault)
    assert "bad\\xff" in str(clip.path)


def test_content_tells_copies_from_changes(tmp_path: Path) -> None:
    one, copy = tmp_path / "one.mp4", tmp_path / "copy.mp4"
    one.write_bytes(b"same")
    copy.write_bytes(b"same")
    os.utime(copy, ns=(1, 1))
    assert content_of(one).digest == content_of(copy).digest
    assert content_of(one).version != content_of(copy).version
    before = content_of(one)
    one.write_bytes(b"else")
    assert content_of(one).digest != before.digest
    assert content_of(tmp_path / "absent").digest.startswith("unreadable")
    assert content_of(tmp_path).digest == "no file"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda folder: None, "There is no"),
        (lambda folder: (folder / "src").mkdir(), "There is no clip in"),
        (lambda folder: (folder / "src").write_text("x"), "is no folder and no manifest"),
    ],
)
def test_nothing_to_curate_is_one_error(tmp_path: Path, make: Any, text: str) -> None:
    make(tmp_path)
    with pytest.raises(UsageError, match=text):
        clips(tmp_path / "src")


def test_without_sources_the_workspace_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"Nothing to curate.*megactor synth"):
        find_sources(CurateConfig())
    touch(tmp_path / "data" / "raw" / "one" / "x.mp4", tmp_path / "data" / "raw" / "two" / "y.mp4")
    assert {clip.dataset for clip in find_sources(CurateConfig()).clips} == {"one", "two"}


def test_the_output_is_no_source(tmp_path: Path) -> None:
    touch(tmp_path / "x.mp4")
    with pytest.raises(UsageError, match="the same folder"):
        clips(tmp_path, output=tmp_path)
