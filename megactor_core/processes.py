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
        allowed = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most if allowed == resource.RLIM_INFINITY else min(most, allowed), allowed))


def end_after(seconds: float) -> None:
    """Have the kernel end this process after so long, 0: not at all any more.

    The default action of the alarm does so even where a library that hangs never gives Python's lock back.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds)


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
