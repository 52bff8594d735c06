"""A worker that runs out of memory costs at most the row it was at; the others are done."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LIMITED_ONCE = """
import glob, os, resource, sys, threading, time

def limit():
    while not glob.glob("kept/journal/inflight/*.1"):  # the mark of a row at work
        time.sleep(0.001)
    taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + (1 << 20),) * 2)

if "spawn_main" in " ".join(sys.orig_argv):
    try:
        os.close(os.open({marker!r}, os.O_CREAT | os.O_EXCL))
        threading.Thread(target=limit, daemon=True).start()
    except FileExistsError:
        pass
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits on memory are Linux's")
def test_a_worker_without_memory_costs_no_other_row(fault_clips: Path, tmp_path: Path) -> None:
    marker = tmp_path / "limited"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(LIMITED_ONCE.format(marker=str(marker)))
    shutil.copytree(fault_clips, tmp_path / "clips")
    settings = {"PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "megactor_cli", "curate", "clips", "--output", "kept", "--workers", "1"]
    command += ["--recipe", "tiny", "--set", "rules.min_seconds=0.2", "--set", "batch_seconds=0.1", "--json"]
    ended = subprocess.run(command, cwd=tmp_path, env=os.environ | settings, capture_output=True, text=True)
    assert marker.exists()
    assert "Traceback" not in ended.stderr
    assert ended.returncode == 0, ended.stdout
    report = json.loads(ended.stdout)
    assert report["clips"] == 2
    assert report["pending"] == 0
    assert report["errors"] <= 1
    again = subprocess.run(
        [*command, "--retry-errors"], cwd=tmp_path, env=os.environ, capture_output=True, text=True
    )
    assert json.loads(again.stdout)["errors"] == 0
