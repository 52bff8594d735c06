"""Batches of a stream of samples, over worker processes and ranks; its whole state is the next index.

Of every `batch_size * world_size` consecutive samples, rank r takes the r-th part. So as long as that product
stays, the same samples make the same step on any number of ranks, and training goes on from any step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
from torch.utils.data import DataLoader, Dataset, Sampler

from megactor_core.data.batch import Batch, Item, collate
from megactor_core.data.dataset import TrainingData
from megactor_core.errors import MegActorError

PREFETCH_BATCHES = 2  # of each worker


@dataclass(frozen=True)
class Stream(Sampler[list[int]]):
    """The samples of one rank, batch by batch: `steps` batches from global index `start`."""

    batch_size: int
    """Samples a step and rank."""
    start: int
    """The first sample of the first step, of all ranks together."""
    steps: int
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.start < 0 or not 0 <= self.rank < self.world_size:
            raise ValueError(f"not a stream: {self}")

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.steps):
            first = self.next_index(step) + self.rank * self.batch_size
            yield list(range(first, first + self.batch_size))

    def next_index(self, steps_done: int) -> int:
        """The `start` that goes on after `steps_done` steps: all that needs to be saved."""
        return self.start + steps_done * self.batch_size * self.world_size


class Batches:
    """The batches of a `Stream`, in order; an error inside a worker process is raised here as it is."""

    def __init__(self, data: TrainingData, stream: Stream, *, workers: int) -> None:
        self.stream = stream
        self._loader: DataLoader[Any] = DataLoader(
            _Reading(data),
            batch_sampler=stream,
            num_workers=workers,
            collate_fn=_collate,
            prefetch_factor=PREFETCH_BATCHES if workers else None,
        )

    def __len__(self) -> int:
        return len(self.stream)

    def __iter__(self) -> Iterator[Batch]:
        """Raises MediaError where a sample's files are missing or damaged."""
        with opencv_without_threads():
            batches = iter(self._loader)
        for batch in batches:
            if isinstance(batch, MegActorError):
                raise batch
            yield batch


def make_loader(
    data: TrainingData,
    *,
    batch_size: int,
    start: int,
    steps: int,
    workers: int,
    rank: int = 0,
    world_size: int = 1,
) -> Batches:
    """`steps` batches from global index `start`, read ahead by `workers` processes (0: by this one)."""
    return Batches(data, Stream(batch_size, start, steps, rank, world_size), workers=workers)


class _Reading(Dataset[Any]):
    """The samples, with an error in the place of one that cannot be read.

    A DataLoader turns what a worker raises into another exception that quotes a traceback.
    """

    def __init__(self, data: TrainingData) -> None:
        self.data = data

    def __getitem__(self, index: int) -> Item | MegActorError:
        try:
            return self.data[index]
        except MegActorError as error:
            return error


def _collate(items: list[Item | MegActorError]) -> Batch | MegActorError:
    samples: list[Item] = []
    for item in items:
        if isinstance(item, MegActorError):
            return item
        samples.append(item)
    return collate(samples)


@contextmanager
def opencv_without_threads() -> Iterator[None]:
    """Start reading processes inside of this: OpenCV's threads do not survive a fork.

    A forked process that inherits them waits for ever in the first filter that would use them, and in
    cv2.setNumThreads as well. Afterwards this process has its threads again, its children have none: parallel
    work comes from the processes, and threads in each would only fight for the same cores.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
