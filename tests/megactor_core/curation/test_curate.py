"""Curating a small corpus: what is kept and why, what is measured when, and what other rules open again."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from megactor_core.config.curate import GATES, CurateConfig, GateName
from megactor_core.curation import scan, watch
from megactor_core.curation.curate import curate
from megactor_core.curation.decide_again import decide_again
from megactor_core.curation.manifest import SCHEMA
from megactor_core.errors import OutputError, UsageError, WeightsError

ConfigFor = Callable[..., CurateConfig]
Manifest = Callable[[Path], dict[str, dict[str, Any]]]
SYNC: tuple[GateName, ...] = ("sync_screen", "sync")
WEIGHT_FREE = tuple(gate for gate in GATES if gate not in SYNC)

EXPECTED = {
    None: None,
    "small_face": "light_face_too_small",
    "large_rotation": "head_turned",
    "silence": "silent",
    "no_sound": "no_sound",
    "two_faces": "light_several_faces",
    "no_face": "light_no_face",
    "scene_cut": "several_shots",
    "truncated": "cut_off",
}
"""The first reason by fault; whether an offset is past the limit, and a poor picture seen, is drawn."""


@pytest.fixture
def gates_taken(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The gates that a run in this process takes, by clip."""
    taken: dict[str, list[str]] = {}
    for module in (scan, watch):
        real = module.take

        def remember(row: Any, gate: str, measure: Any, *, rules: Any, real: Any = real) -> Any:
            if gate in row["todo"]:
                taken.setdefault(Path(row["source_path"]).stem, []).append(gate)
            return real(row, gate, measure, rules=rules)

        monkeypatch.setattr(module, "take", remember)
    return taken


