"""What a run leaves behind: the same from any number of runs, whatever was done before it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.config.splits import split_of
from megactor_core.data.sample import INDEX, IndexRow, Sample, read_index
from megactor_core.errors import Interrupted, OutputError, UsageError
from megactor_core.preprocessing.estimate import estimate
from megactor_core.preprocessing.output import require_own_output
from megactor_core.preprocessing.preprocess import preprocess

pytestmark = pytest.mark.slow  # whole runs

ConfigFor = Callable[..., PreprocessConfig]
MakeClip = Callable[..., Path]


def sample_bytes(output: Path) -> dict[str, bytes]:
    samples = output / "samples"
    return {
        str(path.relative_to(samples)): path.read_bytes() for path in samples.rglob("*") if path.is_file()
    }


def index_of(output: Path) -> list[IndexRow]:
    """Without the one column that differs from run to run."""
    return [replace(row, cpu_seconds=None) for row in read_index(output)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> Path:
    """A folder of two clips, one of which cannot be read."""
    folder = tmp_path_factory.mktemp("pair")
    make_clip(folder / "a.mp4")
    (folder / "b.mp4").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def done(pair: Path, tmp_path_factory: pytest.TempPathFactory, config_for: ConfigFor) -> PreprocessConfig:
    """The configuration of a run over the pair, which has ended. Copy its output to change it."""
    config = config_for(pair, tmp_path_factory.mktemp("done") / "out")
    preprocess(config)
    return config


def copied(done: PreprocessConfig, target: Path, **changes: Any) -> PreprocessConfig:
    shutil.copytree(done.output, target)
    return PreprocessConfig.build({**done.model_dump(), "output": target, **changes}, source="test")


def test_two_runs_give_the_same_bytes(done: PreprocessConfig, tmp_path: Path) -> None:
    again = done.updated(output=tmp_path / "out")
    preprocess(again)
    assert sample_bytes(again.output) == sample_bytes(done.output)
    assert index_of(again.output) == index_of(done.output)


def test_a_second_run_does_nothing_and_says_so(done: PreprocessConfig, tmp_path: Path) -> None:
    config = copied(done, tmp_path / "out")
    before, notes = (config.output / INDEX).read_bytes(), []
    report = preprocess(config, on_note=notes.append)
    assert (report.computed, report.clips, report.ok, report.errors) == (0, 2, 1, 1)
    assert any("2 clips were done already" in note for note in notes)
    assert (config.output / INDEX).read_bytes() == before


def test_a_new_clip_is_all_that_is_computed(
    done: PreprocessConfig, tmp_path: Path, make_clip: MakeClip
) -> None:
    source = tmp_path / "source"
    shutil.copytree(done.source, source)
    make_clip(source / "c.mp4", beeps=False)
    report = preprocess(copied(done, tmp_path / "out", source=source))
    assert (report.computed, report.clips, report.ok) == (1, 3, 2)


def test_a_clip_that_changed_is_computed_again(
    done: PreprocessConfig, tmp_path: Path, make_clip: MakeClip, man: list[np.ndarray]
) -> None:
    source = tmp_path / "source"
    shutil.copytree(done.source, source)
    config = copied(done, tmp_path / "out", source=source)
    (source / "a.mp4").unlink()
    make_clip(source / "a.mp4", man[:30])
    assert preprocess(config).computed == 1
    row = read_index(config.output)[0]
    assert row.frames == Sample.open(config.output / str(row.path)).frames == 30


def test_a_sample_that_was_removed_is_made_again_once(done: PreprocessConfig, tmp_path: Path) -> None:
    config = copied(done, tmp_path / "out")
    shutil.rmtree(config.output / "samples")
    assert preprocess(config).computed == 1
    assert sample_bytes(config.output) == sample_bytes(done.output)
    assert index_of(config.output) == index_of(done.output)
    assert preprocess(config).computed == 0


@pytest.mark.parametrize("damage", ["video.mp4", "sound.flac"])
def test_a_sample_with_a_file_lost_or_cut_short_is_made_again(
    done: PreprocessConfig, tmp_path: Path, damage: str
) -> None:
    config = copied(done, tmp_path / "out")
    (file,) = (config.output / "samples").glob(f"*/{damage}")
    if damage == "video.mp4":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    assert preprocess(config).computed == 1
    assert sample_bytes(config.output) == sample_bytes(done.output)


def test_a_sample_that_cannot_be_shown_costs_only_the_sheet(done: PreprocessConfig, tmp_path: Path) -> None:
    config, notes = copied(done, tmp_path / "out"), []
    (file,) = (config.output / "samples").glob("*/video.mp4")
    file.write_bytes(bytes(file.stat().st_size))
    (config.output / "sheet.png").unlink()
    assert preprocess(config, on_note=notes.append).ok == 1
    assert any(note.startswith("No contact sheet: ") for note in notes)
    assert not (config.output / "sheet.png").exists()


# ---------------------------------------------------------------- what else lies in the output


@pytest.mark.parametrize("theirs", ["sheet.png", "summary.json", "samples/mine/a.txt", "config.yaml"])
@pytest.mark.parametrize("run", [preprocess, estimate])
def test_a_folder_of_something_else_is_refused(
    pair: Path, tmp_path: Path, config_for: ConfigFor, theirs: str, run: Callable[..., Any]
) -> None:
    file = tmp_path / "out" / theirs
    file.parent.mkdir(parents=True)
    file.write_text("seed: 7\nclips: 3\n")
    with pytest.raises(OutputError, match="is not empty, and holds no samples"):
        run(config_for(pair, tmp_path / "out"))
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [file]
    assert file.read_text() == "seed: 7\nclips: 3\n"


@pytest.mark.parametrize("left", [[], ["lock"], ["lock", "config.yaml"], [".DS_Store"]])
def test_what_a_run_leaves_that_was_stopped_at_once_is_taken_up(
    done: PreprocessConfig, tmp_path: Path, left: list[str]
) -> None:
    (tmp_path / "out").mkdir()
    for name in left:
        source = done.output / name
        (tmp_path / "out" / name).write_bytes(source.read_bytes() if source.is_file() else b"")
    require_own_output(done.updated(output=tmp_path / "out"))


def test_another_source_wants_another_output(
    done: PreprocessConfig, tmp_path: Path, make_clip: MakeClip
) -> None:
    make_clip(tmp_path / "in" / "z.mp4", beeps=False)
    config = copied(done, tmp_path / "out", source=tmp_path / "in")
    before = {path: path.read_bytes() for path in config.output.rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match=r"holds 1 samples of other clips, such as 'a\.mp4'"):
        preprocess(config)
    after = {path: path.read_bytes() for path in config.output.rglob("*") if path.is_file()}
    lock = config.output / "lock"
    assert {**after, lock: b""} == {**before, lock: b""}


def test_samples_of_clips_that_are_gone_stay_and_are_remarked(
    done: PreprocessConfig, tmp_path: Path, make_clip: MakeClip
) -> None:
    source, notes = tmp_path / "source", []
    shutil.copytree(done.source, source)
    make_clip(source / "c.mp4", beeps=False)
    config = copied(done, tmp_path / "out", source=source)
    preprocess(config)
    (source / "c.mp4").unlink()
    report = preprocess(config, on_note=notes.append)
    assert (report.clips, len(read_index(config.output))) == (2, 2)
    assert len(list((config.output / "samples").iterdir())) == 2
    assert any("also holds 1 samples that are not of this source" in note for note in notes)


def test_a_split_without_anybody_is_remarked(done: PreprocessConfig, tmp_path: Path) -> None:
    notes: list[str] = []
    report = preprocess(copied(done, tmp_path / "out"), on_note=notes.append)
    empty = [split for split, count in report.identities_by_split.items() if not count]
    assert [note.split("'")[1] for note in notes if "hash of its name" in note] == empty
    assert len(empty) == 1


def test_ctrl_c_says_how_far_it_came(
    pair: Path, tmp_path: Path, config_for: ConfigFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(pair, tmp_path / "out")

    def stop(_phase: str, done: int, _total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"1 of 2 clips are done in '.*out'\. Run the same command again"):
        preprocess(config, on_progress=stop)
    assert preprocess(config).computed == 1


def test_errors_are_tried_again_when_asked(done: PreprocessConfig, tmp_path: Path) -> None:
    config = copied(done, tmp_path / "out", retry_errors=True)
    report = preprocess(config)
    assert (report.computed, report.errors) == (1, 1)


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"size": 96}, "size = 64, but now size is 96"), ({"crop": {"left": 2.0}}, r"crop\.left = 0\.9")],
)
def test_other_settings_want_another_folder(
    done: PreprocessConfig, tmp_path: Path, changes: dict[str, Any], key: str
) -> None:
    config = copied(done, tmp_path / "out", **changes)
    before = sample_bytes(config.output)
    with pytest.raises(UsageError, match=key) as caught:
        preprocess(config)
    assert caught.value.exit_code == 2
    assert "--output" in caught.value.fix
    assert sample_bytes(config.output) == before


def test_settings_that_change_no_sample_may_change(done: PreprocessConfig, tmp_path: Path) -> None:
    assert preprocess(copied(done, tmp_path / "out", timeout_seconds=9.0, max_attempts=1)).computed == 0


def test_two_runs_do_not_share_a_folder(done: PreprocessConfig, tmp_path: Path) -> None:
    from megactor_core.files import sole_owner

    config = copied(done, tmp_path / "out")
    with sole_owner(config.output / "lock"), pytest.raises(OutputError, match="in use by another run"):
        preprocess(config)


def test_when_nothing_can_be_used_the_report_says_so(tmp_path: Path, config_for: ConfigFor) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.mp4").write_text("no")
    report = preprocess(config_for(tmp_path / "in", tmp_path / "out"))
    assert (report.ok, report.errors) == (0, 1)
    assert len(read_index(tmp_path / "out")) == 1


def test_samples_keep_the_manifests_split(tmp_path: Path, make_clip: MakeClip, config_for: ConfigFor) -> None:
    make_clip(tmp_path / "a.mp4", beeps=False)
    given = "train" if split_of("anna") == "validation" else "validation"
    (tmp_path / "m.jsonl").write_text(
        f'{{"source_uri": "a.mp4", "clip_id": "c", "identity": "anna", "split": "{given}"}}\n'
    )
    preprocess(config_for(tmp_path / "m.jsonl", tmp_path / "out"))
    (row,) = read_index(tmp_path / "out")
    assert (row.sample_id, row.split, row.path) == ("c", given, "samples/c")
    assert Sample.open(tmp_path / "out" / "samples" / "c").facts.split == given


def test_two_workers_give_what_none_gives(wild_run: SimpleNamespace, tmp_path: Path) -> None:
    config = wild_run.config.updated(output=tmp_path / "out", workers=2)
    preprocess(config)
    assert sample_bytes(config.output) == sample_bytes(wild_run.config.output)
    assert index_of(config.output) == index_of(wild_run.config.output)


RUN = """
import sys
from pathlib import Path
from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.preprocessing.preprocess import preprocess

