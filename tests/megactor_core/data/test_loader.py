"""The stream of batches: the same samples whatever the workers, the batches, the processes and the start."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.config.data import DataConfig
from megactor_core.data.batch import Batch
from megactor_core.data.loader import DataBatches, Stream, read_batches
from megactor_core.errors import MediaError

ROOT = Path(__file__).resolve().parents[3]
Check = Callable[[Any, Any], None]

small = st.integers(1, 4)


@pytest.fixture(scope="module")
def source(make: Any) -> DataBatches:
    return DataBatches(make.data(DataConfig()), fingerprint="memory")


def numbers(batches: list[Batch]) -> list[int]:
    return [number for batch in batches for number in batch.index.tolist()]


def drawn_by_step(streams: list[Stream]) -> list[list[int]]:
    """The numbers of each step, of all processes together, in rising order."""
    shares = [list(stream) for stream in streams]
    parts = streams[0].accumulate
    return [
        sorted(
            number
            for share in shares
            for group in share[step * parts : (step + 1) * parts]
            for number in group
        )
        for step in range(streams[0].steps)
    ]


@given(start=st.integers(0, 100), steps=small, accumulate=small, batch_size=small, processes=small)
def test_processes_and_accumulation_share_out_consecutive_samples(
    start, steps, accumulate, batch_size, processes
) -> None:
    streams = [
        Stream(batch_size, steps, start, accumulate, processes, process) for process in range(processes)
    ]
    per_step = streams[0].samples_per_step
    assert per_step == accumulate * batch_size * processes
    for step, drawn in enumerate(drawn_by_step(streams)):
        assert drawn == list(range(start + step * per_step, start + (step + 1) * per_step))
    assert all(len(list(stream)) == len(stream) for stream in streams)
    assert {stream.next_index(steps) for stream in streams} == {start + steps * per_step}


@given(steps=small, accumulate=small, batch_size=small)
def test_two_processes_read_what_one_does_with_twice_the_accumulation(steps, accumulate, batch_size) -> None:
    two = [Stream(batch_size, steps, 0, accumulate, 2, process) for process in (0, 1)]
    assert drawn_by_step(two) == drawn_by_step([Stream(batch_size, steps, 0, 2 * accumulate)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"start": -1},
        {"steps": -1},
        {"accumulate": 0},
        {"process": -1},
        {"process": 2, "processes": 2},
    ],
)
def test_an_impossible_stream_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not a stream"):
        Stream(**{"batch_size": 1, "steps": 1, **wrong})


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_a_batch(source: DataBatches, assert_same: Check, workers: int) -> None:
    stream = Stream(batch_size=3, start=4, steps=4)
    alone = list(read_batches(source, stream, workers=0))
    shared = list(read_batches(source, stream, workers=workers))
    assert numbers(alone) == list(range(4, 16))
    for one, other in zip(alone, shared, strict=True):
        assert_same(one, other)


def test_batch_size_does_not_change_a_sample(source: DataBatches) -> None:
    small = list(read_batches(source, Stream(batch_size=2, steps=6), workers=0))
    (large,) = read_batches(source, Stream(batch_size=12, steps=1), workers=0)
    for step, batch in enumerate(small):
        assert (large.target[2 * step : 2 * step + 2] == batch.target).all()
        assert (large.driving[2 * step : 2 * step + 2] == batch.driving).all()


def test_reading_goes_on_in_the_middle_of_an_epoch(source: DataBatches, assert_same: Check) -> None:
    """Five clips an epoch, batches of three: every stop is in the middle of one."""
    stream = Stream(batch_size=3, steps=6)
    whole = list(read_batches(source, stream, workers=0))
    for stop in range(1, 6):
        read = list(islice(read_batches(source, stream, workers=0), stop))
        going_on = replace(stream, start=stream.next_index(stop), steps=6 - stop)
        rest = list(read_batches(source, going_on, workers=0))
        for one, other in zip(read + rest, whole, strict=True):
            assert_same(one, other)


def test_a_process_reads_its_part(source: DataBatches) -> None:
    parts = [
        list(read_batches(source, Stream(2, steps=2, processes=2, process=process), workers=0))
        for process in (0, 1)
    ]
    assert numbers(parts[0]) == [0, 1, 4, 5]
    assert numbers(parts[1]) == [2, 3, 6, 7]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_sample_is_the_reader_s_own_error(make: Any, workers: int) -> None:
    """Not a DataLoader's, which quotes a traceback."""
    clips = make.source([make.clip(0)])
    clips.rows[0] = replace(clips.rows[0], has_driver=True)
    data = make.data(DataConfig(mix={"visual": 0, "audio": 0, "mixed": 1}, null_rate=0), clips)
    with pytest.raises(MediaError) as raised:
        list(read_batches(DataBatches(data, fingerprint=""), Stream(2, steps=2), workers=workers))
    assert str(raised.value) == "no driver"


class _CountsThreads:
    """Its batches say how many threads OpenCV has where they are read."""

    fingerprint, holds_latents = "", True

    def batch(self, numbers: Any) -> list[int]:
        return [cv2.getNumThreads() for _ in numbers]


def test_reading_processes_have_no_threads_of_opencv() -> None:
    """Those of the parent do not survive the fork, and what waits for them waits for ever."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        (batch,) = read_batches(_CountsThreads(), Stream(batch_size=1, steps=1), workers=1)
        assert batch == [1]
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


BUSY_PARENT = """
import cv2, numpy as np, torch
from megactor_core.data.loader import Stream, read_batches

cv2.setNumThreads(4)
torch.set_num_threads(4)
picture = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)

class Filters:
    fingerprint, holds_latents = "", True
    def batch(self, numbers):
        blurred = cv2.GaussianBlur(cv2.resize(picture, (1536, 1536)), (0, 0), 3)
        x = torch.randn(512, 512)
        return float(blurred.mean()) + float((x @ x).sum()) * 0

def work():
    x = torch.randn(1024, 1024, requires_grad=True)
    (x @ x).relu().sum().backward()
    return Filters().batch([0])

work()
found = []
for batch in read_batches(Filters(), Stream(batch_size=1, steps=6), workers=2):
    work()  # the parent's threads are at work beside the readers, as in training
    found.append(batch)
print(len(set(found)), len(found))
"""


@pytest.mark.slow
def test_readers_do_not_hang_on_the_threads_of_a_parent_that_was_at_work() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("OMP_NUM_THREADS", None)
    done = subprocess.run(
        [sys.executable, "-c", BUSY_PARENT],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "1 6\n"), done.stderr