def without_cost(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the manifest as two runs agree on it, wherever they write to."""
    own = {"host", "source_uri"}
    return {name: value for name, value in row.items() if not name.startswith("cpu_") and name not in own}


def test_faults_are_rejected_for_what_they_are(
    curated: Path, manifest: Manifest, faults: dict[str, str | None]
) -> None:
    rows = manifest(curated)
    assert len(rows) == len(faults)
    for name, row in rows.items():
        if faults[name] in EXPECTED:
            assert row["first_reason"] == EXPECTED[faults[name]], row
        assert row["keep"] == (row["status"] == "ok") == (row["reasons"] == [])
        assert row["error"] is None


def test_measuring_stops_at_the_first_broken_rule(curated: Path, manifest: Manifest) -> None:
    for row in manifest(curated).values():
        costs = [gate for gate in GATES if row[f"cpu_{gate}_s"] is not None]
        if row["keep"]:
            assert (row["stopped_at"], costs) == (None, list(WEIGHT_FREE))
            assert row["decodes"] == 1
        else:
            assert costs == list(WEIGHT_FREE[: WEIGHT_FREE.index(row["stopped_at"]) + 1])
            assert row["decodes"] == (row["stopped_at"] in watch.DECODED_GATES)
            assert row["av_confidence"] is None or row["stopped_at"] == "av_sync"


def test_the_manifest_is_one_that_preprocess_takes(curated: Path, corpus: Path) -> None:
    table = pq.read_table(curated / "manifest.parquet")
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    assert [row["clip_id"] for row in rows] == sorted(row["clip_id"] for row in rows)
    source = {row["identity"]: row for row in pq.read_table(corpus / "manifest.parquet").to_pylist()}
    for row in rows:
        assert (curated / row["source_uri"]).is_file()
        assert row["split"] == source[row["identity"]]["split"]
        assert row["dataset"] == "synthetic"


def test_the_summary_counts_and_says_what_is_missing(
    curated: Path, manifest: Manifest, faults: dict[str, str | None]
) -> None:
    summary = json.loads((curated / "summary.json").read_text())
    rows = manifest(curated).values()
    kept = [row for row in rows if row["keep"]]
    assert summary["kept"] == len(kept)
    assert summary["clips"] == summary["kept"] + summary["rejected"] == len(rows)
    assert summary["kept_hours"] == pytest.approx(sum(row["seconds"] for row in kept) / 3600)
    assert summary["datasets"]["synthetic"]["kept"]["means"]["sync_c"] is None
    (missing,) = summary["not_measured"]
    assert "megactor weights pull syncnet" in missing["fix"]
    assert missing["instead"] == "the audio-visual check without weights"
    assert "sync_c_low" in summary["idle_rules"]
    mute = sum(fault == "no_sound" for fault in faults.values())
    assert mute
    assert summary["rules"]["no_sound"] == {
        "checked": len(rows),
        "broken": mute,
        "pass_rate": pytest.approx(1 - mute / len(rows)),
    }


@pytest.mark.slow
def test_an_audit_measures_everything_and_decides_alike(
    corpus: Path, curated: Path, config_for: ConfigFor, manifest: Manifest, tmp_path: Path
) -> None:
    report = curate(config_for(corpus, output=tmp_path / "all", audit=1.0))
    early, full = manifest(curated), manifest(tmp_path / "all")
    for name, row in full.items():
        assert row["keep"] == early[name]["keep"]
        assert row["first_reason"] == early[name]["first_reason"]
        assert set(early[name]["reasons"]) <= set(row["reasons"])
        assert row["stopped_at"] is None
        assert row["frames"] is not None
        assert row["decodes"] == 1
    assert report.audit.clips == len(full)
    assert report.audit.rejected_by_screens >= 3
    assert report.audit.false_rejects == {}


def test_the_same_again_measures_nothing(
    corpus: Path, copied: Path, config_for: ConfigFor, manifest: Manifest, gates_taken: dict[str, list[str]]
) -> None:
    before = {name: without_cost(row) for name, row in manifest(copied).items()}
    report = curate(config_for(corpus, output=copied))
    assert (report.computed, gates_taken) == (0, {})
    assert {name: without_cost(row) for name, row in manifest(copied).items()} == before


def test_a_looser_rule_opens_the_clips_that_it_stopped_and_they_go_on(
    corpus: Path, copied: Path, config_for: ConfigFor, manifest: Manifest, gates_taken: dict[str, list[str]]
) -> None:
    stopped = {name for name, row in manifest(copied).items() if row["first_reason"] == "several_shots"}
    before = {name: without_cost(row) for name, row in manifest(copied).items() if name not in stopped}
    looser = ("rules.max_shots=2",)
    decided = decide_again(config_for(output=copied, overrides=looser))
    assert decided.pending == len(stopped) >= 1
    rows = manifest(copied)
    assert all(rows[name]["status"] == "pending" and not rows[name]["keep"] for name in stopped)
    assert gates_taken == {}
    report = curate(config_for(corpus, output=copied, overrides=looser))
    assert report.computed == len(stopped)
    assert gates_taken.keys() == stopped
    assert all(gates == ["faces", "motion", "quality", "av_sync"] for gates in gates_taken.values())
    rows = manifest(copied)
    assert all(rows[name]["status"] != "pending" for name in stopped)
    assert {name: without_cost(row) for name, row in rows.items() if name not in stopped} == before


def test_a_tighter_rule_opens_nothing(
    corpus: Path, copied: Path, config_for: ConfigFor, manifest: Manifest, gates_taken: dict[str, list[str]]
) -> None:
    tighter = ("rules.min_face_px=1000",)
    report = decide_again(config_for(output=copied, overrides=tighter))
    assert (report.kept, report.pending) == (0, 0)
    assert curate(config_for(corpus, output=copied, overrides=tighter)).computed == 0
    assert gates_taken == {}
    kept_before = decide_again(config_for(output=copied))
    assert kept_before.kept > 0


def test_a_changed_setting_takes_its_own_gate_again_and_no_other(
    corpus: Path, copied: Path, config_for: ConfigFor, manifest: Manifest, gates_taken: dict[str, list[str]]
) -> None:
    kept = {name for name, row in manifest(copied).items() if row["keep"]}
    curate(config_for(corpus, output=copied, overrides=("measure.sharpness_side_px=64",)))
    assert {name: gates_taken.get(name) for name in kept} == {name: ["quality"] for name in kept}
    assert all(set(gates) == {"quality"} for gates in gates_taken.values())


def test_a_changed_source_is_measured_anew_and_one_that_is_gone_is_an_error(
    corpus: Path, config_for: ConfigFor, manifest: Manifest, tmp_path: Path, gates_taken: dict[str, list[str]]
) -> None:
    raw, output = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    names = sorted(path.name for path in (corpus / "clips").glob("*.mp4"))[:3]
    for name in names:
        shutil.copy(corpus / "clips" / name, raw)
    only_probe = ("measure.gates=[probe]",)
    curate(config_for(raw, output=output, overrides=only_probe))
    gates_taken.clear()
    os.utime(raw / names[0], ns=(1, 1))
    (raw / names[1]).unlink()
    report = curate(config_for(raw, output=output, overrides=only_probe))
    assert gates_taken == {Path(names[0]).stem: ["probe"]}
    row = manifest(output)[Path(names[1]).stem]
    assert (row["status"], row["error_kind"], row["keep"]) == ("error", "vanished", False)
    assert report.errors_by_kind == {"vanished": 1}
    assert report.clips == 3


def test_bad_files_are_rows_and_the_rest_is_done(
    corpus: Path, config_for: ConfigFor, manifest: Manifest, tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    good = sorted((corpus / "clips").glob("*.mp4"))[0]
    shutil.copy(good, raw / "good.mp4")
    (raw / "empty.mp4").touch()
    (raw / "text.mp4").write_text("no video")
    (raw / "link.mp4").symlink_to(raw / "nowhere")
    (raw / "folder.mp4").mkdir()
    os.mkfifo(raw / "pipe.mp4")
    before = {path.name: path.lstat().st_mtime_ns for path in raw.iterdir()}
    report = curate(config_for(raw, output=tmp_path / "out", overrides=("measure.gates=[probe,sound]",)))
    rows = manifest(tmp_path / "out")
    assert rows["good"]["error"] is None
    bad = {name: row for name, row in rows.items() if name != "good"}
    assert bad.keys() == {"empty", "text", "link", "pipe"}
    assert {row["error_kind"] for row in bad.values()} == {"MediaError"}
    assert all(
        row["status"] == "error" and not row["keep"] and row["stopped_at"] == "probe" for row in bad.values()
    )
    assert "0 bytes" in rows["empty"]["error"]
    assert report.errors_by_kind == {"MediaError": 4}
    assert {path.name: path.lstat().st_mtime_ns for path in raw.iterdir()} == before


def test_errors_are_tried_again_when_asked(
    corpus: Path, config_for: ConfigFor, manifest: Manifest, tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "late.mp4").touch()
    options = {"output": tmp_path / "out", "overrides": ("measure.gates=[probe]",)}
    curate(config_for(raw, **options))
    assert curate(config_for(raw, **options)).computed == 0
    assert curate(config_for(raw, retry_errors=True, **options)).computed == 1
    shutil.copy(sorted((corpus / "clips").glob("*.mp4"))[0], raw / "late.mp4")
    assert curate(config_for(raw, **options)).errors == 0


def test_copies_and_shared_sources_are_taken_once(
    corpus: Path, config_for: ConfigFor, manifest: Manifest, curated: Path, tmp_path: Path
) -> None:
    name = next(name for name, row in manifest(curated).items() if row["keep"])
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        shutil.copy(corpus / "clips" / f"{name}.mp4", tmp_path / folder / f"{folder}.mp4")
    fast = ("measure.gates=[probe,sound]",)
    report = curate(config_for(tmp_path / "one", tmp_path / "two", output=tmp_path / "out", overrides=fast))
    assert (report.kept, report.reasons) == (1, {"duplicate": 1})
    rows = manifest(tmp_path / "out")
    assert rows["two"]["reasons"] == [f"duplicate: of {rows['one']['clip_id']}"]
    both = decide_again(config_for(output=tmp_path / "out", overrides=("rules.duplicates=keep",)))
    assert both.kept == 2


def test_a_missing_detector_of_record_fails_or_is_replaced_as_set(
    corpus: Path, config_for: ConfigFor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(back_end: str, **_options: Any) -> None:
        if back_end == "dwpose":
            raise WeightsError("The weights 'dwpose' are missing.", fix="Run `megactor weights pull dwpose`.")

    monkeypatch.setattr("megactor_core.curation.gates.prepare", prepare)
    raw = tmp_path / "raw"
    raw.mkdir()
    for path in sorted((corpus / "clips").glob("*.mp4"))[:2]:
        shutil.copy(path, raw)
    wanted = ("measure.landmarks=dwpose", "measure.gates=[probe,faces]")
    with pytest.raises(WeightsError, match=r"pull dwpose.*missing_landmarks=mediapipe"):
        curate(config_for(raw, output=tmp_path / "out", overrides=wanted))
    notes: list[str] = []
    replaced = (*wanted, "measure.missing_landmarks=mediapipe")
    report = curate(config_for(raw, output=tmp_path / "out", overrides=replaced), on_note=notes.append)
    assert report.not_measured[0]["instead"] == "mediapipe"
    assert any("dwpose" in note and "mediapipe" in note for note in notes)
    methods = set(pq.read_table(tmp_path / "out" / "manifest.parquet")["face_method"].to_pylist())
    assert "mediapipe" in methods <= {"mediapipe", None}


def test_other_folders_are_left_alone(corpus: Path, config_for: ConfigFor, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty"):
        curate(config_for(corpus, output=tmp_path))
    with pytest.raises(UsageError, match="nothing to decide on"):
        decide_again(config_for(output=tmp_path / "absent"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
