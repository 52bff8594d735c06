"""Where batches come from, and which samples each process reads: a pure function of the step."""

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, Self, TypeVar

from torch.utils.data import DataLoader, Dataset

from megactor_core.config.model import ModelConfig
from megactor_core.config.train import TrainConfig
from megactor_core.data.batch import Batch, collate
from megactor_core.data.dataset import TrainingData
from megactor_core.data.sample import INDEX
from megactor_core.errors import MegActorError
from megactor_core.files import sha256_of

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


class FolderBatches:
    """Batches from a folder that `megactor preprocess` wrote."""

    def __init__(self, data: TrainingData, *, fingerprint: str) -> None:
        self._data = data
        self.fingerprint = fingerprint

    @classmethod
    def open(cls, config: TrainConfig, model: ModelConfig) -> Self:
        """The run's data; raises MediaError or ConfigError where they are missing or do not fit."""
        folder: Path = config.data
        data = TrainingData.open(folder, config=config.draw, model=model, seed=config.seed)
        return cls(data, fingerprint=sha256_of(folder / INDEX))

    @property
    def holds_latents(self) -> bool:
        return self._data.pools.stored_latents

    def batch(self, numbers: Sequence[int]) -> Batch:
        return collate([self._data[number] for number in numbers])


def sample_numbers(
    first: int, *, steps: int, accumulate: int, batch_size: int, processes: int, process: int
) -> Iterator[list[int]]:
    """The samples of one process: `accumulate` lists of `batch_size` numbers a step.

    A step takes the next batch_size * processes * accumulate numbers from `first` on, the same ones whether
    processes or accumulation share them out.
    """
    for _ in range(steps):
        for part in range(accumulate):
            start = first + (part * processes + process) * batch_size
            yield list(range(start, start + batch_size))
        first += accumulate * processes * batch_size


def read_batches(source: BatchSource[B], groups: Iterator[list[int]], *, workers: int) -> Iterator[B]:
    """The batches of groups of numbers, in order, read ahead by `workers` processes.

    Raises MegActorError where a sample cannot be read.
    """
    loader = DataLoader(
        _Groups(source),
        sampler=groups,
        batch_size=None,
        num_workers=workers,
        worker_init_fn=_leave_signals_to_the_run,
    )
    for batch in loader:
        if isinstance(batch, MegActorError):
            raise batch
        yield batch


class _Groups(Dataset[B | MegActorError]):
    """Errors travel as values: raised in a reading process they would lose their words."""

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
