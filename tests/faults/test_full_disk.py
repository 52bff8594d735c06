"""A real disk that is too small: the message, nothing left of the attempt, and the same command after it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte in memory; only root may make one, and not in every container."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except OSError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip("this user may not mount a disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_disk_that_is_too_small(small_disk: Path) -> None:
    (small_disk / "mine.txt").write_text("mine")
    command = [sys.executable, "-m", "megactor_cli", "weights", "init", "nano", "--preset", "nano", "--quiet"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=small_disk, env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: No space left on device")
    assert ended.stderr.count("\n") == 1
    assert [path.name for path in small_disk.iterdir()] == ["mine.txt"]
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    again = subprocess.run(command, cwd=small_disk, env=environment, capture_output=True, text=True)
    assert (again.returncode, again.stderr) == (0, "")
    assert (small_disk / "nano" / "manifest.json").is_file()
