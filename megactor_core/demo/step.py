"""A step of the demo: its commands, the work, and what it shows of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from megactor_core.demo.command import Command
from megactor_core.listener import Listener
from megactor_core.pages.page import Markup


@dataclass(frozen=True, slots=True)
class Shown:
    """What a step has to show."""

    parts: tuple[Markup, ...]
    """Of the step's own section of the page."""
    head: tuple[Markup, ...] = ()
    """For the top of the page."""
    videos: tuple[Path, ...] = ()
    """Files for people to look at."""


@dataclass(frozen=True, slots=True)
class Step:
    """One part of the chain."""

    name: str
    """A word or two, for progress and the table of times."""
    title: str
    """Of its section."""
    commands: tuple[Command, ...]
    """What does the same by hand."""
    work: Callable[[Listener], Shown]
    """Does what is not done yet, and shows all of it. Raises what the commands' own functions raise."""
