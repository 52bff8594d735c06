"""Stages that worker processes can import, rows for them, and results without times and places."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from megactor_core.engine.journal import Journal

HERE = Path(__file__).parent
DIFFER = ("cpu_seconds", "run", "host", "add_pid", "device")
"""Columns that say when and where, not what."""


@pytest.fixture(scope="session")
def stages() -> ModuleType:
    """The module row_stages. Workers find it too: they get this process's sys.path."""
    sys.path.insert(0, str(HERE))
    return importlib.import_module("row_stages")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., list[dict[str, Any]]]:
    """make_rows(60, {3: "raise"}): rows r000 ... of which row 3 does something else."""

    def make(count: int, odd: dict[int, str] | None = None) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = [
            {"row_id": f"r{n:03}", "row_version": "a", "n": n} for n in range(count)
        ]
        for n, what in (odd or {}).items():
            rows[n]["do"] = what
        return rows

    return make


@pytest.fixture(scope="session")
def comparable() -> Callable[[Journal], list[dict[str, Any]]]:
    """The journal's results, sorted, without what may differ from run to run."""

    def results(journal: Journal) -> list[dict[str, Any]]:
        return [
            {name: value for name, value in row.items() if name not in DIFFER} for row in journal.results()
        ]

    return results
