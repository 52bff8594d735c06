"""Every failure that hostile files have shown, by name: each was another error, a crash or a hang once."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from megactor_core import weights
from megactor_core.animation.store import RunFolder
from megactor_core.config.curate import CurateConfig
from megactor_core.config.jobs import load_jobs
from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.curation.run_record import read_record
from megactor_core.curation.sources import find_sources
from megactor_core.data.sample import read_facts, read_index
from megactor_core.engine.journal import Journal
from megactor_core.engine.parts import SCHEMA, read_part
from megactor_core.errors import ConfigError, MediaError, MegActorError, OutputError, UsageError, WeightsError
from megactor_core.evaluation.compare import compare
from megactor_core.files import read_bytes, read_table
from megactor_core.media.image import read_image
from megactor_core.models.autoencoder import load_kl
from megactor_core.models.checkpoint import CheckpointInfo
from megactor_core.models.pretrained import load_pretrained
from megactor_core.models.tensor_files import read_tensors
from megactor_core.preprocessing.sources import find_source
from megactor_core.synthetic.truth import TRUTH_SCHEMA, read_truth
from megactor_core.training.watch import StepMetrics, read_metrics

DEEP = "[" * 100_000
NO_TEXT = pa.array([b"\xff\xfe"], pa.binary()).view(pa.string())


def curate(path: Path) -> list[Any]:
    return list(find_sources(CurateConfig(sources=(path,), output=path.parent / "out")).clips)


def preprocess(path: Path) -> list[Any]:
    return list(find_source(PreprocessConfig(source=path, output=path.parent / "out")).clips)


def table(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


# ---------------------------------------------------------------- manifests


@pytest.mark.parametrize("read", [curate, preprocess])
@pytest.mark.parametrize(
    "column",
    [NO_TEXT, pa.array([{"a": 1}]), pa.array([[1]]), pa.array(["a\0b"]), pa.array([None])],
    ids=["bytes that are no text", "structures", "lists", "a zero", "nothing"],
)
def test_paths_in_a_table_that_are_no_paths(
    tmp_path: Path, read: Callable[[Path], Any], column: pa.Array
) -> None:
    path = table(tmp_path / "m.parquet", source_uri=column)
    if read is preprocess and pa.types.is_nested(column.type):
        assert len(read(path)) == 1  # the text of it names no file, which is the row's error
        return
    with pytest.raises(UsageError):
        read(path)


@pytest.mark.parametrize("read", [curate, preprocess])
def test_numbers_for_names_in_a_table(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    path = table(tmp_path / "m.parquet", source_uri=["a.mp4"], source_id=[3], identity=[2.5], start_s=[True])
    (clip,) = read(path)
    json.dumps(clip.to_row())
    assert clip.identity == "2.5"


@pytest.mark.parametrize(
    "line",
    [DEEP, '{"source_uri": "\\ud800"}', '{"source_uri": "a\\u0000b"}', '{"source_uri": 1' + "0" * 5000 + "}"],
    ids=["deep", "half a character", "a zero", "a long number"],
)
def test_lines_of_a_manifest(tmp_path: Path, line: str) -> None:
    (tmp_path / "m.jsonl").write_text(line)
    with pytest.raises(UsageError):
        preprocess(tmp_path / "m.jsonl")


def test_a_moment_too_large_for_a_number_is_its_rows_fault(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"source_uri": "a.mp4", "start_s": 1' + "0" * 400 + "}")
    (clip,) = preprocess(tmp_path / "m.jsonl")
    assert "must be seconds" in clip.fault


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85"])
def test_json_lines_end_at_line_feeds_alone(tmp_path: Path, character: str) -> None:
    (tmp_path / "m.jsonl").write_text(json.dumps({"source_uri": f"a{character}b.mp4"}, ensure_ascii=False))
    assert preprocess(tmp_path / "m.jsonl")[0].path.name == f"a{character}b.mp4"
    job = {"reference": f"a{character}b.png", "driving": "b.mp4"}
    (tmp_path / "jobs.jsonl").write_text(json.dumps(job, ensure_ascii=False))
    assert load_jobs(tmp_path / "jobs.jsonl", layers=())[0].reference == Path(job["reference"])


def test_a_table_unpacks_to_no_more_than_its_limit(tmp_path: Path) -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1000, np.int32)), pa.array(["x" * 100_000]))
    path = table(tmp_path / "m.parquet", a=texts)
    assert path.stat().st_size < 200_000
    with pytest.raises(ValueError, match="unpacks to more than 50000000 bytes"):
        read_table(path, max_bytes=50_000_000)
    assert read_table(path)["a"].to_pylist() == ["x" * 100_000] * 1000
    nothing = table(tmp_path / "n.parquet", a=pa.nulls(100_000))
    with pytest.raises(ValueError, match="unpacks to more than"):
        read_table(nothing, max_bytes=1_000_000)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    pq.write_table(
        pa.Table.from_arrays([pa.array(["a"]), pa.array([1])], ["source_uri"] * 2), tmp_path / "m.parquet"
    )
    with pytest.raises(UsageError, match="two of its columns have one name"):
        curate(tmp_path / "m.parquet")


def test_reading_makes_no_room_beyond_the_file(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"abc")
    assert read_bytes(tmp_path / "small", max_bytes=2**60) == b"abc"


# ---------------------------------------------------------------- samples and truth


@pytest.mark.parametrize(
    "change",
    [
        {"frames": "many"},
        {"frames": 0},
        {"gop_frames": "4x"},
        {"gop_frames": 0},
        {"video_fps": "1/0"},
        {"video_fps": "-5"},
        {"video_fps": "1e400"},
        {"split": "both"},
        {"versions": 3},
        {"crop_x": None},
    ],
    ids=str,
)
def test_facts_of_another_type_or_that_cannot_be(tmp_path: Path, change: dict[str, Any]) -> None:
    facts = {
        "sample_id": "a",
        "identity": "a",
        "split": "train",
        "source_uri": "a",
        "start_s": None,
        "end_s": None,
        "frames": 8,
        "video_fps": "25",
        "size_px": 32,
        "source_width": 64,
        "source_height": 64,
        "source_fps": 25.0,
        "crop_x": 0.0,
        "crop_y": 0.0,
        "crop_side": 32.0,
        "faces_max": 1,
        "lost_frames": 0,
        "damaged_packets": 0,
        "yaw_abs_mean_degrees": None,
        "has_audio": False,
        "sound": "none",
        "audio_features": None,
        "has_latents": False,
        "has_driver": False,
        "gop_frames": 4,
        "landmarks": "mediapipe",
        "source_hash": "0",
        "versions": {},
        "format": 1,
    }
    (tmp_path / "sample.json").write_text(json.dumps(facts))
    assert read_facts(tmp_path).frames == 8
    (tmp_path / "sample.json").write_text(json.dumps(facts | change))
    with pytest.raises(MediaError, match="is damaged"):
        read_facts(tmp_path)


@pytest.mark.parametrize("column", [NO_TEXT, pa.array([None]), pa.array([1.5])])
@pytest.mark.parametrize("name", ["sample_id", "identity", "status"])
def test_an_index_without_what_every_row_has(tmp_path: Path, name: str, column: pa.Array) -> None:
    columns = {
        "sample_id": ["a"],
        "identity": ["a"],
        "split": ["train"],
        "source_uri": ["a"],
        "status": ["ok"],
    }
    table(tmp_path / "index.parquet", **columns)
    assert len(read_index(tmp_path)) == 1
    table(tmp_path / "index.parquet", **(columns | {name: column}))
    with pytest.raises(MediaError, match="is damaged"):
        read_index(tmp_path)


def test_a_truth_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "truth.parquet"
    for content in (b"", b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(MediaError, match="holds no truth"):
            read_truth(path)
    for facts in ({}, {b"megactor": b"3"}, {b"megactor": DEEP.encode()}, {b"megactor": b"{}"}):
        pq.write_table(TRUTH_SCHEMA.with_metadata(facts).empty_table(), path)
        with pytest.raises(MediaError, match="holds no truth"):
            read_truth(path)
    table(path, frame=[{"a": 1}])
    with pytest.raises(MediaError, match="holds no truth"):
        read_truth(path)


# ---------------------------------------------------------------- weights


def test_a_pickle_that_claims_more_than_memory(tmp_path: Path) -> None:
    """Of the legacy layout, whose lengths torch believes."""
    path = tmp_path / "w.model"
    path.write_bytes(b"\x80\x02\x8e" + struct.pack("<Q", 2**46) + b"x")  # BINBYTES8
    with pytest.raises(WeightsError, match="claims to be larger than memory"):
        read_tensors(path)


def test_a_number_that_stands_for_a_trillion(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(1_000_000, 1_000_000)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="claims 1000000000000 numbers, but the file holds 1"):
        read_tensors(tmp_path / "w.pth")


def test_tensors_that_lie_in_another_order_are_no_bombs(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(6.0).reshape(2, 3).t()}, tmp_path / "w.pth")
    assert read_tensors(tmp_path / "w.pth")["a"].shape == (3, 2)


@pytest.mark.parametrize(
    "setting",
    ["_attn_implementation_internal", "auto_map", "_experts_implementation_internal", "quantization_config"],
)
@pytest.mark.parametrize("is_nested", [False, True])
def test_a_config_that_can_load_code(tmp_path: Path, setting: str, is_nested: bool) -> None:
    config: dict[str, Any] = {"_class_name": "AutoencoderKL", "_diffusers_version": "0.1", setting: "x/y"}
    (tmp_path / "config.json").write_text(json.dumps({"inner": [config]} if is_nested else config))
    with pytest.raises(WeightsError, match=f"the setting '{setting}'"):
        load_pretrained(None, tmp_path)


@pytest.mark.slow
def test_odd_values_in_a_public_config(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "diffusion_pytorch_model.safetensors")
    for value in ("file:///etc/passwd", None, -1, [], 1e308):
        (tmp_path / "config.json").write_text(
            json.dumps({"_class_name": "AutoencoderKL", "block_out_channels": value})
        )
        with pytest.raises(WeightsError, match="Cannot read the weights"):
            load_kl(tmp_path)


@pytest.mark.parametrize(
    "change", [{"depth": 10**8}, {"hidden": 2**40}, {"mlp_ratio": 10**6}, {"native_px": 2**30}]
)
def test_a_checkpoint_that_asks_for_a_vast_model(change: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="but must be at most"):
        CheckpointInfo.build({"name": "x", "trained": True, "model": change}, source="config.json")


def test_a_damaged_face_model_never_reaches_its_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiteRT ends the process on some."""
    good = weights.find("mediapipe-face")
    bad = tmp_path / "mediapipe-face"
    bad.mkdir()
    for path in good.iterdir():
        (bad / path.name).write_bytes(path.read_bytes())
    monkeypatch.setenv("MEGACTOR_CACHE", str(tmp_path))
    assert weights.find("mediapipe-face") == bad
    content = bytearray((bad / "face_landmark.tflite").read_bytes())
    content[1000] ^= 1
    (bad / "face_landmark.tflite").write_bytes(content)
    with pytest.raises(WeightsError, match=r"face_landmark\.tflite missing or of the wrong size or content"):
        weights.find("mediapipe-face")


