"""--dry-run: a spread of clips is measured, nothing is written."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.preprocessing.estimate import MOST_MEASURED, estimate, strata_of


@pytest.mark.slow
def test_every_kind_of_clip_is_measured_and_nothing_written(
    wild_run: SimpleNamespace, tmp_path: Path
) -> None:
    output = tmp_path / "never"
    found = estimate(wild_run.config.updated(output=output))
    assert not output.exists()
    assert (found.clips, found.measured) == (17, MOST_MEASURED)
    assert 0 < found.expected_samples <= 17
    assert found.total_bytes > 0
    assert found.start_seconds > 0.2
    one, ready = found.hours_by_workers["1"], found.start_seconds / 3600
    assert one == pytest.approx(found.total_cpu_hours + ready)


def test_a_clip_that_stands_for_itself_gives_its_own_bytes(
    tmp_path: Path,
    make_clip: Callable[..., Path],
    config_for: Callable[..., PreprocessConfig],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("megactor_core.preprocessing.estimate._start_seconds", lambda: 0.0)
    from megactor_core.preprocessing.preprocess import preprocess

    make_clip(tmp_path / "in" / "a.mp4", beeps=False)
    config = config_for(tmp_path / "in", tmp_path / "out")
    notes: list[str] = []
    found = estimate(config, on_note=notes.append)
    assert any("all 1 clips" in note for note in notes)
    assert (found.expected_samples, found.measured_ok) == (1, 1)
    assert found.total_bytes == preprocess(config).bytes


@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_strata_hold_every_clip_once_in_order_of_size(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("sizes")
    paths = [folder / str(number) for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(b"x" * size)
    strata = strata_of(paths)
    joined = [number for group in strata for number in group]
    assert sorted(joined) == list(range(len(sizes)))
    assert [sizes[number] for number in joined] == sorted(sizes)
    assert all(strata)
    assert len(strata) == min(MOST_MEASURED, len(sizes))
    assert max(map(len, strata)) - min(map(len, strata)) <= 1
