"""Signals wait for the end of work that they would cut through, and are never lost."""

import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from megactor_core.signals import undisturbed

HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)


class Came(Exception):
    """What a handler raises."""

    def __init__(self, number: int) -> None:
        self.number = number


@pytest.fixture
def raising() -> Iterator[Callable]:
    """Handlers that raise, as the command's do; whatever the shell gave this process comes back."""

    def handler(number: int, _frame: object) -> None:
        raise Came(number)

    before = {number: signal.signal(number, handler) for number in HELD}
    yield handler
    for number, old in before.items():
        signal.signal(number, old)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", HELD)
def test_a_signal_waits_for_the_end_of_the_work(raising: Callable, number: int) -> None:
    done = []

    def work() -> None:
        send(number)
        done.append("whole")

    with pytest.raises(Came) as caught:
        undisturbed(work)
    assert (done, caught.value.number) == (["whole"], number)
    assert [signal.getsignal(held) for held in HELD] == [raising] * len(HELD)


def test_impatient_signals_end_nothing_either(raising: Callable) -> None:
    done = []

    def work() -> None:
        for _ in range(50):
            send(signal.SIGINT)
            done.append(1)

    with pytest.raises(Came):
        undisturbed(work)
    assert len(done) == 50
    assert signal.getsignal(signal.SIGINT) is raising


def test_each_of_several_reaches_its_handler(raising: Callable) -> None:
    """A run that ends after its step keeps the first; the second means now."""
    came = []
    for number in HELD:
        signal.signal(number, lambda number, _: came.append(number))
    undisturbed(lambda: [send(number) for number in (*HELD, signal.SIGINT)])
    assert sorted(came) == sorted((*HELD, signal.SIGINT))


def test_one_handler_that_raises_keeps_nothing_from_the_next(raising: Callable) -> None:
    """SIGTERM behind an impatient Ctrl-C ends the command as SIGTERM does."""
    with pytest.raises(Came) as caught:
        undisturbed(lambda: [send(number) for number in (signal.SIGINT, signal.SIGTERM)])
    assert caught.value.number == signal.SIGTERM
    assert isinstance(caught.value.__context__, Came)
    assert caught.value.__context__.number == signal.SIGINT


def test_what_is_ignored_stays_ignored(raising: Callable) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert undisturbed(lambda: (send(signal.SIGINT), 7)[1]) == 7
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_an_error_of_the_work_and_a_signal(raising: Callable) -> None:
    """The signal ends the command; the error stays beside it."""

    def work() -> None:
        send(signal.SIGINT)
        raise OSError("full")

    with pytest.raises(Came) as caught:
        undisturbed(work)
    assert isinstance(caught.value.__context__, OSError)


def test_a_signal_between_two_lines_loses_nothing(raising: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes while the handlers are given back, and is not yet."""
    give = signal.signal

    def interrupted(number: int, handler: Callable) -> object:
        result = give(number, handler)
        if handler is raising and number == signal.SIGINT:
            send(signal.SIGTERM)
        return result

    monkeypatch.setattr(signal, "signal", interrupted)
    with pytest.raises(Came) as caught:
        undisturbed(lambda: None)
    assert caught.value.number == signal.SIGTERM
    assert [signal.getsignal(held) for held in HELD] == [raising] * len(HELD)


def test_off_the_main_thread_it_is_the_work_alone(raising: Callable) -> None:
    found = []
    thread = threading.Thread(
        target=lambda: found.append(undisturbed(lambda: signal.getsignal(signal.SIGINT)))
    )
    thread.start()
    thread.join()
    assert found == [raising]
