"""Batches of a stream of numbered samples, read ahead by worker processes; its whole state is the next index.

A step takes the next batch_size * processes * accumulate samples. Processes and accumulation only share them
out: as long as that product stays, the same samples make the same step, and training goes on from any step.
"""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, TypeVar

import cv2
from torch.utils.data import DataLoader, Dataset, Sampler

from megactor_core.config.data import DataConfig
from megactor_core.config.model import ModelConfig
from megactor_core.data.batch import Batch, collate
from megactor_core.data.dataset import TrainingData
from megactor_core.data.sample import INDEX
from megactor_core.errors import MegActorError
from megactor_core.files import sha256_of

PREFETCH_BATCHES = 2
"""Batches that each worker reads ahead."""

B = TypeVar("B")
B_co = TypeVar("B_co", covariant=True)


class BatchSource(Protocol[B_co]):
    """Batches of numbered samples: one for every number, which depends on that number alone."""

    @property
    def fingerprint(self) -> str:
        """The same as long as every sample is; a run does not go on with other data."""

    @property
    def holds_latents(self) -> bool:
        """Whether batches hold latents, so that nothing needs to be encoded."""

    def batch(self, numbers: Sequence[int]) -> B_co:
        """The samples of these numbers, in order; raises MegActorError where one cannot be read."""


class DataBatches:
    """Batches of training data."""

    def __init__(self, data: TrainingData, *, fingerprint: str) -> None:
        self.data = data
        self.fingerprint = fingerprint

    @classmethod
    def open(cls, folder: Path, *, config: DataConfig, model: ModelConfig, seed: int) -> Self:
        """Of a folder that `megactor preprocess` wrote.

        Raises MediaError where there is no index, ConfigError where its clips do not fit.
        """
        data = TrainingData.open(folder, config=config, model=model, seed=seed)
        return cls(data, fingerprint=sha256_of(folder / INDEX))

    @property
    def holds_latents(self) -> bool:
        return self.data.pools.stored_latents

    def batch(self, numbers: Sequence[int]) -> Batch:
        return collate([self.data[number] for number in numbers])


@dataclass(frozen=True)
class Stream(Sampler[list[int]]):
    """The samples of one process: `accumulate` lists of `batch_size` numbers for each of `steps` steps."""

    batch_size: int
    steps: int
    start: int = 0
    """The first sample of the first step, of all processes together."""
    accumulate: int = 1
    processes: int = 1
    process: int = 0

    def __post_init__(self) -> None:
        least = min(self.batch_size, self.accumulate, self.processes - self.process)
        if least < 1 or min(self.start, self.steps, self.process) < 0:
            raise ValueError(f"not a stream: {self}")

    @property
    def samples_per_step(self) -> int:
        """Of all processes together."""
        return self.batch_size * self.accumulate * self.processes

    def __len__(self) -> int:
        return self.steps * self.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        for part in range(len(self)):  # parts of a step, and steps, follow each other without a gap
            first = self.start + (part * self.processes + self.process) * self.batch_size
            yield list(range(first, first + self.batch_size))

    def next_index(self, steps_done: int) -> int:
        """The `start` that goes on after `steps_done` steps: all that needs to be saved."""
        return self.start + steps_done * self.samples_per_step


def read_batches(source: BatchSource[B], stream: Stream, *, workers: int) -> Iterator[B]:
    """The batches of a stream, in order, read ahead by `workers` processes (0: by this one).

    An error inside of a worker is raised here as it is: MegActorError where a sample cannot be read.
    """
    loader = DataLoader(
        _Groups(source),
        sampler=stream,
        batch_size=None,  # an item is a whole batch
        num_workers=workers,
        prefetch_factor=PREFETCH_BATCHES if workers else None,
        worker_init_fn=_leave_signals_to_the_run,
    )
    with opencv_without_threads():
        batches = iter(loader)
    for batch in batches:
        if isinstance(batch, MegActorError):
            raise batch
        yield batch


class _Groups(Dataset[B | MegActorError]):
    """Batches by their samples' numbers, with an error in the place of one that cannot be read.

    A DataLoader turns what a worker raises into another exception that quotes a traceback.
    """

    def __init__(self, source: BatchSource[B]) -> None:
        self._source = source

    def __getitem__(self, numbers: list[int]) -> B | MegActorError:
        try:
            return self._source.batch(numbers)
        except MegActorError as error:
            return error


def _leave_signals_to_the_run(_worker: int) -> None:
    # Ctrl-C reaches every process of the terminal, but only the run itself knows how to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def opencv_without_threads() -> Iterator[None]:
    """Start reading processes inside of this: OpenCV's threads do not survive a fork.

    A forked process that inherits them waits for ever in the first filter that would use them, and in
    cv2.setNumThreads as well. Afterwards this process has its threads again, its children have none: parallel
    work comes from the processes, and threads in each would only fight for the same cores. PyTorch's own
    threads need no such care: a DataLoader's worker goes down to one before it reads.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
