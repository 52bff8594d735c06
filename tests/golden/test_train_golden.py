"""Every stage still begins as it did, from the corpus to the loss; see make_train_golden.py."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
TOLERANCE = 1e-3


@pytest.mark.slow
def test_the_first_losses_come_out_as_they_did(
    load_module: Callable[..., ModuleType], tmp_path: Path
) -> None:
    golden = load_module(HERE / "make_train_golden.py", name="make_train_golden")
    wanted = json.loads((HERE / "train.json").read_text())
    found = golden.measure(tmp_path)
    assert found.keys() == wanted.keys()
    for name, losses in wanted.items():
        assert len(losses) == golden.STEPS
        assert found[name] == pytest.approx(losses, rel=TOLERANCE), name
