"""The trials, which run in processes of their own, and the embedded example."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "megactor_core/assets/example"


@pytest.fixture(scope="session")
def count(load_module: Callable[..., ModuleType]) -> ModuleType:
    """The module count."""
    return load_module(HERE / "count.py", name="hostile_count")


@pytest.fixture(scope="session")
def trials(
    count: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., list[dict[str, Any]]]:
    """trials("media", every=20): how each input of the group ended."""

    def run(group: str, *, every: int) -> list[dict[str, Any]]:
        return count.run_trials(group, every=every, folder=tmp_path_factory.mktemp(group))

    return run


@pytest.fixture(scope="session")
def example() -> Path:
    """The folder of the embedded example: driving.mp4, portrait.png, speech.wav."""
    return EXAMPLE
