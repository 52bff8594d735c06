"""Running a metric's network: one item at a time, and filling it from a file without drawing numbers."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from megactor_core.metrics.published import fill, run


class Doubling(nn.Module):
    """Doubles its items and writes down how many came at once, and in how many threads."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))
        self.drop = nn.Dropout(0.9)
        self.seen: list[tuple[int, int]] = []

    def forward(self, items: Tensor) -> Tensor:
        self.seen.append((len(items), torch.get_num_threads()))
        return self.drop(items * self.factor)


def test_items_pass_alone_in_one_thread_and_in_order() -> None:
    network, threads = Doubling(), torch.get_num_threads()
    rows = run(network, (torch.full((3,), float(n)) for n in range(4)), width=3)
    np.testing.assert_array_equal(rows, np.repeat(2 * np.arange(4), 3).reshape(4, 3))
    assert rows.dtype == np.float32
    assert network.seen == [(1, 1)] * 4
    assert torch.get_num_threads() == threads


def test_items_are_made_as_they_are_needed() -> None:
    network, made = Doubling(), []

    def items() -> Iterator[Tensor]:
        for n in range(3):
            assert len(network.seen) == n
            made.append(n)
            yield torch.zeros(2)

    run(network, items(), width=2)
    assert made == [0, 1, 2]


def test_no_items_give_no_rows() -> None:
    assert run(Doubling(), [], width=7).shape == (0, 7)


def test_threads_come_back_after_a_failure() -> None:
    def items() -> Iterator[Tensor]:
        yield torch.zeros(2)
        raise ValueError("a damaged frame")

    threads = torch.get_num_threads()
    with pytest.raises(ValueError, match="damaged"):
        run(Doubling(), items(), width=2)
    assert torch.get_num_threads() == threads


def test_filling_draws_no_numbers_and_leaves_nothing_to_train(tmp_path: Path) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))

    tensors = {name: value for name, value in build().state_dict().items() if "num_batches" not in name}
    torch.save(tensors, tmp_path / "weights.pth")
    before = torch.random.get_rng_state()
    network = fill(build, tmp_path / "weights.pth", entry="fid")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    for name, value in tensors.items():
        assert torch.equal(network.state_dict()[name], value)
    assert network.state_dict()["1.num_batches_tracked"] == 0
