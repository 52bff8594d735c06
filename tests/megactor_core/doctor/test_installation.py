"""The doctor on this installation, and on broken ones."""

import builtins
import importlib.metadata
import json
import tomllib
from pathlib import Path

import pytest

from megactor_core.doctor import installation
from megactor_core.models.checkpoint import EMBEDDED

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEGACTOR_CACHE", str(tmp_path / "cache"))


def test_this_installation_can_animate(tmp_path: Path) -> None:
    report = installation.examine(runs=tmp_path)
    assert report.ok, report.problems
    assert report.devices[0].name == "cpu"
    assert {codec.name for codec in report.codecs if codec.reads and codec.writes} >= {"h264", "aac"}
    assert report.cache_free_bytes > 0
    assert not any(state.found for state in report.weights)
    assert json.loads(json.dumps(report.to_json()))["ok"] is True
    assert not (tmp_path / "cache").exists(), "examining changes nothing"


def test_the_packages_are_those_of_pyproject() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        declared = tomllib.load(file)["project"]["dependencies"]
    assert sorted(installation.PACKAGES) == sorted(requirement.split(">=")[0] for requirement in declared)


def test_the_embedded_checkpoint_and_those_of_runs_are_found(tmp_path: Path) -> None:
    places = {
        tmp_path / "runs" / "stage1" / "final": '{"trained": false}',
        tmp_path / "runs" / "stage1" / "checkpoints" / "step-100": "damaged",
    }
    for folder, config in places.items():
        folder.mkdir(parents=True)
        (folder / "sigma.safetensors").touch()
        (folder / "config.json").write_text(config)
    (tmp_path / "runs" / "stage2").mkdir()
    found = {
        Path(state.folder): state.trained
        for state in installation.examine(runs=tmp_path / "runs").checkpoints
    }
    assert found.pop(EMBEDDED) is True
    assert list(found.values()) == [None, False]
    assert set(found) == set(places)


def test_a_missing_package_is_fatal_and_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "soxr":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    report = installation.examine(runs=tmp_path)
    assert not report.ok
    assert report.packages["soxr"] is None
    assert any("soxr" in problem.message for problem in report.problems)


def test_a_harmful_package_is_a_warning_with_its_cure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = installation.package_version
    monkeypatch.setattr(
        installation, "package_version", lambda name: "0.1" if name == "torchvision" else real(name)
    )
    report = installation.examine(runs=tmp_path)
    assert report.ok
    assert [problem.fix for problem in report.problems] == ["pip uninstall torchvision"]


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ("torch", OSError("libtorch.so not found")),
        ("torch", RuntimeError("operator torchvision::nms does not exist")),
        ("av.codec", ImportError("no libav")),
    ],
)
def test_a_library_that_does_not_load_is_told_not_raised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: str, error: Exception
) -> None:
    real = builtins.__import__

    def fake(name: str, *rest: object) -> object:
        if name == broken:
            raise error
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", fake)
    report = installation.examine(runs=tmp_path)
    assert not report.ok
    assert "does not load" in report.problems[0].message


def test_little_space_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installation, "free_bytes", lambda _folder: 5_000_000)
    report = installation.examine(runs=tmp_path)
    assert report.ok
    assert "Only 5 MB" in report.problems[0].message
