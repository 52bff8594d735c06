"""demo.json: times add up until a step is done, and a folder keeps to what it was begun with."""

import json
from itertools import count

import pytest

from megactor_core.demo import record as module
from megactor_core.demo.record import FILE, Record, StepTime
from megactor_core.errors import OutputError


@pytest.fixture(autouse=True)
def ticks(monkeypatch) -> None:
    """Each look at a clock is a second (ten of processor time) later."""
    wall, cpu = count(), count(step=10)
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(wall)))
    monkeypatch.setattr(module, "_cpu_seconds", lambda: float(next(cpu)))


def test_a_step_that_is_done_keeps_its_time(tmp_path) -> None:
    for _ in range(2):
        record = Record(tmp_path, {"scale": "full"})
        with record.timed("corpus"):
            pass
        assert record.times == {"corpus": StepTime(1.0, 10.0, is_done=True)}
    assert Record(tmp_path, {"scale": "full"}).times == record.times


def test_the_time_of_stopped_runs_counts(tmp_path) -> None:
    record = Record(tmp_path, {})
    with pytest.raises(KeyboardInterrupt), record.timed("training"):
        raise KeyboardInterrupt
    again = Record(tmp_path, {})
    assert again.times == {"training": StepTime(1.0, 10.0, is_done=False)}
    with again.timed("training"):
        pass
    assert again.times == {"training": StepTime(2.0, 20.0, is_done=True)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": "fast", "clips": 8}, "holds a demo with scale = full; now scale = fast"),
        ({"scale": "full", "clips": 9}, "holds a demo with clips = 8; now clips = 9"),
    ],
)
def test_a_folder_of_other_settings_is_refused(tmp_path, settings, message) -> None:
    Record(tmp_path, {"scale": "full", "clips": 8}).write()
    with pytest.raises(OutputError, match=message):
        Record(tmp_path, settings)


@pytest.mark.parametrize("content", [None, "[]", "{", '{"steps": {"corpus": {"weeks": 3}}}', '{"steps": 1}'])
def test_a_folder_of_something_else_is_refused(tmp_path, content) -> None:
    (tmp_path / "holiday.jpg").touch()
    if content is not None:
        (tmp_path / FILE).write_text(content)
    with pytest.raises(OutputError, match="no demo"):
        Record(tmp_path, {})
    assert {path.name for path in tmp_path.iterdir()} <= {"holiday.jpg", FILE}


def test_a_new_folder_and_hidden_files_are_fine(tmp_path) -> None:
    (tmp_path / ".lock").touch()
    Record(tmp_path, {"scale": "full"}).write()
    Record(tmp_path / "not there yet", {})
    assert json.loads((tmp_path / FILE).read_text()) == {"settings": {"scale": "full"}, "steps": {}}
