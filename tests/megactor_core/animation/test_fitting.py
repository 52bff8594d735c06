"""How many windows run at once where nobody says."""

from itertools import pairwise

import pytest
import torch

from megactor_core.animation import fitting
from megactor_core.animation.fitting import MOST_WINDOWS, SHARE_OF_FREE, fitting_windows
from megactor_core.config.model import ModelConfig
from megactor_core.models.memory import prediction_bytes, window_bytes

PAPER = ModelConfig.preset("paper")
SHAPE = {"frames": 16, "size_px": 512, "item_bytes": 2}
CUDA = torch.device("cuda")


def windows(device: torch.device = CUDA, *, guided: bool = False) -> int:
    return fitting_windows(PAPER, device=device, guided=guided, **SHAPE)


def with_free(monkeypatch: pytest.MonkeyPatch, free: int | None) -> None:
    monkeypatch.setattr(fitting, "memory_use", lambda _device: None if free is None else (0, free))


def test_as_many_as_free_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    one = window_bytes(PAPER, **SHAPE)
    for count in (1, 2, 5):
        with_free(monkeypatch, int(count * one / SHARE_OF_FREE) + 2)
        assert windows() == count
        assert windows(guided=True) == max(1, int(count * one / (one + prediction_bytes(PAPER, **SHAPE))))


def test_never_none_and_never_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    for gigabytes in (0, 1, 4, 16, 64, 1000):
        with_free(monkeypatch, gigabytes * 2**30)
        counts.append(windows())
    assert counts[0] == 1
    assert counts[-1] == MOST_WINDOWS
    assert all(a <= b for a, b in pairwise(counts))


def test_one_on_a_cpu_and_where_nothing_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, 2**40)
    assert windows(torch.device("cpu")) == 1
    with_free(monkeypatch, None)
    assert windows() == 1
