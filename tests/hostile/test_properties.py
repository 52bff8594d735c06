"""Whatever a file holds, its reader takes it or refuses it in one of this project's own errors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from megactor_core.config.animate import AnimateConfig
from megactor_core.config.curate import CurateConfig
from megactor_core.config.jobs import load_jobs
from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.config.recipes import build_config, parse_override, read_recipe
from megactor_core.config.yaml_text import parse_yaml, to_yaml
from megactor_core.curation.run_record import read_record
from megactor_core.curation.sources import find_sources
from megactor_core.data.sample import read_facts, read_index
from megactor_core.engine.journal import Journal
from megactor_core.errors import MegActorError, printable
from megactor_core.evaluation.result import read_result
from megactor_core.files import read_json
from megactor_core.media.audio import read_sound
from megactor_core.media.image import read_image
from megactor_core.media.key_frames import scan_packets
from megactor_core.media.video import probe_video
from megactor_core.models.checkpoint import load_checkpoint
from megactor_core.models.tensor_files import read_diffusers_folder, read_tensors
from megactor_core.preprocessing.sources import find_source
from megactor_core.synthetic.truth import read_truth

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
HEADS = st.sampled_from(
    [
        *(
            b"",
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff",
            b"RIFF\xff\xff\xff\x7fWAVEfmt ",
            b"fLaC",
            b"OggS",
            b"PAR1",
        ),
        *(b"\0\0\0\x18ftypmp42", b"\x1aE\xdf\xa3", b"PK\x03\x04", b"\x80\x02}", b"RIFF\0\0\0\0WEBP", b"ID3"),
    ]
)
NAMES = st.sampled_from(
    [
        *("format", "model", "source_uri", "start_s", "clip_id", "metrics", "tool", "run", "stages", "gates"),
        *("weight_map", "alpha", "fps", "window", "frames", "video_fps", "trained", "name", "split", "keep"),
    ]
)
JSON = st.one_of(
    VALUES, st.dictionaries(NAMES, VALUES, max_size=6), st.lists(st.dictionaries(NAMES, VALUES), max_size=3)
).map(lambda value: json.dumps(value).encode())
CONTENT = st.one_of(
    st.builds(lambda head, rest: head + rest, HEADS, st.binary(max_size=200)), JSON, st.text().map(str.encode)
)
READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "image": ("x.png", read_image),
    "sound": ("x.wav", read_sound),
    "video": ("x.mp4", probe_video),
    "packets": ("x.mkv", scan_packets),
    "recipe": ("x.yaml", read_recipe),
    "jobs in YAML": ("x.yaml", lambda path: load_jobs(path, layers=())),
    "jobs in JSON": ("x.json", lambda path: load_jobs(path, layers=())),
    "jobs in lines": ("x.jsonl", lambda path: load_jobs(path, layers=())),
    "manifest of curate": ("x.parquet", lambda path: find_sources(_curate(path))),
    "manifest of preprocess": ("x.parquet", lambda path: find_source(_preprocess(path))),
    "table of preprocess": ("x.csv", lambda path: find_source(_preprocess(path))),
    "lines of preprocess": ("x.jsonl", lambda path: find_source(_preprocess(path))),
    "sample": ("sample.json", lambda path: read_facts(path.parent)),
    "index": ("index.parquet", lambda path: read_index(path.parent)),
    "truth": ("x.parquet", read_truth),
    "checkpoint": ("config.json", lambda path: load_checkpoint(path.parent)),
    "safetensors": ("x.safetensors", read_tensors),
    "pickle": ("x.pth", read_tensors),
    "shards": (
        "diffusion_pytorch_model.safetensors.index.json",
        lambda path: read_diffusers_folder(path.parent),
    ),
    "journal": ("run.json", lambda path: Journal(path.parent).last_run()),
    "record": ("run.json", lambda path: read_record(path.parent)),
    "evaluation": ("metrics.json", lambda path: read_result(path.parent)),
}


def _refusal(read: Callable[[], object]) -> str | None:
    """What the reader says where it refuses; any other error leaves here as it is."""
    try:
        read()
    except MegActorError as error:
        return str(error)
    return None


def _curate(path: Path) -> CurateConfig:
    return CurateConfig(sources=(path,), output=path.parent / "out")


def _preprocess(path: Path) -> PreprocessConfig:
    return PreprocessConfig(source=path, output=path.parent / "out")


@pytest.mark.parametrize("reader", READERS)
@given(content=CONTENT)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_content_is_read_or_refused(tmp_path: Path, reader: str, content: bytes) -> None:
    name, read = READERS[reader]
    path = tmp_path / name
    path.write_bytes(content)
    refusal = _refusal(lambda: read(path))
    assert refusal is None or refusal == printable(refusal) != ""
    assert path.read_bytes() == content
    assert [found.name for found in tmp_path.iterdir()] == [name]


@given(text=st.text())
def test_any_override_is_taken_or_refused(text: str) -> None:
    refusal = _refusal(lambda: build_config(AnimateConfig, [parse_override(text)]))
    assert refusal is None or refusal == printable(refusal) != ""


@given(value=VALUES)
def test_any_value_survives_yaml(value: Any) -> None:
    assert repr(parse_yaml(to_yaml(value), source="here")) == repr(value)


@given(text=st.text())
def test_printable_text_is_one_line_without_controls(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert printable(shown) == shown
    assert "\x1b" not in shown


@given(content=JSON)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_json_is_read_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert repr(read_json(tmp_path / "x.json")) == repr(json.loads(content))
