"""Work that Ctrl-C and other signals must not cut through."""

import signal
import threading
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import TypeVar

Result = TypeVar("Result")

_HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
"""Those that this tool gives handlers that raise; the others end the process, or are ignored."""


def undisturbed(work: Callable[[], Result]) -> Result:
    """Do `work`, and only then what the signals that came meanwhile ask for, one after the other.

    Where several raise, it is the last that is heard, with the others as its context.

    For libraries that read and write through our callbacks: an exception of a signal's handler would be lost
    inside one, and printed. Off the main thread, where no handler runs, this is the work alone.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    before = {number: signal.getsignal(number) for number in _HELD}
    handlers = {number: handler for number, handler in before.items() if callable(handler)}
    came: list[int] = []
    working = True

    def hold(number: int, frame: FrameType | None) -> None:
        # One that comes between two lines below may leave this handler behind: it then acts as the old one.
        if working:
            came.append(number)
        else:
            handlers[signal.Signals(number)](number, frame)

    try:
        for number in handlers:
            signal.signal(number, hold)
        return work()
    finally:
        working = False
        give_back = [partial(signal.signal, number, handler) for number, handler in handlers.items()]
        _do_all([*give_back, *(partial(signal.raise_signal, number) for number in came)])


def _do_all(actions: Sequence[Callable[[], object]]) -> None:
    """One after the other, also after one in which a handler raises."""
    if actions:
        try:
            actions[0]()
        finally:
            _do_all(actions[1:])