# ---------------------------------------------------------------- what runs have left


def test_metrics_end_at_the_first_line_that_is_none(tmp_path: Path) -> None:
    good = {"step": 1, "loss": 0.5, "mse": 0.4, "vb": 0.1, "samples_per_second": 2.0, "learning_rate": 1e-4}
    good |= {"gradient_norm": 1.0}
    for bad in (DEEP, json.dumps(good | {"step": "x"}), json.dumps(good | {"colour": 1}), "3"):
        (tmp_path / "m.jsonl").write_text(f"{json.dumps(good)}\n{bad}\n{json.dumps(good)}\n")
        assert [line.step for line in read_metrics(tmp_path / "m.jsonl", StepMetrics)] == [1]


@pytest.mark.parametrize("run", ["3", None, 1e400, {}, True, -0.5, DEEP])
def test_a_journal_whose_run_is_no_number(tmp_path: Path, run: Any) -> None:
    text = run if run == DEEP else json.dumps({"format": 1, "run": run, "stages": []})
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UsageError, match="not the record of a journal"):
        Journal(tmp_path).last_run()


def part(**changes: Any) -> pa.Table:
    row = {
        "row_id": "a",
        "row_key": "k",
        "status": "ok",
        "attempts": 1,
        "cpu_seconds": 0.1,
        "run": 1,
        "values": "{}",
    }
    return pa.Table.from_pylist([row | changes], SCHEMA)


