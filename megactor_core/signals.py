"""Work that Ctrl-C and other signals must not cut through."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def undisturbed(work: Callable[[], Result]) -> Result:
    """Do `work` in a thread of its own.

    For libraries that read and write through our callbacks: an exception of a signal, which comes up in the
    main thread alone, would be lost inside one, and printed. Here it waits for the end of the work, and is
    raised then.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()
