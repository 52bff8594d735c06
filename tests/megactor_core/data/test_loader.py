"""The stream of batches: the same samples whatever the workers, the batches, the ranks and the start."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import cv2
import pytest

from megactor_core.config.data import DataConfig
from megactor_core.data.batch import Batch, Item
from megactor_core.data.dataset import TrainingData
from megactor_core.data.loader import Batches, Stream, make_loader
from megactor_core.errors import MediaError

Check = Callable[[Any, Any], None]


@pytest.fixture
def data(make: Any) -> TrainingData:
    reader: TrainingData = make.data(DataConfig())
    return reader


def numbers(batches: list[Batch]) -> list[int]:
    return [number for batch in batches for number in batch.index.tolist()]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_a_batch(data: TrainingData, assert_same: Check, workers: int) -> None:
    alone = list(make_loader(data, batch_size=3, start=4, steps=4, workers=0))
    shared = list(make_loader(data, batch_size=3, start=4, steps=4, workers=workers))
    assert numbers(alone) == list(range(4, 16))
    for one, other in zip(alone, shared, strict=True):
        assert_same(one, other)


def test_batch_size_does_not_change_a_sample(data: TrainingData) -> None:
    small = list(make_loader(data, batch_size=2, start=0, steps=6, workers=0))
    (large,) = make_loader(data, batch_size=12, start=0, steps=1, workers=0)
    for step, batch in enumerate(small):
        assert (large.target[2 * step : 2 * step + 2] == batch.target).all()
        assert (large.driving[2 * step : 2 * step + 2] == batch.driving).all()


def test_reading_goes_on_in_the_middle_of_an_epoch(data: TrainingData, assert_same: Check) -> None:
    """Five clips an epoch, batches of three: every stop is in the middle of one."""
    whole = list(make_loader(data, batch_size=3, start=0, steps=6, workers=0))
    for stop in range(1, 6):
        first = make_loader(data, batch_size=3, start=0, steps=6, workers=0)
        read = list(islice(first, stop))
        saved = first.stream.next_index(stop)
        rest = list(make_loader(data, batch_size=3, start=saved, steps=6 - stop, workers=0))
        assert len(read + rest) == len(whole)
        for one, other in zip(read + rest, whole, strict=True):
            assert_same(one, other)


@pytest.mark.parametrize("world_size", [1, 2, 3, 6])
def test_ranks_share_out_the_same_steps(data: TrainingData, world_size: int) -> None:
    ranks = [
        list(Stream(batch_size=6 // world_size, start=10, steps=3, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    for step in range(3):
        drawn = [number for rank in ranks for number in rank[step]]
        assert drawn == list(range(10 + 6 * step, 16 + 6 * step))
    streams = [Stream(6 // world_size, 10, 3, rank, world_size) for rank in range(world_size)]
    assert {stream.next_index(3) for stream in streams} == {28}


def test_a_rank_reads_its_part(data: TrainingData) -> None:
    parts = [
        list(make_loader(data, batch_size=2, start=0, steps=2, workers=0, rank=rank, world_size=2))
        for rank in (0, 1)
    ]
    assert numbers(parts[0]) == [0, 1, 4, 5]
    assert numbers(parts[1]) == [2, 3, 6, 7]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_sample_is_the_reader_s_own_error(make: Any, workers: int) -> None:
    """Not a DataLoader's, which quotes a traceback."""
    source = make.source([make.clip(0)])
    source.rows[0] = replace(source.rows[0], has_driver=True)
    data = make.data(DataConfig(mix={"visual": 0, "audio": 0, "mixed": 1}, null_rate=0), source)
    with pytest.raises(MediaError) as raised:
        list(make_loader(data, batch_size=2, start=0, steps=2, workers=workers))
    assert str(raised.value) == "no driver"


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"start": -1}, {"rank": 2, "world_size": 2}])
def test_an_impossible_stream_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not a stream"):
        Stream(**{"batch_size": 1, "start": 0, "steps": 1, **wrong})


class _CountsThreads:
    """Stands for a reader: its samples say how many threads OpenCV has where they are read."""

    def __init__(self, data: TrainingData) -> None:
        self.item = data[0]

    def __getitem__(self, index: int) -> Item:
        return replace(self.item, index=cv2.getNumThreads())


def test_reading_processes_have_no_threads_of_opencv(data: TrainingData) -> None:
    """Those of the parent do not survive the fork, and what waits for them waits for ever."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        stream = Stream(batch_size=1, start=0, steps=1)
        (batch,) = Batches(_CountsThreads(data), stream, workers=1)  # type: ignore[arg-type]
        assert batch.index.tolist() == [1]
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)
