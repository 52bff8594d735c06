"""Small files that claim gigabytes, in children with 2 GiB: refused, or read for what is there."""

import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from megactor_core.processes import limit_memory


@pytest.mark.slow
def test_bombs_are_refused_unread(trials: Callable[..., list[dict[str, Any]]], count: ModuleType) -> None:
    lines = trials("bombs", every=1)
    assert count.survivors(lines) == []
    assert len(lines) >= 40
    lawful = {line["parser"] for line in lines if line["verdict"] == "accepted"}
    assert lawful == {"wav that claims 4 GB", "safetensors of a vast shape"}  # read for what is there


def test_a_worker_may_take_the_memory_that_there_is_and_no_more() -> None:
    """A decoder that wants more fails on its row, in a way that Python sees, and leaves no dump behind."""
    script = (
        "import os, resource\n"
        f"from {limit_memory.__module__} import limit_memory\n"
        "limit_memory()\n"
        "memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')\n"
        "assert resource.getrlimit(resource.RLIMIT_DATA)[0] == memory\n"
        "assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0\n"
        "try:\n    bytearray(memory)\nexcept MemoryError:\n    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("refused\n", "")
