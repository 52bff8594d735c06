"""The link between the processes of a run: who takes it down, and who waits for the others before."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch.distributed

from megactor_core.errors import ConfigError, Interrupted, MegActorError
from megactor_core.training import devices


@dataclass
class FakeAccelerator:
    """As accelerate is, it finds the link that is there or sets one up."""

    waited: int = 0

    def wait_for_everyone(self) -> None:
        self.waited += 1


def set_up_link() -> None:
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=torch.distributed.HashStore())


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAccelerator]:
    fake = FakeAccelerator()

    def make(_config: object) -> FakeAccelerator:
        if not torch.distributed.is_initialized():
            set_up_link()
        return fake

    monkeypatch.setattr(devices, "make_accelerator", make)
    yield fake
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.fixture
def at_exit(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What the program would do at its end."""
    found: list[Callable[[], None]] = []
    registry = SimpleNamespace(register=found.append, unregister=found.remove)
    monkeypatch.setattr(devices, "atexit", registry)
    return found


def test_the_link_serves_all_runs_and_ends_with_the_program(accelerator, at_exit) -> None:
    for _run in (1, 2):
        with devices.processes(None):
            pass
        assert torch.distributed.is_initialized()
    (unlink,) = at_exit
    unlink()
    assert not torch.distributed.is_initialized()
    unlink()  # a program may have taken it down by itself


def test_a_link_of_somebody_else_stays(accelerator, at_exit) -> None:
    set_up_link()
    with devices.processes(None):
        pass
    assert at_exit == []


def test_a_configuration_that_is_refused_leaves_no_link_behind(accelerator, at_exit, monkeypatch) -> None:
    def refuse(_config: object) -> None:
        set_up_link()
        raise ConfigError("float16 does not run well on a CPU.")

    monkeypatch.setattr(devices, "make_accelerator", refuse)
    with pytest.raises(ConfigError), devices.processes(None):
        pass
    assert len(at_exit) == 1


@pytest.mark.parametrize(
    ("error", "waits", "unlinks"),
    [
        (Interrupted("Stopped after step 2."), 1, 1),
        (ConfigError("Refused before anything began."), 0, 1),
        (MegActorError("Not enough memory for step 2."), 0, 0),
        (KeyboardInterrupt(), 0, 0),
    ],
)
def test_nobody_is_waited_for_after_a_failure(error, waits, unlinks, accelerator, at_exit) -> None:
    with pytest.raises(type(error)), devices.processes(None):
        raise error
    assert (accelerator.waited, len(at_exit)) == (waits, unlinks)
