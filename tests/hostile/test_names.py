"""Odd things under ordinary names, and ordinary things under odd names."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megactor_cli.app import run as run_command
from megactor_core import weights
from megactor_core.animation.output_paths import plan_outputs
from megactor_core.animation.store import RunFolder
from megactor_core.config.curate import CurateConfig
from megactor_core.config.jobs import load_jobs
from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.config.recipes import read_recipe
from megactor_core.curation.run_record import read_record
from megactor_core.curation.sources import content_of, find_sources
from megactor_core.data.sample import IndexRow, Sample, read_index, write_index
from megactor_core.engine.journal import Journal
from megactor_core.errors import MediaError, MegActorError
from megactor_core.evaluation.result import read_clips, read_result
from megactor_core.media.audio import read_sound
from megactor_core.media.image import read_image, write_image
from megactor_core.media.key_frames import read_key_frames, scan_packets
from megactor_core.media.video import probe_video, read_video
from megactor_core.metrics.gauge import load_gauge
from megactor_core.models.checkpoint import load_checkpoint
from megactor_core.models.pretrained import load_pretrained
from megactor_core.models.tensor_files import read_diffusers_folder, read_tensors
from megactor_core.preprocessing.sources import content_hash, find_source
from megactor_core.synthetic.truth import read_truth
from megactor_core.training.run_checkpoint import find_damage

Read = Callable[[Path], object]


@contextmanager
def no_waiting() -> Iterator[None]:
    """A reader that waits for ever is woken up, and has failed."""

    def wake(*_: object) -> None:
        raise TimeoutError("it waits for ever")

    before = signal.signal(signal.SIGALRM, wake)
    signal.setitimer(signal.ITIMER_REAL, 60)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def curate(path: Path) -> object:
    return find_sources(CurateConfig(sources=(path,), output=path.parent / "out"))


def preprocess(path: Path) -> object:
    return find_source(PreprocessConfig(source=path, output=path.parent / "out"))


READERS: dict[str, tuple[str, Read]] = {
    "image": ("x.png", read_image),
    "sound": ("x.wav", read_sound),
    "video": ("x.mp4", probe_video),
    "frames": ("x.mp4", lambda path: next(read_video(path))),
    "packets": ("x.mp4", scan_packets),
    "key frames": ("x.mp4", lambda path: next(read_key_frames(path, every_seconds=1))),
    "recipe": ("x.yaml", read_recipe),
    "jobs": ("x.jsonl", lambda path: load_jobs(path, layers=())),
    "manifest of curate": ("x.parquet", curate),
    "manifest of preprocess": ("x.parquet", preprocess),
    "table of preprocess": ("x.csv", preprocess),
    "lines of preprocess": ("x.jsonl", preprocess),
    "sample": ("sample.json", lambda path: Sample.open(path.parent)),
    "index": ("index.parquet", lambda path: read_index(path.parent)),
    "truth": ("x.parquet", read_truth),
    "checkpoint": ("config.json", lambda path: load_checkpoint(path.parent)),
    "safetensors": ("x.safetensors", read_tensors),
    "pickle": ("x.pth", read_tensors),
    "shards": (
        "diffusion_pytorch_model.safetensors.index.json",
        lambda path: read_diffusers_folder(path.parent),
    ),
    "public network": ("config.json", lambda path: load_pretrained(None, path.parent)),
    "wheel": ("x.whl", lambda path: weights.pull("mediapipe-face", from_path=path)),
    "weights": ("face_landmark.tflite", lambda path: weights.pull("mediapipe-face", from_path=path)),
    "journal": ("run.json", lambda path: Journal(path.parent).last_run()),
    "record of curate": ("run.json", lambda path: read_record(path.parent)),
    "evaluation": ("metrics.json", lambda path: read_result(path.parent)),
    "clips of evaluation": ("clips.parquet", lambda path: read_clips(path.parent)),
    "gauge": ("gauge.json", lambda path: load_gauge(path.parent)),
}


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def empty(path: Path) -> None:
    path.touch()


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(os.path.relpath(path))  # its own names are at most 108 bytes


@pytest.mark.parametrize("place", [pipe, endless, folder, loop, empty, listening])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, place: Callable[[Path], None]
) -> None:
    monkeypatch.setenv("MEGACTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    name, read = READERS[reader]
    if place is folder and reader in ("manifest of curate", "manifest of preprocess"):
        name = "manifest.txt"  # a folder of this name is a folder of videos
    place(tmp_path / name)
    with no_waiting(), pytest.raises(MegActorError):
        read(tmp_path / name)


@pytest.mark.parametrize("place", [pipe, endless, folder, loop, empty, listening])
def test_what_is_no_file_has_a_version_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Callable[[Path], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    place(tmp_path / "x.mp4")
    with no_waiting():
        assert content_of(tmp_path / "x.mp4") == content_of(tmp_path / "x.mp4")
        assert content_hash(tmp_path / "x.mp4") == content_hash(tmp_path / "x.mp4")
        assert find_damage(tmp_path) is not None
        assert RunFolder(tmp_path).state() == {}


@pytest.mark.parametrize(
    "option", ["--reference", "--driving", "--audio", "--jobs", "--checkpoint", "--recipe"]
)
@pytest.mark.parametrize("place", [pipe, endless, folder])
def test_the_command_refuses_what_is_no_file(
    tmp_path: Path,
    example: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: str,
    place: Callable[[Path], None],
) -> None:
    monkeypatch.chdir(tmp_path)
    place(tmp_path / "odd")
    given = {"--reference": example / "portrait.png", "--audio": example / "speech.wav"}
    given = {"--jobs": tmp_path / "odd"} if option == "--jobs" else given | {option: tmp_path / "odd"}
    with no_waiting():
        code = run_command(["animate", *(f"{name}={path}" for name, path in given.items())])
    said = capsys.readouterr()
    assert code == 2
    assert said.out == ""
    assert said.err.splitlines()[-1].startswith("Error: ")
    assert said.err.count("Error: ") == 1
    assert "Traceback" not in said.err
    assert sorted(path.name for path in tmp_path.rglob("*.mp4*")) == []


# ---------------------------------------------------------------- odd names

NAMES = [
    *(
        b"-rf",
        b"--help",
        b"-",
        b"--",
        b"-i",
        b"@file",
        b"~",
        b"~root",
        b"*",
        b"?",
        b"[a]",
        b"{1..9}",
        b"%d",
        b"%03d",
    ),
    *(
        b"$(touch hacked)",
        b"`touch hacked`",
        b"; touch hacked",
        b"| touch hacked",
        b"&& touch hacked",
        b"> hacked",
    ),
    *(
        b"a\nb",
        b"a\tb",
        b"a\x1b[2Jb",
        b"\xff\xfe",
        b"caf\xc3\xa9",
        b"caf\xe9",
        b" ",
        b"'",
        b'"',
        b"\\",
        b"$HOME",
    ),
    *(
        b"http:",
        b"pipe:0",
        b"file:x",
        b"concat:a|b",
        b"data:text",
        b"subfile,,start,0,end,9,,:x",
        b"crypto:x",
    ),
    *(b"x" * 250, b"\xf0\x9f\x98\x80", b"\xe2\x80\xaegpj", b"CON", b"x..x", b"nul\x7f"),
]


@pytest.mark.parametrize("stem", NAMES, ids=[ascii(name)[1:20] for name in NAMES])
def test_a_name_is_only_a_name(
    tmp_path: Path, example: Path, monkeypatch: pytest.MonkeyPatch, stem: bytes
) -> None:
    """Given as it is, in the working folder, where nothing marks it as a path."""
    monkeypatch.chdir(tmp_path)
    picture, sound = Path(os.fsdecode(stem + b".png")), Path(os.fsdecode(stem + b".wav"))
    picture.write_bytes((example / "portrait.png").read_bytes())
    sound.write_bytes((example / "speech.wav").read_bytes())
    film = Path(os.fsdecode(stem + b".mp4"))
    film.write_bytes((example / "driving.mp4").read_bytes())
    assert read_image(picture).shape == read_image(example / "portrait.png").shape
    assert len(read_sound(sound, seconds=0.1).samples) > 0
    assert probe_video(film).frames == probe_video(example / "driving.mp4").frames
    assert len(find_sources(CurateConfig(sources=(tmp_path,), output=tmp_path / "out")).clips) == 1
    (clip,) = find_source(PreprocessConfig(source=tmp_path, output=tmp_path / "out")).clips
    assert Path(clip.to_row()["row_id"]).name == clip.to_row()["row_id"]
    assert not (tmp_path / "hacked").exists()


def test_a_name_of_255_bytes_has_no_room_for_a_temporary_one(tmp_path: Path) -> None:
    with pytest.raises(MegActorError, match="File name too long"):
        write_image(tmp_path / ("x" * 251 + ".png"), np.zeros((2, 2, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_messages_cannot_steer_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = tmp_path / "\x1b]0;owned\x07\x1b[2J\nError: all is well\u202e.png"
    assert run_command(["animate", "--reference", str(evil), "--audio", "x.wav"]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert said.count("\n") == 1
    assert "\\x1b]0;owned\\x07\\x1b[2J\\nError: all is well\\u202e.png" in said


# ---------------------------------------------------------------- paths in files

LEADING_OUT = ("../../x", "/etc/passwd", "samples/../../x", "..", "a/../..", "samples/\0")


@pytest.mark.parametrize("path", LEADING_OUT)
def test_an_index_cannot_lead_out_of_its_folder(tmp_path: Path, path: str) -> None:
    row = {"sample_id": "a", "identity": "a", "split": "train", "source_uri": "a.mp4", "status": "ok"}
    write_index(tmp_path, [IndexRow(**row, path=path)])
    with pytest.raises(MediaError, match="leads out of the folder"):
        read_index(tmp_path)


@pytest.mark.parametrize(
    "name", [*LEADING_OUT[:-1], ".hidden", "a/b", "a\nb", "x" * 300, "-rf", "~", "CON\\x"]
)
def test_ids_in_a_manifest_are_names_of_folders_inside_the_output(tmp_path: Path, name: str) -> None:
    pq.write_table(pa.table({"source_uri": ["a.mp4"], "clip_id": [name]}), tmp_path / "m.parquet")
    (clip,) = find_source(PreprocessConfig(source=tmp_path / "m.parquet", output=tmp_path / "out")).clips
    made = tmp_path / "made" / clip.sample_id
    made.mkdir(parents=True)
    assert made.resolve().parent == (tmp_path / "made").resolve()
    assert not clip.sample_id.startswith(".")


@pytest.mark.parametrize("uri", ["/dev/zero", "../pipe.mp4", "link.mp4", "\nx.mp4", "x" * 5000])
def test_devices_and_links_in_a_manifest_are_their_rows_own_errors(tmp_path: Path, uri: str) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.mp4").symlink_to("/dev/zero")
    pq.write_table(pa.table({"source_uri": [uri]}), tmp_path / "in" / "m.parquet")
    with no_waiting():
        (clip,) = find_sources(
            CurateConfig(sources=(tmp_path / "in/m.parquet",), output=tmp_path / "out")
        ).clips
        with pytest.raises(MediaError):
            probe_video(clip.path)
        content_of(clip.path)


def test_names_of_folders_are_no_columns(tmp_path: Path) -> None:
    """Parquet's readers take `split=val/` above a file for a column of it."""
    folder = tmp_path / "split=val" / "keep=false"
    folder.mkdir(parents=True)
    pq.write_table(
        pa.table({"source_uri": ["a.mp4"], "split": ["train"], "keep": [True]}), folder / "m.parquet"
    )
    config = PreprocessConfig(source=folder / "m.parquet", output=tmp_path / "out")
    assert [clip.split for clip in find_source(config).clips] == ["train"]


def test_an_output_is_never_written_through_a_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    (tmp_path / "out.mp4").symlink_to(precious)
    with pytest.raises(MegActorError, match="was not written by megactor"):
        plan_outputs(tmp_path / "out.mp4", inputs=[], overwrite=False, compare=False, sheet=False)
    assert precious.read_text() == "mine"
