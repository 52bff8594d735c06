"""However a run is made or broken off, the manifest is the same, and nothing is measured twice."""

import os
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


@pytest.fixture(scope="module")
def plain(corpus: Path, config_for: ConfigFor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In this process, undisturbed."""
    output = tmp_path_factory.mktemp("plain")
    curate(config_for(corpus, output=output))
    return output


def test_workers_give_what_one_process_gives(
    corpus: Path, plain: Path, config_for: ConfigFor, manifest: Manifest, tmp_path: Path
) -> None:
    curate(config_for(corpus, output=tmp_path / "out", workers=1))
    assert lasting(manifest(tmp_path / "out")) == lasting(manifest(plain))


def test_a_driver_that_is_killed_goes_on_where_it_was(
    corpus: Path, plain: Path, config_for: ConfigFor, manifest: Manifest, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    command = [
        *(sys.executable, "-m", "megactor_cli", "curate", str(corpus), "--output", str(output)),
        *("--recipe", "tiny", "--workers", "0", "--quiet", "--set", "batch_seconds=0.01"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = Journal(output / "journal")
    while process.poll() is None and len(journal.results()) < 3:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = {row["row_id"] for row in journal.results()}
    clips = find_sources(config_for(corpus, output=output)).clips
    assert 3 <= len(done) < len(clips)
    assert not (output / "manifest.parquet").exists()
    report = curate(config_for(corpus, output=output))
    assert report.computed == len(clips) - len(done)
    assert lasting(manifest(output)) == lasting(manifest(plain))
    assert not (output / "work").exists()


def test_a_clip_that_kills_its_worker_is_an_error_and_the_rest_is_done(
    corpus: Path, plain: Path, config_for: ConfigFor, manifest: Manifest, tmp_path: Path
) -> None:
    """A worker is killed while it reads a clip, as a decoder that crashes would: a pipe that nobody feeds."""
    raw = tmp_path / "raw"
    raw.mkdir()
    name = next(name for name, row in manifest(plain).items() if row["keep"])
    (raw / "good.mp4").symlink_to(corpus / "clips" / f"{name}.mp4")
    (raw / "hangs.mp4").symlink_to(corpus / "clips" / f"{name}.mp4")
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from megactor_core.curation import part\n"
        "real = part.probe_video\n"
        "def probe(path, **options):\n"
        "    if Path(path).name == 'hangs.mp4':\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    return real(path, **options)\n"
        "part.probe_video = probe\n"
        "if __name__ == '__main__':\n"
        "    from megactor_cli.app import main\n"
        "    main()\n"
    )
    (tmp_path / "broken.py").write_text(script)
    command = [
        *(sys.executable, str(tmp_path / "broken.py"), "curate", str(raw), "--output", str(tmp_path / "out")),
        *("--recipe", "tiny", "--workers", "1", "--json", "--quiet", "--set", "measure.gates=[probe]"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    rows = manifest(tmp_path / "out")
    assert rows["good"]["keep"]
    assert (rows["hangs"]["status"], rows["hangs"]["error_kind"]) == ("error", "killed_worker")
