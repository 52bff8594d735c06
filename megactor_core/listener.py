"""Whom to tell how the work goes."""

from collections.abc import Callable
from dataclasses import dataclass

OnProgress = Callable[[str, int, int], None]
"""on_progress(phase, done, total)"""
OnNote = Callable[[str], None]


def _no_progress(phase: str, done: int, total: int) -> None:
    """Nobody listens."""


def _no_note(text: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Listener:
    """The caller's callbacks; silent by default."""

    progress: OnProgress = _no_progress
    note: OnNote = _no_note

    def phase(self, name: str) -> Callable[[int, int], None]:
        """The progress callback of one phase: called with (done, total)."""
        return lambda done, total: self.progress(name, done, total)

    @staticmethod
    def of(on_progress: OnProgress | None, on_note: OnNote | None) -> "Listener":
        return Listener(progress=on_progress or _no_progress, note=on_note or _no_note)
