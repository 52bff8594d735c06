"""Spoilt files through every parser: each is read, or refused in one of this project's own errors.

The trials run in child processes with limits on memory and time, so that a decoder that crashes or hangs is
counted and named by the input that did it.
"""

from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

Trials = Callable[..., list[dict[str, Any]]]


@pytest.mark.parametrize("group", ["media", "files"])
def test_a_sample_of_spoilt_files_does_no_harm(trials: Trials, count: ModuleType, group: str) -> None:
    lines = trials(group, every=20)
    assert count.survivors(lines) == []
    assert len(count.spoilt_only(lines)) >= 100
    assert min(Counter(line["verdict"] for line in lines).values()) > 10  # some are read, some refused


@pytest.mark.slow
@pytest.mark.parametrize("group", ["media", "files"])
def test_spoilt_files_do_no_harm(trials: Trials, count: ModuleType, group: str) -> None:
    lines = trials(group, every=1)
    assert count.survivors(lines) == []
    assert len(count.spoilt_only(lines)) >= 2000


def test_the_trials_find_every_fault(trials: Trials, count: ModuleType) -> None:
    lines = trials("bad", every=1)
    found = {(line["parser"], line["verdict"]) for line in count.spoilt_only(lines)}
    assert found == {
        ("sound", "refused"),
        ("leaking", "traceback"),
        ("crashing", "crash"),
        ("hanging", "hang"),
        ("greedy", "traceback"),
        ("destructive", "changed"),
        ("littering", "changed"),
        ("steering", "traceback"),
        ("picky", "refused"),
    }
    spoilt_examples = [
        line["parser"] for line in lines if line["number"] < 0 and line["verdict"] != "accepted"
    ]
    assert spoilt_examples == ["picky"]


@pytest.mark.slow
def test_the_same_numbers_give_the_same_files(trials: Trials) -> None:
    first, second = (trials("media", every=110) for _ in range(2))
    for lines in (first, second):
        for line in lines:
            line.pop("what")  # names the file, which lies elsewhere each time
    assert first == second
