"""Frame files hold what was written, in any order; run folders delete only themselves."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.animation.store import FrameFile, RunFolder
from megactor_core.errors import OutputError


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 6)), min_size=1, max_size=12), st.data())
def test_a_frame_file_is_an_array_on_disk(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[int, int]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("store") / "frames.bin"
    file, expected = FrameFile(path, shape=(2, 3)), np.zeros((40, 2, 3), np.float32)
    for number, (start, count) in enumerate(writes):
        records = np.random.default_rng(number).standard_normal((count, 2, 3), dtype=np.float32)
        file.write(start, records)
        expected[start : start + count] = records
    end = max(start + count for start, count in writes)
    start = data.draw(st.integers(0, end - 1))
    stop = data.draw(st.integers(start + 1, end))
    assert np.array_equal(file.read(start, stop), expected[start:stop])
    order = data.draw(st.lists(st.integers(0, end - 1), min_size=1))
    file.flush()
    again = FrameFile(path, shape=(2, 3))
    assert np.array_equal(again.gather(order), expected[order])
    file.close()
    again.close()


def test_records_of_another_shape_are_refused(tmp_path: Path) -> None:
    file = FrameFile(tmp_path / "frames.bin", shape=(2,), dtype="bool")
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        file.write(0, np.zeros((1, 3), bool))
    file.close()


def test_run_folder(tmp_path: Path) -> None:
    folder = RunFolder.of(tmp_path / "out.mp4")
    assert not folder.exists()
    assert folder.state() == {}
    folder.claim()
    folder.start({"run": 1})
    folder.file("a", shape=(1,)).write(0, np.ones((3, 1), np.float32))
    folder.save({"run": 1, "steps_done": 2})
    folder.close()
    again = RunFolder.of(tmp_path / "out.mp4")
    assert again.state() == {"run": 1, "steps_done": 2}
    assert again.file("a", shape=(1,)).read(1, 3).tolist() == [[1.0], [1.0]]
    again.claim()
    again.start({"run": 2})
    assert sorted(path.name for path in again.path.iterdir()) == ["lock", "state.json"]
    again.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_kind_is_not_claimed(tmp_path: Path) -> None:
    folder = RunFolder.of(tmp_path / "out.mp4")
    folder.path.mkdir()
    (folder.path / "diary.txt").touch()
    with pytest.raises(OutputError, match="not a run of megactor"):
        folder.claim()
    (folder.path / "diary.txt").unlink()
    folder.claim()  # an empty one, or one that a killed run has only just locked, is nobody's
    folder.close()


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    first, second = RunFolder.of(tmp_path / "out.mp4"), RunFolder.of(tmp_path / "out.mp4")
    first.claim()
    with pytest.raises(OutputError, match=f"in use by another run.*process {os.getpid()}"):
        second.claim()
    first.close()
    second.claim()
    second.close()
