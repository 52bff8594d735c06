"""The status of a run: told while it is at work and after, without a lock and without a trace."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from megactor_core.config.curate import CurateConfig
from megactor_core.curation.curate import curate
from megactor_core.curation.decide_again import decide_again
from megactor_core.curation.run_record import recorded
from megactor_core.curation.status import CurateStatus, read_status
from megactor_core.curation.summary import CurateReport
from megactor_core.engine.journal import Journal
from megactor_core.errors import Interrupted, OutputError, UsageError

pytestmark = pytest.mark.slow  # whole runs

ConfigFor = Callable[..., CurateConfig]
CHEAP = ("measure.gates=[probe,sound,light_faces]", "batch_seconds=0.001")


@pytest.fixture(scope="module")
def finished(
    corpus: Path, config_for: ConfigFor, tmp_path_factory: pytest.TempPathFactory
) -> tuple[CurateConfig, CurateReport, list[CurateStatus], list[str]]:
    """A cheap run that was looked at on its way: settings, report, statuses, progress."""
    config = config_for(corpus, output=tmp_path_factory.mktemp("run") / "out", overrides=CHEAP)
    seen: list[CurateStatus] = []
    phases: list[str] = []

    def look(phase: str, _done: int, _total: int) -> None:
        phases.append(phase)
        if phase.startswith("curating"):
            seen.append(read_status(config))

    report = curate(config, on_progress=look)
    return config, report, seen, phases


@pytest.fixture
def copied(finished: Any, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished[0].output, tmp_path / "copied"))


def change_record(output: Path, **values: object) -> None:
    path = output / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_run_at_work_is_seen_from_outside(finished: Any) -> None:
    """Its lock is held all the while: whoever asked for it would be refused."""
    _, report, seen, _ = finished
    assert all(status.state == "running" for status in seen)
    assert [status.done for status in seen] == sorted(status.done for status in seen)
    first = seen[0]
    assert 1 <= first.done < report.clips == first.clips
    for status in seen:
        assert status.done == status.kept + status.rejected + status.errors == status.computed
        assert status.last_clip is not None
        assert status.last_clip.status in ("ok", "rejected")
    last = seen[-1]
    assert (last.done, last.kept, last.rejected) == (report.clips, report.kept, report.rejected)


def test_the_progress_says_how_fast_it_goes(finished: Any) -> None:
    phases = [phase for phase in finished[3] if phase.startswith("curating")]
    assert all(phase.endswith(" x real time") for phase in phases[1:])


def test_a_finished_run_is_told_as_its_report_has_it(finished: Any) -> None:
    config, report, _, _ = finished
    files = {path: path.stat().st_mtime_ns for path in config.output.rglob("*")}
    status = read_status(config)
    assert {path: path.stat().st_mtime_ns for path in config.output.rglob("*")} == files
    assert (status.state, status.seconds_left) == ("finished", None)
    assert (status.kept, status.rejected, status.errors) == (report.kept, report.rejected, report.errors)
    assert status.kept_hours == pytest.approx(report.kept_hours)
    assert status.raw_hours == pytest.approx(report.raw_hours)
    assert status.first_reasons == report.first_reasons
    assert status.ended is not None


def test_time_left_follows_from_the_pace(finished: Any, copied: Path) -> None:
    config = finished[0].updated(output=copied)
    change_record(copied, started="2020-01-01T00:00:00+00:00", ended="2020-01-01T00:00:10+00:00")
    status = read_status(config)
    assert status.elapsed_seconds == 10
    assert status.clips_a_second == pytest.approx(status.computed / 10)
    assert status.times_real_time == pytest.approx(status.raw_hours * 360)
    change_record(copied, ended=None, ending=None, clips=100)
    status = read_status(config)
    assert status.seconds_left is not None
    assert status.clips_a_second is not None
    assert status.seconds_left == pytest.approx((100 - status.done) / status.clips_a_second)


def test_one_that_was_killed_is_told_from_one_at_work(finished: Any, copied: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    config = finished[0].updated(output=copied)
    change_record(copied, ended=None, ending=None)
    assert read_status(config).state == "running"  # this very process
    change_record(copied, process_began=1)
    assert read_status(config).state == "killed"  # another one that has its number now
    change_record(copied, process=process.pid)
    assert read_status(config).state == "killed"
    assert read_status(config).seconds_left is None
    change_record(copied, host="elsewhere")
    assert read_status(config).state == "unknown"


def test_a_stopped_run_says_so_and_its_next_one_goes_on(
    corpus: Path, config_for: ConfigFor, tmp_path: Path
) -> None:
    overrides = ("measure.gates=[probe,sound]", "batch_seconds=0.001")
    config = config_for(corpus, output=tmp_path / "out", overrides=overrides)

    def stop(phase: str, done: int, _total: int) -> None:
        if phase.startswith("curating") and done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        curate(config, on_progress=stop)
    status = read_status(config)
    assert status.state == "interrupted"
    assert 3 <= status.done < status.clips
    curate(config)
    after = read_status(config)
    assert (after.state, after.done) == ("finished", after.clips)
    assert after.computed == after.clips - status.done


def test_clips_that_are_to_be_measured_on_are_not_done(
    finished: Any, copied: Path, config_for: ConfigFor
) -> None:
    looser = config_for(
        output=copied, overrides=(*CHEAP, "rules.min_sound_db=null", "rules.min_speech_share=null")
    )
    pending = decide_again(looser).pending
    assert pending >= 1
    status = read_status(looser)
    assert status.done == status.clips - pending


def test_a_run_that_fails_is_recorded_as_such(finished: Any, copied: Path) -> None:
    from megactor_core.curation.run_record import read_record

    record = read_record(copied)
    assert record is not None
    with pytest.raises(ZeroDivisionError), recorded(record, copied):
        raise ZeroDivisionError
    assert read_status(finished[0].updated(output=copied)).state == "failed"


def test_where_no_run_was_begun_there_is_nothing_to_tell(
    finished: Any, copied: Path, config_for: ConfigFor, tmp_path: Path
) -> None:
    for folder in (tmp_path / "absent", tmp_path):
        with pytest.raises(UsageError, match="No run was begun"):
            read_status(config_for(output=folder))
    assert not (tmp_path / "absent").exists()
    (copied / "run.json").write_text("{")
    with pytest.raises(OutputError, match=r"run\.json"):
        read_status(finished[0].updated(output=copied))


def test_part_files_that_are_merged_meanwhile_lose_nothing(
    finished: Any, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Journal.results, []

    def results(journal: Journal) -> Any:
        calls.append(journal)
        if len(calls) == 1:
            for path in journal.parts.glob("part-*.parquet"):
                path.rename(path.with_name("part-" + path.name[5:].replace(".parquet", "0.parquet")))
            return []
        return real(journal)

    monkeypatch.setattr(Journal, "results", results)
    assert read_status(finished[0].updated(output=copied)).done == finished[1].clips
    assert len(calls) == 2
