"""The commands give the same on every engine: in one process, in workers, on a cluster."""

import json
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from megactor_cli.app import run

pytestmark = pytest.mark.ray

ENGINES = {
    "inline": ["--workers", "0"],
    "local": ["--workers", "1"],
    "ray": ["--engine", "ray", "--workers", "1", "--set", "ray_batch_rows=2"],
}
DIFFER = re.compile(r"cpu_\w+|run|host")
"""Columns that say when and where, not what."""
Work = Callable[[str, Path], None]


@pytest.fixture(scope="module")
def cluster(start_ray: Callable[[int], None]) -> None:
    """One logical CPU."""
    start_ray(1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short clips."""
    folder = tmp_path_factory.mktemp("corpus") / "raw"
    megactor("synth", "--clips", 3, "--seconds", 2, "--workers", 0, "--output", folder)
    return folder


def megactor(*words: object) -> None:
    assert run([*map(str, words), "--quiet"]) == 0


def rows_of(table: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.items() if not DIFFER.fullmatch(name)}
        for row in pq.read_table(table).to_pylist()
    ]


def files_in(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_manifests_indices_samples_and_metrics_do_not_depend_on_the_engine(
    cluster: None, corpus: Path, tmp_path: Path
) -> None:
    found: dict[str, Any] = {}
    for name, engine in ENGINES.items():
        out = tmp_path / name
        megactor("curate", corpus, "--recipe", "tiny", "--output", out / "curated", *engine)
        megactor("preprocess", corpus, "--recipe", "tiny", "--output", out / "data", *engine)
        clips = ["--generated", corpus / "clips", "--real", corpus / "clips"]
        chosen = ["--metrics", "psnr,faces", "--output", out / "scores"]
        megactor("evaluate", *clips, *chosen, *engine)
        metrics = json.loads((out / "scores" / "metrics.json").read_text())
        found[name] = {
            "manifest": rows_of(out / "curated" / "manifest.parquet"),
            "index": rows_of(out / "data" / "index.parquet"),
            "samples": files_in(out / "data" / "samples"),
            "metrics": metrics["metrics"],
        }
    assert len(found["inline"]["manifest"]) == 3
    assert found["inline"]["samples"]
    assert found["local"] == found["inline"]
    assert found["ray"] == found["inline"]