@pytest.mark.parametrize("name", ["row_id", "row_key", "status", "attempts", "cpu_seconds", "run", "values"])
def test_a_part_file_without_what_every_row_has_is_damaged(tmp_path: Path, name: str) -> None:
    pq.write_table(part(), tmp_path / "part-a.parquet")
    assert read_part(tmp_path / "part-a.parquet") is not None
    pq.write_table(part(**{name: None}), tmp_path / "part-a.parquet")
    assert read_part(tmp_path / "part-a.parquet") is None


def test_a_part_file_with_bytes_that_are_no_text_is_damaged(tmp_path: Path) -> None:
    bad = part().set_column(0, SCHEMA.field("row_id"), NO_TEXT)
    pq.write_table(bad, tmp_path / "part-a.parquet")
    assert read_part(tmp_path / "part-a.parquet") is None


@pytest.mark.parametrize("values", ["", "3", "[1]", DEEP])
def test_a_row_whose_columns_are_no_json_object(tmp_path: Path, values: str) -> None:
    (tmp_path / "parts").mkdir()
    pq.write_table(part(values=values), tmp_path / "parts" / "part-a.parquet")
    with pytest.raises(UsageError, match="megactor has not written"):
        Journal(tmp_path).results()


@pytest.mark.parametrize(
    "change", [{"started": "soon"}, {"started": 3}, {"ended": "2026-01-02T03:04:05"}, {"clips": "x"}]
)
def test_a_record_of_curate_of_other_types(tmp_path: Path, change: dict[str, Any]) -> None:
    record = {
        "run": 1,
        "clips": 2,
        "elsewhere": 0,
        "gates": ["probe"],
        "versions": {"probe": "1"},
        "host": "h",
        "process": 1,
        "process_began": None,
        "started": "2026-01-02T03:04:05+00:00",
        "ended": None,
        "ending": None,
    }
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert read_record(tmp_path) is not None
    (tmp_path / "run.json").write_text(json.dumps(record | change))
    with pytest.raises(OutputError, match="cannot be read"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    "metrics", [3, {"psnr": 3}, {"psnr": {}}, {"fid": {"preprocessing": 1, "weights": 2.0}}, None]
)
def test_results_that_are_none_are_not_compared(tmp_path: Path, metrics: Any) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        result = {"tool": "megactor 0.1.0", "format": 1, "metrics": metrics}
        (tmp_path / name / "metrics.json").write_text(json.dumps(result))
        table(
            tmp_path / name / "clips.parquet", name=["x"], mode=pa.array([None], pa.string()), status=["ok"]
        )
    with pytest.raises(UsageError):
        compare(tmp_path / "a", tmp_path / "b", seed=0)
    table(tmp_path / "b" / "clips.parquet", name=["x"])
    with pytest.raises(UsageError, match="cannot be read"):
        compare(tmp_path / "a", tmp_path / "b", seed=0)


def test_what_an_interrupted_run_kept_may_be_cut_short(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    file = folder.file("motion", shape=(2, 2))
    file.write(0, np.ones((3, 2, 2), np.float32))
    assert file.read(0, 3).shape == (3, 2, 2)
    with pytest.raises(OutputError, match="records 2 to 3 are not there"):
        file.read(2, 4)
    folder.close()


# ---------------------------------------------------------------- terminals


def test_what_image_libraries_print_stays_off_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.tiff"
    Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)).save(path, compression="tiff_lzw")
    content = bytearray(path.read_bytes())
    content[100:1000] = b"\xff" * 900
    path.write_bytes(content)
    with pytest.raises(MediaError):
        read_image(path)
    assert capfd.readouterr().err == ""


def test_errors_are_one_line_whatever_they_quote() -> None:
    error = MegActorError("no '\x1b[2J\n\u2028\u202e\x00é'.", fix="\tMend it.")
    assert str(error) == r"no '\x1b[2J\n\u2028\u202e\x00é'. \tMend it."
