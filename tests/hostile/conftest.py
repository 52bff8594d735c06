"""The trials, which run in processes of their own, and the embedded example."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "megactor_core/assets/example"


@pytest.fixture(scope="session")
def count() -> ModuleType:
    """The module count."""
    spec = importlib.util.spec_from_file_location("hostile_count", HERE / "count.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
