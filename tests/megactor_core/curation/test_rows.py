"""The rows of a job: every source looked at, in order, several at a time."""

from itertools import count, islice
from pathlib import Path
from threading import Barrier

import pytest

from megactor_core.config.curate import CurateConfig
from megactor_core.curation.gates import plan_gates
from megactor_core.curation.rows import LOOKS_AHEAD, LOOKS_AT_ONCE, Rows
from megactor_core.curation.sources import Content, SourceClip, Sources, content_of


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    """Of more files than are looked at ahead, every seventh of which is not there."""
    clips = []
    for number in range(2 * LOOKS_AHEAD + 5):
        path = tmp_path / f"{number:04}.mp4"
        if number % 7:
            path.write_bytes(bytes([number % 256]) * 10)
        clips.append(SourceClip(dataset="folder", identity=f"p{number}", path=path, name=path.stem))
    config = CurateConfig.build({"output": tmp_path / "out"}, source="test")
    return Rows(Sources(tuple(clips)), {}, plan=plan_gates(config.measure), config=config)


def test_rows_come_in_the_order_of_the_sources_with_their_content(rows: Rows, tmp_path: Path) -> None:
    found = list(rows)
    assert len(found) == len(rows)
    for number, row in enumerate(found):
        path = tmp_path / f"{number:04}.mp4"
        assert Path(row["source_path"]).name == path.name
        assert row["content"] == content_of(path).digest
    assert found[7]["content"].startswith("unreadable")


def test_sources_are_looked_at_together(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look after the other would wait at the barrier for ever; here until it breaks."""
    together = Barrier(LOOKS_AT_ONCE, timeout=60)
    numbers = count(1)

    def look(_path: Path) -> Content:
        if next(numbers) <= LOOKS_AT_ONCE:
            together.wait()
        return Content("c", "c")

    monkeypatch.setattr("megactor_core.curation.rows.content_of", look)
    assert len(list(islice(rows, 3))) == 3
    assert not together.broken
    assert next(numbers) <= LOOKS_AHEAD + 1