if __name__ == "__main__":
    values = {"source": sys.argv[1], "output": sys.argv[2], "size": 64, "min_frames": 16}
    values["workers"] = int(sys.argv[3])
    preprocess(PreprocessConfig.build(values, source="test"))
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_killed_goes_on(wild_run: SimpleNamespace, tmp_path: Path, workers: int) -> None:
    """Killed when the first sample is there, and again in the middle of a later one."""
    script, output = tmp_path / "run.py", tmp_path / "out"
    script.write_text(RUN)
    source = wild_run.config.source
    for wanted in (1, 3):
        run = subprocess.Popen([sys.executable, str(script), str(source), str(output), str(workers)])
        while run.poll() is None and len(published(output)) < wanted:
            time.sleep(0.02)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    assert not (output / INDEX).exists()
    preprocess(wild_run.config.updated(output=output))
    assert index_of(output) == index_of(wild_run.config.output)
    assert sample_bytes(output) == sample_bytes(wild_run.config.output)


def published(output: Path) -> list[Path]:
    samples = output / "samples"
    if not samples.is_dir():
        return []
    return [path for path in samples.iterdir() if not path.name.startswith(".")]


def test_what_killed_workers_left_is_removed_whoever_has_their_numbers_now(
    wild_run: SimpleNamespace, tmp_path: Path
) -> None:
    """A killed process may linger under its number, or another one may have got it."""
    output = tmp_path / "out"
    shutil.copytree(wild_run.config.output, output)
    left = output / "samples" / f".somebody-0123456789ab.partial-{os.getppid()}"
    left.mkdir()
    (left / "video.mp4").touch()
    preprocess(wild_run.config.updated(output=output))
    assert not left.exists()
    assert sample_bytes(output) == sample_bytes(wild_run.config.output)
