"""--deterministic fixes what free memory would choose, and the resolved settings say so."""

import pytest

from megactor_core.config.animate import AnimateConfig
from megactor_core.config.evaluate import EvaluateConfig
from megactor_core.config.recipes import dump_config
from megactor_core.config.train import CADENCE, TrainConfig


@pytest.mark.parametrize(("given", "fixed"), [({}, 1), ({"window_batch": 3}, 3), ({"window_batch": None}, 1)])
def test_windows_at_once_are_fixed(given: dict[str, int], fixed: int) -> None:
    config = AnimateConfig(deterministic=True, **given)
    assert config.window_batch == fixed
    assert {"deterministic: true", f"window_batch: {fixed}"} <= set(dump_config(config).splitlines())


def test_nothing_is_fixed_unless_asked_for() -> None:
    assert AnimateConfig().window_batch is None
    assert not TrainConfig().deterministic
    assert not EvaluateConfig().deterministic


def test_a_run_goes_on_as_it_began() -> None:
    assert "deterministic" not in CADENCE
