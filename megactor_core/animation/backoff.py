"""Less at once where memory runs out: batches that shrink, and what is said when even one thing is too much.

How much is done at once changes no result, so it is lowered without asking, but said and recorded each time.
A smaller picture or a shorter window would change it: the error names them and leaves them to the user.

What is lowered is what the failed work holds: frames while decoding, windows while denoising. Neither is in
memory during the other. Conditional and unconditional rows of guidance are calls of their own in any case.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Final, TypeVar

import torch

from megactor_core.animation.store import RunFolder
from megactor_core.errors import OutOfMemory
from megactor_core.listener import Listener
from megactor_core.models.device import is_out_of_memory, memory_use

Thing = TypeVar("Thing")
Made = TypeVar("Made")

LOWERED: Final = "lowered"
"""Of a run folder's state."""


@dataclass(frozen=True, slots=True)
class Lowering:
    """A setting that was lowered because memory ran out."""

    setting: str
    before: int
    after: int


OnLowered = Callable[[Lowering], None]


@dataclass(frozen=True, slots=True)
class BatchKind:
    """What is done in batches, in words."""

    setting: str
    """The field of AnimateConfig that says how many at once."""
    single: str
    """What is to be done with one of them."""
    needs_less: str
    """What would take less memory, at the price of another result."""


FRAMES: Final = BatchKind("decode_batch", single="decode one frame", needs_less="A smaller --size")
WINDOWS: Final = BatchKind(
    "window_batch",
    single="denoise one window",
    needs_less="A smaller --size or a shorter window (--set window.frames=N)",
)


class Batches:
    """Work in batches of a size that halves, for good, where memory runs out; `on_lowered` hears of it."""

    def __init__(self, kind: BatchKind, size: int, *, device: torch.device, on_lowered: OnLowered) -> None:
        self._kind, self._size = kind, size
        self._device = device
        self._on_lowered = on_lowered
        self._failed: list[int] = []

    def run(
        self, work: Callable[[Sequence[Thing]], Made], things: Sequence[Thing]
    ) -> Iterator[tuple[Sequence[Thing], Made]]:
        """Each batch of the things with what `work` makes of it, in their order.

        A batch that does not fit is begun again with fewer things, so `work` must leave nothing behind when
        it fails. Raises OutOfMemory where one thing does not fit; any other error of the work passes.
        """
        done = 0
        while done < len(things):
            batch = things[done : done + self._size]
            made = self._try(work, batch)
            if isinstance(made, _Short):
                self._lower(tried=len(batch), short=made)
            else:
                done += len(batch)
                yield batch, made

    def _try(self, work: Callable[[Sequence[Thing]], Made], batch: Sequence[Thing]) -> "Made | _Short":
        """What the work makes, or how short memory was.

        The error itself does not leave: it holds the frames of the failed try, and they its tensors.
        """
        try:
            return work(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return _Short.on(self._device)

    def _lower(self, *, tried: int, short: "_Short") -> None:
        """Halve the size until it is below what was tried."""
        _release_cached(self._device)
        self._failed.append(tried)
        if tried == 1:
            tries = f" (tried with {self._kind.setting} {', '.join(map(str, self._failed))})"
            raise short.error(to=self._kind.single + tries, needs_less=self._kind.needs_less)
        before = self._size
        while self._size >= tried:
            self._size //= 2
        self._on_lowered(Lowering(self._kind.setting, before=before, after=self._size))


@contextmanager
def said_when_short(device: torch.device, *, to: str, needs_less: str) -> Iterator[None]:
    """Raises OutOfMemory in place of what the libraries raise; for work of which nothing can be lowered."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise _Short.on(device).error(to=to, needs_less=needs_less) from None


def recorder(folder: RunFolder, listener: Listener) -> OnLowered:
    """Tells the listener of each lowering and keeps it in the folder, so that the run's report has it."""

    def record(lowering: Lowering) -> None:
        state = folder.state()
        folder.save({**state, LOWERED: [*state.get(LOWERED, []), asdict(lowering)]})
        listener.note(
            f"Memory ran out: {lowering.setting} is lowered from {lowering.before} to {lowering.after}, "
            "which does not change the result."
        )

    return record


def lowered_in(folder: RunFolder) -> list[Lowering]:
    """What the run lowered, before an interruption too."""
    return [Lowering(**values) for values in folder.state().get(LOWERED, [])]


@dataclass(frozen=True, slots=True)
class _Short:
    """Memory at the moment when it was out."""

    device: torch.device
    use: str

    @staticmethod
    def on(device: torch.device) -> "_Short":
        use = memory_use(device)
        if use is None:
            return _Short(device, "")
        held_gb, free_gb = (count / 2**30 for count in use)
        return _Short(device, f" This process held {held_gb:.1f} GiB, and {free_gb:.1f} GiB were free.")

    def error(self, *, to: str, needs_less: str) -> OutOfMemory:
        return OutOfMemory(
            f"Not enough memory on {self.device} to {to}.{self.use}",
            fix="Make memory free, or use a device with more. "
            f"{needs_less} takes less, but changes the result.",
        )


def _release_cached(device: torch.device) -> None:
    """Give back what torch keeps for later, in pieces that may not fit what comes next."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
