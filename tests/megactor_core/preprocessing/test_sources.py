"""Folders and manifests as lists of clips."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.config.splits import split_of
from megactor_core.errors import UsageError
from megactor_core.preprocessing.sources import (
    content_hash,
    find_source,
    path_to_text,
    text_to_path,
)

WriteManifest = Callable[..., Path]


def write_manifest(folder: Path, rows: list[dict[str, Any]], *, suffix: str = ".jsonl") -> Path:
    path = folder / f"manifest{suffix}"
    match suffix:
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case ".csv":
            names = sorted({name for row in rows for name in row})
            lines = [",".join(str(row.get(name, "")) for name in names) for row in rows]
            path.write_text("\n".join([",".join(names), *lines]) + "\n")
        case _:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def config(source: Path | None, **changes: Any) -> PreprocessConfig:
    return PreprocessConfig.build({"source": source, **changes}, source="test")


@given(name=st.binary(min_size=1, max_size=30).filter(lambda b: b"/" not in b and b"\0" not in b))
def test_any_file_name_survives_as_text(name: bytes) -> None:
    if name in (b".", b".."):
        return
    path = Path("/data", os.fsdecode(name))
    text = path_to_text(path)
    assert text.isascii()
    assert text_to_path(text) == path


def test_a_folder_gives_its_videos_in_a_stable_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.mp4", "a/x.MOV", "a/y.webm", "c.txt", "a/.hidden.mp4", ".git/z.mp4")
    first = find_source(config(tmp_path))
    assert {clip.source_uri for clip in first.clips} == {"b.mp4", "a/x.MOV", "a/y.webm"}
    assert [clip.sample_id for clip in first.clips] == sorted(clip.sample_id for clip in first.clips)
    assert find_source(config(tmp_path)) == first


def test_ids_do_not_depend_on_where_the_folder_is(tmp_path: Path) -> None:
    for place in ("one", "two"):
        touch(tmp_path / place, "a/x.mp4")
    ids = {find_source(config(tmp_path / place)).clips[0].sample_id for place in ("one", "two")}
    assert len(ids) == 1
    assert ids.pop().startswith("x-")


def test_one_name_in_two_folders_gives_two_ids(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.mp4", "b/x.mp4")
    assert len({clip.sample_id for clip in find_source(config(tmp_path)).clips}) == 2


def test_the_output_inside_the_source_is_no_source(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "processed/samples/s/video.mp4")
    clips = find_source(config(tmp_path, output=tmp_path / "processed")).clips
    assert [clip.source_uri for clip in clips] == ["a.mp4"]


def test_a_source_is_never_the_output(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    for source in (tmp_path, write_manifest(tmp_path, [{"source_uri": "a.mp4"}])):
        with pytest.raises(UsageError, match="are the same folder"):
            find_source(config(source, output=tmp_path / "x" / ".."))


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_the_manifests_columns_are_read(tmp_path: Path, suffix: str) -> None:
    rows = [
        {"source_uri": "a.mp4", "clip_id": "c1", "identity": "anna", "split": "validation", "keep": True},
        {"source_uri": "b.mp4", "clip_id": "c2", "identity": "anna", "split": "validation", "keep": False},
        {"source_uri": "b.mp4", "clip_id": "c3", "identity": "bert", "start_s": 1.5, "end_s": 4.0},
    ]
    rows = [{**dict.fromkeys(rows[2]), **dict.fromkeys(rows[0]), **row} for row in rows]
    if suffix == ".csv":
        rows = [{name: "" if value is None else value for name, value in row.items()} for row in rows]
    source = find_source(config(write_manifest(tmp_path, rows, suffix=suffix)))
    assert source.not_kept == 1
    anna, bert = source.clips
    assert (anna.sample_id, anna.identity, anna.split, anna.path) == (
        "c1",
        "anna",
        "validation",
        tmp_path / "a.mp4",
    )
    assert (bert.sample_id, bert.start_s, bert.end_s, bert.split) == ("c3", 1.5, 4.0, split_of("bert"))


def test_only_source_uri_is_required(tmp_path: Path) -> None:
    (clip,) = find_source(config(write_manifest(tmp_path, [{"source_uri": "clips/a.mp4"}]))).clips
    assert (clip.identity, clip.split, clip.start_s) == ("a", split_of("a"), None)


def test_a_folder_with_a_manifest_is_read_by_it_and_that_is_said(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    manifest = write_manifest(tmp_path, [{"source_uri": "a.mp4"}], suffix=".parquet")
    source = find_source(config(tmp_path))
    assert len(source.clips) == 1
    assert str(manifest) in source.described


def test_segments_of_one_file_are_different_samples(tmp_path: Path) -> None:
    rows = [{"source_uri": "a.mp4", "start_s": start, "end_s": start + 2} for start in (0, 2, 4)]
    clips = find_source(config(write_manifest(tmp_path, rows))).clips
    assert len({clip.sample_id for clip in clips}) == 3


@given(identities=st.lists(st.text(max_size=8), min_size=1, max_size=30))
def test_an_identity_never_straddles_the_splits(
    tmp_path_factory: pytest.TempPathFactory, identities: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("splits")
    rows = [
        {"source_uri": f"{number}.mp4", "identity": identity, "split": "train" if number == 0 else None}
        for number, identity in enumerate(identities)
    ]
    splits: dict[str, set[str]] = {}
    for clip in find_source(config(write_manifest(folder, rows))).clips:
        splits.setdefault(clip.identity, set()).add(clip.split)
    assert all(len(found) == 1 for found in splits.values())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"uri": "a.mp4"}], "Row 1 of the manifest .* has no source_uri"),
        ([{"source_uri": "a.mp4", "split": "test"}], "the split is 'test', but must be train or validation"),
        (
            [{"source_uri": f"{s}.mp4", "identity": "anna", "split": s} for s in ("train", "validation")],
            "the identity 'anna' in both train and validation",
        ),
        ([{"source_uri": "a.mp4", "clip_id": "c"}] * 2, "have the id 'c'"),
        ([{"source_uri": "a.mp4", "keep": "perhaps"}], "keep is 'perhaps'"),
        ([{"source_uri": "a.mp4", "keep": False}], "There is no clip in the manifest"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_one_message(
    tmp_path: Path, rows: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        find_source(config(write_manifest(tmp_path, rows)))


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"start_s": 3, "end_s": 2}, "end_s is 2, but start_s is 3"),
        ({"start_s": -1}, "start_s is -1"),
        ({"start_s": "soon", "end_s": -2}, "start_s is 'soon', but .*; end_s is -2"),
    ],
)
def test_a_row_that_is_wrong_is_wrong_alone(tmp_path: Path, said: dict[str, Any], fault: str) -> None:
    rows = [{"source_uri": "a.mp4"}, {"source_uri": "a.mp4", **said}, {"source_uri": "b.mp4"}]
    clips = find_source(config(write_manifest(tmp_path, rows))).clips
    assert len(clips) == 3
    (wrong,) = [clip for clip in clips if clip.fault]
    assert re.search(f"Row 2 of .*: {fault}", str(wrong.fault))
    assert wrong.to_row()["fault"] == wrong.fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"'.*m\.csv' is empty\. Its first line names the columns, source_uri"),
        ("path,uri\na.mp4,b\n", r"has the columns path, uri, but none is 'source_uri'\."),
        ("sourceuri\na.mp4\n", r"but none is 'source_uri'\. Rename 'sourceuri'"),
    ],
)
def test_a_table_without_the_column_says_what_there_is(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        find_source(config(tmp_path / "m.csv"))


def test_a_pipe_is_no_source_and_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    assert content_hash(tmp_path / "a.mp4") == content_hash(Path(os.devnull))
    (clip,) = find_source(config(tmp_path)).clips
    assert clip.to_row()["source_hash"] == "no file"
    with pytest.raises(UsageError, match="is a device or pipe"):
        find_source(config(tmp_path / "a.mp4"))


def test_samples_of_any_output_are_no_clips(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "old/samples/s/video.mp4", "b/video.mp4", "b/sample.json")
    touch(tmp_path, "old/samples/s/sample.json", "old/samples/s/arrays.safetensors")
    clips = find_source(config(tmp_path)).clips
    assert {clip.source_uri for clip in clips} == {"a.mp4", "b/video.mp4"}


@pytest.mark.parametrize("name", ["m.parquet", "m.csv", "m.jsonl"])
@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"{", b""])
def test_a_manifest_that_is_none_is_one_message(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError):
        find_source(config(tmp_path / name))


def test_what_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="There is no 'nowhere'"):
        find_source(config(Path("nowhere")))
    with pytest.raises(UsageError, match=r"no SOURCE was given.*megactor synth"):
        find_source(config(None))
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(UsageError, match="for one clip give its folder"):
        find_source(config(Path("clip.mp4")))


def test_drivers_are_found_by_the_clips_names(tmp_path: Path) -> None:
    touch(tmp_path / "clips", "a/x.mp4", "a/y.mp4")
    touch(tmp_path / "drivers", "a/x.mp4")
    source = find_source(config(tmp_path / "clips", drivers=tmp_path / "drivers"))
    clips = source.clips
    assert source.notes[0].startswith("1 of 2 clips have no driver in")
    assert "'a/y.mp4'" in source.notes[0]
    assert [clip.driver for clip in clips] == [tmp_path / "drivers" / "a" / "x.mp4", None]


def test_drivers_of_no_clip_are_a_mistake(tmp_path: Path) -> None:
    touch(tmp_path / "clips", "x.mp4")
    touch(tmp_path / "drivers", "z.mp4")
    with pytest.raises(UsageError, match=r"such as 'x\.mp4'"):
        find_source(config(tmp_path / "clips", drivers=tmp_path / "drivers"))
    with pytest.raises(UsageError, match="is no folder"):
        find_source(config(tmp_path / "clips", drivers=tmp_path / "nowhere"))


def test_the_rows_version_follows_content_and_manifest(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")

    def version(**said: Any) -> str:
        manifest = write_manifest(tmp_path, [{"source_uri": "a.mp4", **said}])
        return str(find_source(config(manifest)).clips[0].to_row()["row_version"])

    before = version()
    assert version() == before
    assert version(end_s=2.0) != before
    assert version(identity="bert") != before
    (tmp_path / "a.mp4").write_bytes(b"longer than before")
    assert version() != before


def test_the_content_hash_sees_head_tail_and_size(tmp_path: Path) -> None:
    path = tmp_path / "x"
    hashes = set()
    for content in (b"a" * 300_000, b"b" + b"a" * 299_999, b"a" * 299_999 + b"b", b"a" * 300_001):
        path.write_bytes(content)
        os.utime(path, ns=(0, 0))
        hashes.add(content_hash(path))
    assert len(hashes) == 4
    assert content_hash(tmp_path / "nowhere") == content_hash(tmp_path / "nowhere")
