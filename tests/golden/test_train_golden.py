"""Every stage still begins as it did, from the corpus to the loss; see make_train_golden.py."""

import importlib.util
import json
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TOLERANCE = 1e-3


@pytest.mark.slow
def test_the_first_losses_come_out_as_they_did(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_train_golden", HERE / "make_train_golden.py")
    assert spec is not None
    assert spec.loader is not None
    golden = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(golden)
    wanted = json.loads((HERE / "train.json").read_text())
    found = golden.measure(tmp_path)
    assert found.keys() == wanted.keys()
    for name, losses in wanted.items():
        assert len(losses) == golden.STEPS
        assert found[name] == pytest.approx(losses, rel=TOLERANCE), name
