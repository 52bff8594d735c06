"""A small corpus of talking heads, some of them wrong in a known way, curated in this process."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from megactor_core.config.curate import CurateConfig
from megactor_core.config.recipes import load_config
from megactor_core.config.synth import SynthConfig
from megactor_core.curation.curate import curate
from megactor_core.curation.summary import CurateReport
from megactor_core.synthetic.corpus import make_corpus

CLIPS, SIZE_PX, SECONDS = 13, 128, 1.68

ConfigFor = Callable[..., CurateConfig]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirteen clips: one with each fault, the others sound."""
    folder = tmp_path_factory.mktemp("synthetic")
    config = SynthConfig(
        output=folder / "synthetic",
        clips=CLIPS,
        size=SIZE_PX,
        seconds=SECONDS,
        workers=0,
        seed=3,
        faults={"enabled": True, "share": 0.8},
    )
    make_corpus(config)
    return config.output


@pytest.fixture(scope="session")
def faults(corpus: Path) -> dict[str, str | None]:
    """The fault of each clip by the name of its file."""
    rows = pq.read_table(corpus / "manifest.parquet").to_pylist()
    return {Path(row["source_uri"]).stem: row["fault"] for row in rows}


@pytest.fixture(scope="session")
def config_for() -> ConfigFor:
    """The recipe for the corpus, worked on in this process."""

    def config(*sources: Path, output: Path, overrides: tuple[str, ...] = (), **options: Any) -> CurateConfig:
        return load_config(
            CurateConfig,
            command="curate",
            recipe="tiny",
            overrides=overrides,
            options={"workers": 0, "sources": sources, "output": output} | options,
        )

    return config


@pytest.fixture(scope="session")
def curate_report(
    corpus: Path, config_for: ConfigFor, tmp_path_factory: pytest.TempPathFactory
) -> CurateReport:
    """Of the corpus, curated with early reject and undisturbed."""
    return curate(config_for(corpus, output=tmp_path_factory.mktemp("curated") / "out"))


@pytest.fixture(scope="session")
def curated(curate_report: CurateReport) -> Path:
    """The output of that run, which no test may change."""
    return Path(curate_report.output)


@pytest.fixture
def copied(curated: Path, tmp_path: Path) -> Path:
    """A copy of that output, to change."""
    return Path(shutil.copytree(curated, tmp_path / "copied"))


@pytest.fixture(scope="session")
def manifest() -> Callable[[Path], dict[str, dict[str, Any]]]:
    """The rows of an output's manifest by the name of the file."""

    def read(output: Path) -> dict[str, dict[str, Any]]:
        rows = pq.read_table(output / "manifest.parquet").to_pylist()
        return {Path(row["source_uri"]).stem: row for row in rows}

    return read
