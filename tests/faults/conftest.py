"""The trials, which run in a process of their own."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def fault_count(load_module: Callable[..., ModuleType]) -> ModuleType:
    """The module count."""
    return load_module(HERE / "count.py", name="fault_count")


@pytest.fixture(scope="session")
def fault_trials(
    fault_count: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[dict[str, int]], list[dict[str, Any]]]:
    """fault_trials({"animate": 3}): how each run ended, of three calls with each fault."""
    if fault_count.missing():
        pytest.skip(fault_count.missing())

    def run(plan: dict[str, int]) -> list[dict[str, Any]]:
        return list(fault_count.run_trials(plan, tmp_path_factory.mktemp("faults")))

    return run


@pytest.fixture(scope="session")
def fault_clips(load_module: Callable[..., ModuleType], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of a talking man, with sound."""
    folder = tmp_path_factory.mktemp("inputs")
    load_module(HERE / "fault_commands.py", name="fault_commands").make_inputs(folder)
    return folder / "clips"
