"""Bad input: what is wrong with a source is a row of the manifest, or one error before a file is written."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megactor_core.config.curate import CurateConfig
from megactor_core.curation.curate import curate
from megactor_core.curation.decide_again import decide_again
from megactor_core.curation.dry_run import dry_run
from megactor_core.curation.status import read_status
from megactor_core.errors import ConfigError, UsageError

pytestmark = pytest.mark.slow  # whole runs

ConfigFor = Callable[..., CurateConfig]
Manifest = Callable[[Path], dict[str, dict[str, Any]]]
PROBE = ("measure.gates=[probe]",)


@pytest.fixture
def good(curated: Path, manifest: Manifest) -> list[Path]:
    """Clips of the corpus that can be read to their end, those first that are kept."""
    rows = sorted(manifest(curated).values(), key=lambda row: not row["keep"])
    return [(curated / row["source_uri"]).resolve() for row in rows if row["stopped_at"] != "probe"]


@pytest.fixture
def raw(tmp_path: Path, good: list[Path]) -> Path:
    """A source with two good clips."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for path, name in zip(good, ("one", "two"), strict=False):
        shutil.copy(path, folder / f"{name}.mp4")
    return folder


def close(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to list a folder and to look at what is in it, as the system does to others than root."""

    def refusing(real: Callable[..., Any], is_refused: Callable[[str], bool]) -> Callable[..., Any]:
        def call(path: Any = ".", *args: Any, **options: Any) -> Any:
            if isinstance(path, str | os.PathLike) and is_refused(os.fspath(path)):
                raise PermissionError(13, "Permission denied", os.fspath(path))
            return real(path, *args, **options)

        return call

    monkeypatch.setattr(os, "scandir", refusing(os.scandir, lambda path: path == str(folder)))
    monkeypatch.setattr(os, "stat", refusing(os.stat, lambda path: path.startswith(f"{folder}{os.sep}")))


def test_damaged_copies_are_rows_and_the_rest_is_done(
    raw: Path, config_for: ConfigFor, manifest: Manifest, tmp_path: Path
) -> None:
    whole = (raw / "one.mp4").read_bytes()
    for percent in (1, 40, 80, 99):
        (raw / f"cut {percent}.mp4").write_bytes(whole[: len(whole) * percent // 100])
    for seed in range(6):
        rng = np.random.default_rng([seed])
        flipped = np.frombuffer(whole, np.uint8).copy()
        flipped[rng.integers(0, len(flipped), 10 * seed + 1)] ^= np.uint8(1) << rng.integers(
            0, 8, dtype=np.uint8
        )
        (raw / f"flipped {seed}.mp4").write_bytes(flipped.tobytes())
    before = {path: path.read_bytes() for path in raw.iterdir()}
    gates = ("measure.gates=[probe,sound,light_faces,shots]",)
    report = curate(config_for(raw, output=tmp_path / "out", overrides=gates))
    rows = manifest(tmp_path / "out")
    assert rows.keys() == {path.stem for path in before}
    assert rows["one"]["keep"]
    assert rows["two"]["keep"]
    assert all(rows[f"cut {percent}"]["status"] != "ok" for percent in (1, 40, 80))
    assert {row["error_kind"] for row in rows.values()} <= {"MediaError", None}
    assert report.clips == report.kept + report.rejected + report.errors
    assert report.errors >= 1
    assert {path: path.read_bytes() for path in raw.iterdir()} == before


def test_a_folder_that_is_closed_to_us_is_a_row_and_the_rest_is_done(
    raw: Path, good: list[Path], config_for: ConfigFor, manifest: Manifest, tmp_path: Path, monkeypatch: Any
) -> None:
    closed, inside = tmp_path / "closed", raw / "inside"
    for number, folder in enumerate((closed, inside)):
        folder.mkdir()
        shutil.copy(good[2 + number], folder / f"{folder.name}-clip.mp4")
    config = config_for(raw, closed, output=tmp_path / "out", overrides=PROBE)
    assert curate(config).kept == 4
    for folder in (closed, inside):
        close(folder, monkeypatch)
    report = curate(config)
    assert report.errors_by_kind == {"UsageError": 2, "vanished": 2}
    rows = manifest(tmp_path / "out")
    assert {name for name, row in rows.items() if row["keep"]} == {"one", "two"}
    for folder in (closed, inside):
        assert f"The folder '{folder}' cannot be read (Permission denied)" in rows[folder.name]["error"]
    assert read_status(config).errors_by_kind == {"UsageError": 2}  # it looks at no source
    foretold = dry_run(config.updated(output=tmp_path / "other"))
    assert foretold.statuses == {"ok": 2, "error": 2}


def test_a_clip_that_vanishes_while_others_are_read_is_a_row(
    raw: Path, config_for: ConfigFor, manifest: Manifest, tmp_path: Path
) -> None:
    def remove(_note: str) -> None:
        (raw / "one.mp4").unlink(missing_ok=True)

    report = curate(config_for(raw, output=tmp_path / "out", overrides=PROBE), on_note=remove)
    assert (report.kept, report.errors_by_kind) == (1, {"MediaError": 1})
    assert "one.mp4" in manifest(tmp_path / "out")["one"]["error"]
    foretold = dry_run(config_for(raw, output=tmp_path / "other", overrides=PROBE), on_note=remove)
    assert foretold.clips == 1


def test_where_all_sources_are_gone_the_output_stays_as_it_was(
    raw: Path, config_for: ConfigFor, manifest: Manifest, tmp_path: Path
) -> None:
    config = config_for(raw, output=tmp_path / "out", overrides=PROBE)
    curate(config)
    before = (tmp_path / "out" / "manifest.parquet").read_bytes()
    shutil.rmtree(raw)
    for command in (curate, dry_run):
        with pytest.raises(UsageError, match="There is no"):
            command(config)
    assert (tmp_path / "out" / "manifest.parquet").read_bytes() == before
    assert read_status(config).state == "finished"
    assert decide_again(config).errors_by_kind == {"vanished": 2}


def test_two_data_sets_of_one_name_stay_two_in_the_manifest(
    good: list[Path], config_for: ConfigFor, tmp_path: Path
) -> None:
    folders = [tmp_path / place / "hdtf" for place in "ab"]
    for folder, path in zip(folders, good, strict=False):
        folder.mkdir(parents=True)
        shutil.copy(path, folder / "clip.mp4")
    config = config_for(*folders, output=tmp_path / "out", overrides=PROBE)
    report = curate(config)
    assert (report.clips, report.kept, len(report.datasets)) == (2, 2, 2)
    assert "hdtf" in report.datasets
    foretold = dry_run(config)
    assert foretold.datasets.keys() == report.datasets.keys()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("rules.max_shot=2", "rules.max_shots"),
        ("rules.min_face_px=large", "rules.min_face_px"),
        ("measure.gates=[probe,smile]", "measure.gates"),
    ],
)
def test_an_unknown_rule_is_refused_before_anything_is_written(
    override: str, said: str, config_for: ConfigFor, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        config_for(tmp_path, output=tmp_path / "out", overrides=(override,))
    assert list(tmp_path.iterdir()) == []
