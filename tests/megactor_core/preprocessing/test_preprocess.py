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
from megactor_core.errors import OutputError, UsageError
from megactor_core.preprocessing.preprocess import preprocess

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


@pytest.mark.slow
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


@pytest.mark.slow
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
