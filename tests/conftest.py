"""What every test shares: where the real clips are, which tests can run here, hypothesis without clocks."""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

# Test machines are shared: a deadline would measure the neighbours.
settings.register_profile("megactor", deadline=None)
settings.load_profile("megactor")


RAYS_WARNINGS = (
    "ResourceWarning",
    "pytest.PytestUnraisableExceptionWarning",
    "FutureWarning",
    "DeprecationWarning",
)
"""Of its processes and its own code."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run; both skips are said in pytest's summary."""
    for item in items:
        if item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.slow)
            for warning in RAYS_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{warning}"))
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_items and not _has_cuda():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
    if "MEGACTOR_TEST_DATA" not in os.environ:
        for item in items:
            if item.get_closest_marker("real"):
                item.add_marker(pytest.mark.skip(reason="MEGACTOR_TEST_DATA is not set"))


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What is signed in a test is signed with a key of the test run, not with its user's."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("MEGACTOR_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real clips that MEGACTOR_TEST_DATA names."""
    return Path(os.environ["MEGACTOR_TEST_DATA"])


@pytest.fixture(scope="module")
def start_ray() -> Iterator[Callable[[int], None]]:
    """Starts Ray on this machine with so many logical CPUs; commands and jobs find it at work and join it."""
    ray = pytest.importorskip("ray")

    def start(cpus: int) -> None:
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=100 * 2**20,
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}},
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield start
        ray.shutdown()


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def load_module() -> Callable[..., ModuleType]:
    """load_module(path, name="..."): a module that lies beside tests; they cannot import each other."""

    def load(path: Path, *, name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load
