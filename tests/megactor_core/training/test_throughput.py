"""Counted work against measured time."""

import pytest
import torch

from megactor_core.training.throughput import Throughput, in_words, measure_peak


def test_shares_are_of_all_devices_together() -> None:
    throughput = Throughput(sample_flops=2_000_000, peak_flops_per_second=8e6)
    assert throughput.flops_per_second(3.0) == 6e6
    assert throughput.peak_share(3.0) == 0.75


def test_the_peak_is_measured_once(monkeypatch) -> None:
    first = measure_peak(torch.device("cpu"), torch.float32)
    assert first > 1e8  # any processor of this century
    monkeypatch.setattr("megactor_core.training.throughput._seconds", pytest.fail)
    assert measure_peak(torch.device("cpu"), torch.float32) == first


@pytest.mark.parametrize(
    ("flops", "words"), [(1.3636e10, "13.6 GFLOP"), (7.2e12, "7.2 TFLOP"), (3e5, "0.3 MFLOP")]
)
def test_figures_in_words(flops: float, words: str) -> None:
    assert in_words(flops) == words
