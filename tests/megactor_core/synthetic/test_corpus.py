"""The corpus: the same bytes however it was made, whole after any interruption, never over other files."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from megactor_core.config.recipes import read_recipe
from megactor_core.config.splits import split_of
from megactor_core.config.synth import SynthConfig
from megactor_core.errors import ConfigError, Interrupted, MediaError, MegActorError, OutputError
from megactor_core.files import sha256_of
from megactor_core.media.audio import read_sound, to_mono
from megactor_core.media.image import read_image
from megactor_core.media.video import probe_video, read_video
from megactor_core.synthetic import corpus
from megactor_core.synthetic.corpus import JOURNAL, make_corpus
from megactor_core.synthetic.identity import identity_from_numbers
from megactor_core.synthetic.plan import plan_clip
from megactor_core.synthetic.state import TRACKS
from megactor_core.synthetic.truth import read_truth

pytestmark = pytest.mark.slow  # whole runs

SMALL: dict[str, Any] = {"clips": 3, "seconds": 0.4, "size": 64, "identities": 2, "workers": 0}
FULL = {**SMALL, "clips": 4, "twins": True, "faults": {"enabled": True, "share": 1.0}}


def _config(folder: Path, **values: Any) -> SynthConfig:
    return SynthConfig.build({**SMALL, **values, "output": folder}, source="test")


def _hashes(folder: Path) -> dict[str, str]:
    """Hash of every file of a corpus; the journal is none of it."""
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != JOURNAL
    }


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips with twins, each with a fault."""
    folder = tmp_path_factory.mktemp("full")
    make_corpus(_config(folder, **FULL))
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sound clips."""
    folder = tmp_path_factory.mktemp("plain")
    make_corpus(_config(folder))
    return folder


def test_what_a_corpus_consists_of(full: Path) -> None:
    ids = [f"synth-{number:06d}" for number in range(4)]
    clips = {f"clips/{name}{twin}.mp4" for name in ids for twin in ("", "-twin")}
    truth = {f"truth/{name}{twin}.parquet" for name in ids for twin in ("", "-twin")}
    assert set(_hashes(full)) == clips | truth | {"config.yaml", "manifest.parquet", "sheet.png"}


def test_the_same_seed_gives_the_same_bytes(full: Path, tmp_path: Path) -> None:
    make_corpus(_config(tmp_path, **FULL))
    assert _hashes(tmp_path) == _hashes(full)


def test_workers_do_not_change_a_byte(full: Path, tmp_path: Path) -> None:
    make_corpus(_config(tmp_path, **{**FULL, "workers": 2}))
    assert _hashes(tmp_path) == _hashes(full)


def test_another_seed_gives_other_clips(plain: Path, tmp_path: Path) -> None:
    make_corpus(_config(tmp_path, clips=1, seed=1))
    assert sha256_of(tmp_path / "clips/synth-000000.mp4") != sha256_of(plain / "clips/synth-000000.mp4")


def test_lost_files_come_back_the_same(full: Path) -> None:
    before = _hashes(full)
    lost = ("clips/synth-000001.mp4", "truth/synth-000002-twin.parquet", "manifest.parquet", "sheet.png")
    for name in lost:
        (full / name).unlink()
    (full / "clips" / ".synth-000001.partial-77.mp4").write_bytes(b"left by a killed run")
    report = make_corpus(_config(full, **FULL))
    assert report.filmed == 2
    assert _hashes(full) == before


@pytest.mark.parametrize("name", ["clips/synth-000001.mp4", "truth/synth-000001.parquet"])
def test_a_file_of_another_size_is_made_again(plain: Path, name: str) -> None:
    before = _hashes(plain)
    (plain / name).write_bytes((plain / name).read_bytes()[:-1])
    assert make_corpus(_config(plain)).filmed == 1
    assert _hashes(plain) == before


def test_without_a_journal_the_files_count(plain: Path, tmp_path: Path) -> None:
    shutil.copytree(plain, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / JOURNAL)
    assert make_corpus(_config(tmp_path / "out")).filmed == 0


def test_marks_of_a_killed_run_go_once_all_is_there(plain: Path) -> None:
    marks = plain / JOURNAL / "inflight"
    (marks / "0123.1").write_text("1 1")
    (plain / "clips" / "synth-000002.mp4").unlink()
    make_corpus(_config(plain))
    assert list(marks.iterdir()) == []


def test_a_finished_corpus_is_left_alone(plain: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (plain / "clips").iterdir()}
    progress: list[Any] = []
    report = make_corpus(_config(plain), on_progress=lambda *step: progress.append(step))
    assert (report.filmed, report.clips_per_minute, progress) == (0, None, [])
    assert {path: path.stat().st_mtime_ns for path in (plain / "clips").iterdir()} == before


def test_a_corpus_grows_as_if_made_at_once(plain: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    make_corpus(_config(tmp_path, clips=1))
    assert make_corpus(_config(tmp_path), on_note=notes.append).filmed == 2
    assert notes == ["1 of 3 clips are there already."]
    assert _hashes(tmp_path) == _hashes(plain)


def test_a_manifest_of_a_smaller_corpus_does_not_stay(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that made the corpus larger was killed when all clips were there."""
    make_corpus(_config(tmp_path, clips=1))
    monkeypatch.setattr(corpus, "write_sheet", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_corpus(_config(tmp_path))
    monkeypatch.undo()
    assert make_corpus(_config(tmp_path)).filmed == 0
    assert _hashes(tmp_path) == _hashes(plain)


def _interrupted(*_arguments: Any) -> None:
    raise KeyboardInterrupt


def test_progress_counts_what_is_there_already(tmp_path: Path) -> None:
    make_corpus(_config(tmp_path, clips=1))
    steps: list[tuple[str, int, int]] = []
    make_corpus(_config(tmp_path), on_progress=lambda *step: steps.append(step))
    assert steps[-1] == ("filming clips", 3, 3)
    assert all(done > 1 for _, done, _ in steps)


def test_the_manifest_tells_what_is_there(full: Path) -> None:
    rows = pq.read_table(full / "manifest.parquet").to_pylist()
    config = _config(full, **FULL)
    assert [row["clip_id"] for row in rows] == [f"synth-{number:06d}" for number in range(4)]
    for number, row in enumerate(rows):
        plan = plan_clip(number, config)
        assert row["dataset"] == "synthetic"
        assert row["identity"] == plan.identity == rows[number % 2]["identity"]
        assert row["split"] == split_of(row["identity"])
        assert (row["keep"], row["reasons"], row["status"]) == (True, [], "ok")
        assert (row["error_kind"], row["error"]) == (None, None)
        assert (row["start_s"], row["end_s"], row["frames"], row["video_fps"]) == (0, 0.4, 10, 25)
        assert plan.fault is not None
        assert (row["fault"], row["fault_size"]) == (plan.fault.kind, plan.fault.size or None)
        for column in ("source_uri", "driver_path", "truth_path"):
            assert (full / row[column]).exists()
        facts = read_truth(full / row["truth_path"]).facts
        assert {name: facts[name] for name in facts.keys() & row.keys()}.items() <= row.items()


def test_the_truth_fits_the_file(plain: Path) -> None:
    for path in sorted((plain / "clips").iterdir()):
        info = probe_video(path)
        assert (info.frames, info.video_fps, info.width, info.height) == (10, Fraction(25), 64, 64)
        assert len(to_mono(read_sound(path))) == 6400
        truth = read_truth(plain / "truth" / f"{path.stem}.parquet")
        assert truth.performance.tracks.shape == (10, len(TRACKS))
        assert truth.points.shape == (10, 68, 2)
        assert truth.second_points is None
        assert ((truth.points > 0) & (truth.points < 63)).all()


def test_lips_in_the_picture_and_sound_in_the_file_are_in_sync(tmp_path: Path) -> None:
    make_corpus(_config(tmp_path, clips=1, seconds=4))
    points = read_truth(tmp_path / "truth/synth-000000.parquet").points
    gap_px = np.linalg.norm(points[:, 66] - points[:, 62], axis=1)
    samples = to_mono(read_sound(tmp_path / "clips/synth-000000.mp4"))
    loudness = np.sqrt((samples.reshape(100, 640) ** 2).mean(axis=1))
    fits = [np.corrcoef(gap_px[8:-8], loudness[8 + lag : 92 + lag])[0, 1] for lag in range(-8, 9)]
    assert np.argmax(fits) == 8
    assert fits[8] > 0.6


def test_the_truth_names_the_person(plain: Path) -> None:
    facts = read_truth(plain / "truth/synth-000001.parquet").facts
    person = identity_from_numbers(facts["identity_numbers"])
    assert f"synthetic-{person.seed:08x}" == facts["identity"]


def test_the_picture_is_the_truth_rendered(plain: Path) -> None:
    from megactor_core.synthetic.face import FaceRenderer

    truth = read_truth(plain / "truth/synth-000000.parquet")
    person = identity_from_numbers(truth.facts["identity_numbers"])
    rendered = FaceRenderer(person, size_px=64).render(truth.performance.state(7))
    shown = list(read_video(plain / "clips/synth-000000.mp4"))[7]
    assert np.abs(rendered.image.astype(float) - shown).mean() < 4
    np.testing.assert_allclose(rendered.points, truth.points[7], atol=1e-4)


def test_a_twin_does_the_same_as_somebody_else(tmp_path: Path) -> None:
    make_corpus(_config(tmp_path, clips=1, twins=True))
    own, twin = (read_truth(tmp_path / f"truth/synth-000000{twin}.parquet") for twin in ("", "-twin"))
    np.testing.assert_array_equal(own.performance.tracks, twin.performance.tracks)
    assert own.facts["identity"] != twin.facts["identity"]
    assert not np.allclose(own.points, twin.points, atol=0.5)
    sounds = [read_sound(tmp_path / f"clips/synth-000000{name}.mp4").samples for name in ("", "-twin")]
    np.testing.assert_array_equal(*sounds)
    frames = [next(read_video(tmp_path / f"clips/synth-000000{name}.mp4")) for name in ("", "-twin")]
    assert np.abs(frames[0].astype(float) - frames[1]).mean() > 10


def test_twins_do_not_change_the_clips(plain: Path, tmp_path: Path) -> None:
    make_corpus(_config(tmp_path, clips=1, twins=True))
    for name in ("clips/synth-000000.mp4", "truth/synth-000000.parquet"):
        assert sha256_of(tmp_path / name) == sha256_of(plain / name)


def test_the_settings_are_saved_without_where_and_how(full: Path) -> None:
    saved = SynthConfig.build(read_recipe(full / "config.yaml"), source="saved")
    assert saved == _config(full, **FULL).updated(output="data/raw/synthetic", workers=None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 128}, "size = 64; now size = 128"),
        ({"twins": True}, "twins = False; now twins = True"),
        ({"clips": 2}, "3 clips, more than the 2"),
    ],
)
def test_a_corpus_of_other_settings_is_refused(plain: Path, change: dict[str, Any], words: str) -> None:
    before = _hashes(plain)
    with pytest.raises(OutputError, match=words):
        make_corpus(_config(plain, **change))
    assert _hashes(plain) == before


