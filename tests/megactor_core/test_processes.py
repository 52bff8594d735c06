"""What a process that reads strangers' files may take, and when it is ended."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from megactor_core import processes
from megactor_core.processes import end_after, end_when_stuck, limit_memory, not_stuck, signals_held

SECONDS = 1000.0
"""So far off that it never comes."""


@pytest.fixture(autouse=True)
def no_alarm() -> Iterator[None]:
    yield
    end_when_stuck(0)


def left() -> float:
    return signal.getitimer(signal.ITIMER_REAL)[0]


def test_work_that_goes_on_is_given_as_long_again() -> None:
    end_when_stuck(SECONDS)
    time.sleep(0.02)
    before = left()
    assert 0 < before < SECONDS - 0.01
    not_stuck()
    assert left() > before
    end_when_stuck(0)
    assert left() == 0


def test_a_limit_on_the_whole_is_not_put_off() -> None:
    end_after(SECONDS)
    time.sleep(0.02)
    not_stuck()
    assert 0 < left() < SECONDS - 0.01


def test_without_a_limit_nothing_is_set() -> None:
    not_stuck()
    assert left() == 0


@pytest.mark.parametrize("soft_bytes", [3 << 30, -1])
def test_a_users_own_limit_stays(soft_bytes: int) -> None:
    script = (
        "import resource\n"
        f"from {processes.__name__} import {limit_memory.__name__}\n"
        f"hard = resource.getrlimit(resource.RLIMIT_DATA)[1]\n"
        f"resource.setrlimit(resource.RLIMIT_DATA, ({soft_bytes}, hard))\n"
        "limit_memory()\n"
        "print(*resource.getrlimit(resource.RLIMIT_DATA), hard)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    soft, hard, before = map(int, done.stdout.split())
    assert hard == before
    assert soft == soft_bytes if soft_bytes > 0 else soft > 0


def test_held_signals_are_held_for_a_while() -> None:
    with signals_held({signal.SIGUSR1}):
        assert signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.SIGUSR1 not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
