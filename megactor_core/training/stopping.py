"""Ending a run on Ctrl-C and SIGTERM: the step in hand is finished and saved first."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

from megactor_core.errors import Interrupted, Terminated

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """While the context is open, the first signal is kept for the run to look at.

    A second one acts as it would without this, for those who cannot wait. Off the main thread, where Python
    delivers no signals, it never asks for anything.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._keep) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()

    def _keep(self, number: int, _frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def interruption(number: int, message: str, *, fix: str) -> Interrupted:
    """The error that a run ends with after a signal; its exit code is the signal's."""
    kind = Terminated if number == signal.SIGTERM else Interrupted
    return kind(message, fix=fix)