def test_what_a_run_killed_at_once_leaves_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".config.partial-7.yaml").touch()
    (tmp_path / JOURNAL).mkdir()
    assert make_corpus(_config(tmp_path, clips=1)).filmed == 1


@pytest.mark.parametrize("name", ["holiday.jpg", "config.yaml"])
def test_a_folder_with_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("alpha: 1\n")
    with pytest.raises(OutputError, match="no corpus"):
        make_corpus(_config(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError):
        make_corpus(_config(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "mine"


def _failing(monkeypatch: pytest.MonkeyPatch, error: BaseException, *, number: int) -> None:
    """Filming one clip raises."""
    film = corpus.film_clip

    def film_or_fail(plan: Any, config: SynthConfig, *, folder: Path) -> None:
        if plan.number == number:
            raise error
        film(plan, config, folder=folder)

    monkeypatch.setattr(corpus, "film_clip", film_or_fail)


def test_a_clip_that_fails_does_not_take_the_others_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _failing(monkeypatch, MediaError("No film left."), number=1)
    with pytest.raises(
        MegActorError, match=r"1 of 3 clips could not be made.*synth-000001: No film left"
    ) as e:
        make_corpus(_config(tmp_path))
    assert e.value.exit_code == 1
    assert not (tmp_path / "manifest.parquet").exists()
    monkeypatch.undo()
    assert make_corpus(_config(tmp_path)).filmed == 1


def test_a_full_disk_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, OutputError("No space left on device.", fix="Free some."), number=1)
    with pytest.raises(
        MegActorError, match=r"No space left on device. Free some. Then run the same command"
    ) as full:
        make_corpus(_config(tmp_path))
    assert full.value.exit_code == 1


def test_an_interrupted_corpus_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, KeyboardInterrupt(), number=2)
    with pytest.raises(Interrupted, match=r"2 of 3 clips are in .*Run the same command again"):
        make_corpus(_config(tmp_path))
    assert not (tmp_path / "manifest.parquet").exists()
    monkeypatch.undo()
    assert make_corpus(_config(tmp_path)).filmed == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": 63}, "'size' is 63|multiple of 2"),
        ({"size": 16}, "at least 32"),
        ({"size": 4096}, "at most 2048"),
        ({"clips": 0}, "at least 1"),
        ({"seconds": 0.01}, "less than a frame"),
        ({"identities": 0}, "at least 1"),
        ({"faults": {"kinds": []}}, "faults.kinds"),
        ({"faults": {"kinds": ["ghost"]}}, "ghost"),
    ],
)
def test_settings_that_make_no_corpus(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        _config(Path("x"), **values)


def test_the_sheet_shows_clips(full: Path) -> None:
    sheet = read_image(full / "sheet.png")
    assert sheet.shape[1] > 6 * 224
    assert sheet.std() > 30


def test_easy_settings_are_easy(plain: Path, tmp_path: Path) -> None:
    """A quarter of the motion, and the same people before plain backgrounds."""
    make_corpus(_config(tmp_path, clips=2, motion_scale=0.25, plain=True))
    for number in range(2):
        name = f"truth/synth-{number:06d}.parquet"
        easy, hard = read_truth(tmp_path / name), read_truth(plain / name)
        assert easy.facts["identity"] == hard.facts["identity"]
        assert easy.facts["identity_numbers"]["backdrop"]["kind"] in ("vertical", "horizontal", "spot")
        turns = [np.abs(truth.performance.track("yaw_degrees")).max() for truth in (easy, hard)]
        assert turns[0] < 0.35 * turns[1]
        np.testing.assert_array_equal(easy.performance.track("smile"), hard.performance.track("smile"))


def test_kill_dash_nine_loses_nothing(tmp_path: Path) -> None:
    """A run killed twice, at any moment, ends with the bytes of one that was not."""
    settings = json.dumps({**FULL, "clips": 12, "seconds": 0.6, "workers": 2})
    code = (
        "import json, sys; from megactor_core.config.synth import SynthConfig;"
        "from megactor_core.synthetic.corpus import make_corpus\n"
        "if __name__ == '__main__':\n"
        "    values = json.loads(sys.argv[1]) | {'output': sys.argv[2]}\n"
        "    make_corpus(SynthConfig.build(values, source='test'))\n"
    )
    script = tmp_path / "make.py"
    script.write_text(code)
    environment = os.environ | {"PYTHONPATH": str(Path(corpus.__file__).parents[2])}

    def start(folder: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(script), settings, str(folder)], env=environment)

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for clips in (2, 6):
        process = start(killed)
        while len(list((killed / "clips").glob("synth-*.mp4"))) < clips and process.poll() is None:
            time.sleep(0.02)
        assert process.poll() is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
    for folder in (killed, whole):
        assert start(folder).wait() == 0
    assert _hashes(killed) == _hashes(whole)
