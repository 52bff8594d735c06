"""The terminal, kept clean of what compiled libraries write there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def native_log_silenced() -> Iterator[None]:
    """Keep start-up notices, written by native code whatever its log level, off the standard error."""
    try:
        saved = os.dup(2)
    except OSError:  # no standard error to keep clean
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
