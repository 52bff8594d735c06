"""The built-in example still comes out as it did; see make_golden.py."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

HERE = Path(__file__).parent
TOLERANCE = 0.3  # grey levels of a frame's mean and spread: rounding differs between processors


def test_the_example_comes_out_as_it_did(load_module: Callable[..., ModuleType], tmp_path: Path) -> None:
    make_golden = load_module(HERE / "make_golden.py", name="make_golden")
    measured, golden = make_golden.measure(tmp_path), json.loads((HERE / "animate.json").read_text())
    assert measured.keys() == golden.keys()
    for mode, figures in golden.items():
        for name, expected in figures.items():
            assert measured[mode][name] == pytest.approx(np.array(expected), abs=TOLERANCE), (mode, name)
    means = [figures["mean"] for figures in golden.values()]
    assert means[0] != means[1] != means[2]
