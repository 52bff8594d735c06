"""The table of leaks in docs/paper.md, cell by cell: exact zeros are exact, and the others are there.

What the masks mean in one attention and in the whole model is tested in test_masks.py.
"""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _script() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "leaks.py"
    spec = importlib.util.spec_from_file_location("leaks_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


leaks = _script()
CASES = {f"{title}, {row}": case for title, rows in leaks.TABLES.items() for row, case in rows.items()}


def closed_by(case: Any) -> set[str]:
    """The modes that leave no path at all."""
    if case.mouth == leaks.TOUCHING_MOUTH or (case.driver == "pixels" and case.dilation_tokens < 2):
        return set()  # the Driven Encoder itself carries eye pixels there
    if case.depth == 1:
        return {"paper", "strict"}
    if case.temporal == "group" or (case.temporal and case.grid == 2 and case.dilation_tokens % 2):
        return set()
    return {"strict"}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_zero_is_exact_and_the_rest_is_not(case: Any) -> None:
    found = {mode: leaks.leak(replace(case, mode=mode), seed=0) for mode in leaks.MODES}
    assert {mode for mode, leak in found.items() if leak == 0} == closed_by(case)
    if case.mouth == leaks.MOUTH:
        assert found["strict"] <= found["paper"] < found["off"]
    assert found["off"] > 1e-3
