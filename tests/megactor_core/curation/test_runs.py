"""However a run is made or broken off, the manifest is the same, and nothing is measured twice."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from megactor_core.config.curate import CurateConfig
from megactor_core.curation.curate import curate
from megactor_core.curation.dry_run import dry_run
from megactor_core.curation.sources import find_sources
from megactor_core.engine.journal import Journal

pytestmark = pytest.mark.slow

ConfigFor = Callable[..., CurateConfig]
Manifest = Callable[[Path], dict[str, dict[str, Any]]]
NO_MATTER = {"host", "attempts", "source_uri"}


def lasting(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What two runs agree on: all but host, time and number of tries."""
    return {
        name: {
            key: value for key, value in row.items() if key not in NO_MATTER and not key.startswith("cpu_")
        }
        for name, row in rows.items()
    }


def lasting_page(output: Path) -> str:
    """The report but for its section of costs."""
    page, cuts = re.subn(
        r"<section[^>]*><h2>Cost</h2>.*?</section>", "", (output / "report.html").read_text(), flags=re.DOTALL
    )
    assert cuts == 1
    return page


def lasting_summary(output: Path) -> dict[str, Any]:
    """The summary but for costs and paths."""
    own = {"output", "manifest", "report", "computed", "worker_deaths"}
    summary = json.loads((output / "summary.json").read_text())
    return {key: value for key, value in summary.items() if key not in own and "seconds" not in key}


def assert_same(output: Path, plain: Path, manifest: Manifest) -> None:
    """All that is written for others is the same, apart from where and how fast it was made."""
    assert lasting(manifest(output)) == lasting(manifest(plain))
    assert lasting_summary(output) == lasting_summary(plain)
    assert lasting_page(output) == lasting_page(plain)
    assert not (output / "work").exists()


def start(corpus: Path, output: Path, *, workers: int) -> subprocess.Popen[str]:
    """Curate the corpus in another process that writes every clip at once."""
    command = [
        *(sys.executable, "-m", "megactor_cli", "curate", str(corpus), "--output", str(output)),
        *("--recipe", "tiny", "--workers", str(workers), "--quiet", "--json", "--set", "batch_seconds=0.01"),
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], journal: Journal, *, clips: int) -> None:
    """Until so many clips are done."""
    while process.poll() is None and len(journal.results()) < clips:
        time.sleep(0.05)


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Its worker processes."""
    children = Path(f"/proc/{process.pid}/task").glob("*/children")
    numbers = [int(number) for path in children for number in path.read_text().split()]
    return [number for number in numbers if b"spawn_main" in Path(f"/proc/{number}/cmdline").read_bytes()]


def test_workers_give_what_one_process_gives(
    corpus: Path, curated: Path, config_for: ConfigFor, manifest: Manifest, tmp_path: Path
) -> None:
    curate(config_for(corpus, output=tmp_path / "out", workers=1))
    assert_same(tmp_path / "out", curated, manifest)


def test_a_dry_run_by_workers_foretells_what_one_process_does(
    corpus: Path, config_for: ConfigFor, tmp_path: Path
) -> None:
    inline, local = (
        dry_run(config_for(corpus, output=tmp_path / "out", overrides=("forecast.clips=9",), workers=workers))
        for workers in (0, 1)
    )
    assert local.statuses == inline.statuses
    assert local.first_reasons == inline.first_reasons
    assert local.kept_share == inline.kept_share
    assert local.sources.kept_hours == inline.sources.kept_hours
    assert [(gate.gate, gate.clips, gate.pass_share) for gate in local.gates] == [
        (gate.gate, gate.clips, gate.pass_share) for gate in inline.gates
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_is_killed_costs_only_the_clip_in_its_hands(
    corpus: Path, curated: Path, manifest: Manifest, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    process = start(corpus, output, workers=1)
    wait_for(process, Journal(output / "journal"), clips=3)
    (worker,) = workers_of(process)
    os.kill(worker, signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert json.loads(out)["worker_deaths"] == 1
    assert_same(output, curated, manifest)
    tries = [row["attempts"] for row in manifest(output).values()]
    assert sorted(tries)[:-1] == [1] * (len(tries) - 1)
    assert max(tries) <= 2


def test_a_driver_that_is_killed_goes_on_where_it_was(
    corpus: Path, curated: Path, config_for: ConfigFor, manifest: Manifest, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    process = start(corpus, output, workers=0)
    journal = Journal(output / "journal")
    wait_for(process, journal, clips=3)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done = {row["row_id"] for row in journal.results()}
    clips = find_sources(config_for(corpus, output=output)).clips
    assert 3 <= len(done) < len(clips)
    assert not (output / "manifest.parquet").exists()
    report = curate(config_for(corpus, output=output))
    assert report.computed == len(clips) - len(done)
    assert_same(output, curated, manifest)
    assert all(row["attempts"] == 1 for name, row in manifest(output).items() if row["clip_id"] in done)


BROKEN = """
import os, signal, time
from pathlib import Path
from megactor_core.curation import part
real = part.probe_video
def probe(path, **options):
    match Path(path).stem:
        case "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hangs":
            time.sleep(1000)
    return real(path, **options)
part.probe_video = probe
if __name__ == "__main__":
    from megactor_cli.app import main
    main()
"""
"""The command with a decoder that some files are too much for, as real ones are found to be."""


def test_clips_that_crash_hang_or_kill_the_decoder_are_errors_and_the_rest_is_done(
    corpus: Path, curated: Path, manifest: Manifest, tmp_path: Path
) -> None:
    raw, few = tmp_path / "raw", tmp_path / "few"
    name = next(name for name, row in manifest(curated).items() if row["keep"])
    for folder, links in ((raw, ("good", "crashes", "killed", "hangs")), (few, ("good", "crashes"))):
        folder.mkdir()
        for link in links:
            (folder / f"{link}.mp4").symlink_to(corpus / "clips" / f"{name}.mp4")
    (tmp_path / "broken.py").write_text(BROKEN)
    settings = ("--set", "measure.gates=[probe]", "--set", "timeout_seconds=20")

    def run(*options: str) -> dict[str, Any]:
        command = [sys.executable, str(tmp_path / "broken.py"), "curate", "--json", "--quiet", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    common = ("--output", str(tmp_path / "out"), "--recipe", "tiny", "--workers", "1", *settings)
    kinds = {"killed_worker": 2, "timeout": 1}
    foretold = run(str(few), *common, "--dry-run")
    assert (foretold["statuses"], foretold["errors_by_kind"]) == ({"ok": 1, "error": 1}, {"killed_worker": 1})
    assert not (tmp_path / "out").exists()
    report = run(str(raw), *common)
    assert (report["kept"], report["errors_by_kind"]) == (1, kinds)
    rows = manifest(tmp_path / "out")
    assert rows["good"]["keep"]
    assert {name: row["error_kind"] for name, row in rows.items() if name != "good"} == {
        "crashes": "killed_worker",
        "killed": "killed_worker",
        "hangs": "timeout",
    }
    status = run("--status", "--output", str(tmp_path / "out"))
    assert (status["state"], status["done"], status["errors_by_kind"]) == ("finished", 4, kinds)
