"""How many rows to hand out at once: many where rows are cheap, few towards the end."""

import math
from collections import deque
from collections.abc import Container, Iterator
from typing import Final

from megactor_core.engine.stage import Outcome

MAX_ROWS: Final = 1000
_MEMORY: Final = 0.8
"""Weight of what was known before against the batch that was measured last."""


class Pace:
    """Sizes of batches that take about `batch_seconds`, learnt from those before."""

    def __init__(self, batch_seconds: float) -> None:
        self._batch_seconds = batch_seconds
        self._row_seconds: float | None = None

    @property
    def rows(self) -> int:
        """Rows of the next batch: one until a batch has been measured."""
        if self._row_seconds is None:
            return 1
        return max(1, min(MAX_ROWS, int(self._batch_seconds / max(self._row_seconds, 1e-9))))

    def measure(self, *, rows: int, seconds: float) -> None:
        """A batch of `rows` rows took so long."""
        row_seconds = seconds / rows
        before = row_seconds if self._row_seconds is None else self._row_seconds
        self._row_seconds = _MEMORY * before + (1 - _MEMORY) * row_seconds


class Supply:
    """The rows still to be handed out, read ahead only as far as needed to see the end coming."""

    def __init__(self, rows: Iterator[Outcome], *, alone: Container[str]) -> None:
        self._rows = rows
        self._ahead: deque[Outcome] = deque()
        self._alone = alone

    def take(self, pace: Pace, *, workers: int) -> list[Outcome]:
        """The next batch, empty at the end; where there are several workers, they share out the last rows.

        A row that was tried before, or is in `alone`, is a batch of its own.
        """
        while len(self._ahead) <= 2 * workers * pace.rows and (row := next(self._rows, None)) is not None:
            self._ahead.append(row)
        share = math.ceil(len(self._ahead) / (2 * workers)) if workers > 1 else len(self._ahead)
        count = min(pace.rows, share)
        batch: list[Outcome] = []
        while self._ahead and len(batch) < count:
            if self._is_alone(self._ahead[0]):
                return batch or [self._ahead.popleft()]
            batch.append(self._ahead.popleft())
        return batch

    def add(self, row: Outcome) -> None:
        """Hand this row out too."""
        self._ahead.append(row)

    def __len__(self) -> int:
        """Rows read ahead."""
        return len(self._ahead)

    def _is_alone(self, row: Outcome) -> bool:
        return row.attempts > 1 or row.key in self._alone
