"""The trials, which run in a process of their own."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def fault_count() -> ModuleType:
    """The module count."""
    spec = importlib.util.spec_from_file_location("fault_count", HERE / "count.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fault_trials(
    fault_count: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[dict[str, int]], list[dict[str, Any]]]:
    """fault_trials({"animate": 3}): how each run ended, of three calls with each fault."""
    if fault_count.missing():
        pytest.skip(fault_count.missing())

    def run(plan: dict[str, int]) -> list[dict[str, Any]]:
        return fault_count.run_trials(plan, tmp_path_factory.mktemp("faults"))

    return run


@pytest.fixture(scope="session")
def fault_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of a talking man, with sound."""
    spec = importlib.util.spec_from_file_location("fault_commands", HERE / "fault_commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fault_commands"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("inputs")
    module.make_inputs(folder)
    return folder / "clips"
