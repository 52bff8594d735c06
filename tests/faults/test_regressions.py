"""What the trials found broken, each by itself."""

import errno
import os
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from megactor_core.animation.store import STATE, RunFolder
from megactor_core.config.recipes import copy_recipe, save_config
from megactor_core.config.synth import SynthConfig
from megactor_core.engine import worker
from megactor_core.errors import OutputError
from megactor_core.files import atomic_path, disk_errors, sole_owner
from megactor_core.media.video_writer import VideoWriter, _WrittenFile
from megactor_core.synthetic import corpus
from megactor_core.training import run_checkpoint
from megactor_core.training.run import LOCK, sole_run


def fail_once(number: int) -> Any:
    """A function that raises that error of the system at its first call."""
    calls: list[int] = []

    def fail(real: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise OSError(number, os.strerror(number))
        return real(*arguments)

    return fail


def test_a_recipe_is_not_copied_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_bytes", lambda *_: fail_once(errno.ENOSPC)(None))
    with pytest.raises(OutputError, match="No space left"):
        copy_recipe("animate/paper", tmp_path / "mine.yaml")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_under_tensors_is_told_as_such(tmp_path: Path) -> None:
    told = "Error while serializing: I/O error: No space left on device (os error 28)"
    with pytest.raises(OSError, match="No space left") as caught, atomic_path(tmp_path / "a.safetensors"):
        raise SafetensorError(told)
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(ValueError, match="another"), disk_errors(tmp_path):
        raise ValueError("another")


@pytest.mark.parametrize("opened", [0, 1])
def test_a_video_with_a_gap_gets_no_name(
    opened: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write fails, in the fragments or in the file that is made of them, and FFmpeg passes over it."""
    made: list[Path] = []

    class Gapped(_WrittenFile):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            if len(made) == opened:
                self._failure = OSError(errno.EIO, os.strerror(errno.EIO))
            made.append(path)

    monkeypatch.setattr("megactor_core.media.video_writer._WrittenFile", Gapped)
    video = VideoWriter(tmp_path / "film.mp4", video_fps=Fraction(25), width=64, height=64)
    with pytest.raises(OutputError, match="Input/output error"):
        _film(video)
    assert list(tmp_path.iterdir()) == []


def _film(video: VideoWriter) -> None:
    with video:
        video.write(np.zeros((64, 64, 3), np.uint8))


def test_a_run_that_could_not_write_its_first_state_is_no_obstacle(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "film.mp4.resume")
    folder.path.mkdir()
    for name in ("lock", ".state.partial-12.json", ".megactor-write-test-12"):
        (folder.path / name).touch()
    folder.claim()
    folder.start({"run": {}})
    assert folder.exists()
    folder.remove()
    assert not folder.path.exists()


def test_a_run_folder_is_known_until_the_last_of_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "film.mp4.resume")
    folder.claim()
    folder.start({"run": {}})
    for name in "abc":
        (folder.path / f"{name}.bin").touch()
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # killed before it
    folder.remove()
    assert [path.name for path in folder.path.iterdir()] == [STATE]


def test_a_second_synth_changes_nothing_of_the_first(tmp_path: Path) -> None:
    config = SynthConfig(output=tmp_path, clips=1, seconds=0.2, size=32, workers=0)
    save_config(config, tmp_path / "config.yaml")
    before = (tmp_path / "config.yaml").read_bytes()
    with sole_owner(tmp_path / corpus.LOCK), pytest.raises(OutputError, match="in use by another run"):
        corpus.make_corpus(config.updated(clips=2))
    assert (tmp_path / "config.yaml").read_bytes() == before


def test_a_training_run_that_was_killed_at_once_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".megactor-write-test-12").touch()
    with sole_run(tmp_path):
        assert (tmp_path / LOCK).exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(OutputError, match="not a run"), sole_run(tmp_path / "other"):
        pass


def test_an_old_checkpoint_is_removed_whole_or_has_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = run_checkpoint.checkpoint_folder(tmp_path, 1)
    old.mkdir(parents=True)
    (old / "a").touch()
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # fails
    run_checkpoint._remove(old)
    assert run_checkpoint.step_folders(tmp_path) == []
    monkeypatch.undo()
    run_checkpoint.clear_leftovers(tmp_path)
    assert list(old.parent.iterdir()) == []


def test_a_worker_without_memory_dies_and_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def prepare(self, _: object) -> None: ...

        def run(self, *_: object, **__: object) -> None:
            raise MemoryError

    deaths: list[int] = []
    monkeypatch.setattr(worker, "_bench", Full())
    monkeypatch.setattr(os, "kill", lambda _, number: deaths.append(number))
    task = worker.Task((), slice(0, 1))
    with pytest.raises(MemoryError):
        worker.work(task)
    assert deaths == [9]


@pytest.mark.parametrize("wanted", [True, False])
def test_deterministic_algorithms_are_for_the_block_alone(wanted: bool) -> None:
    from megactor_core.models.device import deterministic_algorithms

    with deterministic_algorithms(wanted):
        assert torch.are_deterministic_algorithms_enabled() is wanted
    assert not torch.are_deterministic_algorithms_enabled()
