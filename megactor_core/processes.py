"""Child processes that handle files nobody vouches for: what they may take, and what does not reach them."""

import os
import resource
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


def limit_memory() -> None:
    """Let this process take the machine's memory and no more, and leave no dump of it behind.

    A file that unpacks to more than there is then fails as what it is, where it is read; otherwise the system
    would end processes until there is room.
    """
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for kind, most in ((resource.RLIMIT_DATA, memory_bytes), (resource.RLIMIT_CORE, 0)):
        limits = resource.getrlimit(kind)
        least = min([most, *(limit for limit in limits if limit != resource.RLIM_INFINITY)])
        resource.setrlimit(kind, (least, limits[1]))


def let_alarms_end_this_process() -> None:
    """Whatever the process that started this one did with alarms: `end_after` counts on them."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})


def end_after(seconds: float) -> None:
    """Have the kernel end this process after so long, 0: not at all any more.

    The default action of the alarm does so even where a library that hangs never gives Python's lock back.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds)


_stuck_seconds = 0.0


def end_when_stuck(seconds: float) -> None:
    """As `end_after`, but `not_stuck` gives as long again each time."""
    global _stuck_seconds
    _stuck_seconds = seconds
    end_after(seconds)


def not_stuck() -> None:
    """The work goes on: to be called on the way by what may lawfully take long."""
    if _stuck_seconds:
        end_after(_stuck_seconds)


@contextmanager
def signals_held(numbers: Iterable[signal.Signals]) -> Iterator[None]:
    """Keep signals from this thread for a while, and from a child that starts in it until it asks for them.

    Ctrl-C reaches every process of the terminal: a child that is just starting must not die of it noisily.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
