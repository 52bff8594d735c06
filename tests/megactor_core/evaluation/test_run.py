"""A whole evaluation of small clips: ideal values, bits that depend on nothing, counted work, bad input."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from megactor_core.config.evaluate import EvaluateConfig
from megactor_core.errors import OutputError, UsageError, WeightsError
from megactor_core.evaluation.clip import arrays_path, read_arrays
from megactor_core.evaluation.result import METRICS, EvaluateResult, read_result
from megactor_core.evaluation.run import evaluate
from megactor_core.media import video

pytestmark = pytest.mark.slow  # whole runs

MakeClip = Callable[..., Path]
ConfigFor = Callable[..., EvaluateConfig]
NETWORK_METRICS = ["lpips", "fid", "fvd", "sync"]


def numbers(result: EvaluateResult) -> dict[str, Any]:
    """Everything of the set that must not depend on how it was computed."""
    (one,) = result.sets.values()
    return asdict(one)


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was decoded."""
    counted: Counter[str] = Counter()

    def read(path: Path, **options: Any) -> Any:
        counted[path.name] += 1
        return video.read_video(path, **options)

    monkeypatch.setattr("megactor_core.evaluation.reading.read_video", read)
    return counted


@pytest.fixture
def quick(folders: SimpleNamespace, tmp_path: Path, config_for: ConfigFor, cache: Path) -> EvaluateConfig:
    """Everything that needs no weights, on clips that differ; NIQE and MS-SSIM ask for larger pictures."""
    return config_for(tmp_path / "out", generated=folders.generated, real=folders.real)


@pytest.fixture(scope="module")
def done(
    folders: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory, config_for: ConfigFor
) -> EvaluateResult:
    """What comes of `quick` in one process."""
    config = config_for(tmp_path_factory.mktemp("done") / "out", cache_features=False)
    return evaluate(config.updated(generated=folders.generated, real=folders.real))


def test_equal_clips_have_the_ideal_values(
    folders: SimpleNamespace, tmp_path: Path, cache: Path, config_for: ConfigFor
) -> None:
    config = config_for(tmp_path / "out", generated=folders.real / "a.mp4", real=folders.real / "a.mp4")
    (one,) = evaluate(config).sets.values()
    values = {name: found.value for name, found in one.metrics.items()}
    ideal = {"psnr": 100, "ssim": 1, "face_distance": 0, "mouth_lmd": 0, "pose_error": 0, "face_share": 1}
    ideal |= {"mouth_open_correlation": 1, "mouth_amplitude_ratio": 1, "eyes_open_error": 0}
    assert {name: values[name] for name in ideal} == pytest.approx(ideal)
    for name in ("jitter", "flicker", "head_turn"):
        assert values[name] == values[f"{name}_real"]
    assert one.metrics["psnr"].interval is None
    assert any("one pair only" in warning for warning in one.warnings)


def test_worse_clips_are_worse_and_every_number_says_how_it_was_made(done: EvaluateResult) -> None:
    (one,) = done.sets.values()
    assert one.metrics["psnr"].value < 40
    assert one.metrics["ssim"].value < 0.95
    assert one.metrics["face_distance"].value > 0
    assert one.metrics["flicker"].value > one.metrics["flicker_real"].value
    for found in one.metrics.values():
        assert found.count == 2
        assert "25 fps" in found.preprocessing
        assert found.interval is not None
        assert found.interval[0] <= found.value <= found.interval[1]
    assert one.pairs["paired"] == one.pairs["measured"] == 2
    assert (one.pairs["only_generated"], one.pairs["only_real"]) == (["extra"], ["lonely"])


def test_what_cannot_be_taken_is_said_with_reason_and_fix(done: EvaluateResult) -> None:
    (one,) = done.sets.values()
    assert one.missing.keys() == {"ms_ssim", "niqe", "av_sync"}
    assert "at least 176 pixels" in one.missing["ms_ssim"]["reason"]
    assert "too short" in one.missing["av_sync"]["reason"]
    assert all(why["fix"] for why in one.missing.values())
    assert sum(one.pairs["skipped"]["niqe"].values()) == 2


@pytest.mark.parametrize(("workers", "batch_size"), [(0, 1), (0, 7), (2, 64)])
def test_no_bit_depends_on_batches_and_workers(
    quick: EvaluateConfig, done: EvaluateResult, workers: int, batch_size: int
) -> None:
    result = evaluate(quick.updated(workers=workers, batch_size=batch_size))
    assert numbers(result) == numbers(done)
    for row in result.rows:
        arrays, others = (read_arrays(r.output, row["row_id"]) for r in (result, done))
        assert arrays.keys() == others.keys()
        for name, values in arrays.items():
            np.testing.assert_array_equal(values, others[name], err_msg=name)


def test_the_result_lies_in_the_folder(done: EvaluateResult) -> None:
    written = json.loads((done.output / METRICS).read_text())
    assert written == json.loads(json.dumps(done.to_json()))
    assert read_result(done.output) == written
    assert written["metrics"]["psnr"]["value"] == done.sets[""].metrics["psnr"].value
    assert written["protocol"]["name"] == "quick"
    assert written["versions"]["torch"]
    table = pq.read_table(done.output / "clips.parquet").to_pylist()
    assert [row["name"] for row in table] == ["a", "deep/b"]
    mean = np.mean([row["psnr"] for row in table])
    assert mean == pytest.approx(written["metrics"]["psnr"]["value"])


def test_each_file_is_decoded_once(quick: EvaluateConfig, decodes: Counter[str]) -> None:
    evaluate(quick)
    assert decodes == {"a.mp4": 2, "b.mov": 1, "b.mp4": 1}  # a.mp4 is the name of two files


def test_one_network_pass_a_frame_and_none_of_real_frames_again(
    quick: EvaluateConfig, stand_ins: Any, decodes: Counter[str], tmp_path: Path, cache: Path
) -> None:
    config = quick.updated(metrics=NETWORK_METRICS, networks=stand_ins.files)
    (one,) = evaluate(config).sets.values()
    counts = {name: len(passes) for name, passes in stand_ins.passes.items()}
    # Two pairs of 18 frames: each frame of both sides, one FVD window a side, each pair, each lip window.
    assert counts == {"fid": 72, "fvd": 4, "lpips": 36, "lip": 2 * 14, "audio": 2 * 13}
    assert max(decodes.values()) == 2
    assert one.metrics.keys() == {"fid", "fvd", "lpips", "sync_c", "sync_d", "sync_offset"}
    assert one.metrics["fid"].samples == (36, 36)
    assert one.metrics["fvd"].samples == (2, 2)
    assert one.metrics["fvd"].is_biased
    assert any(warning.startswith("FVD is of 2 generated and 2 real") for warning in one.warnings)
    assert len(one.metrics["lpips"].weights) == 2

    for passes in stand_ins.passes.values():
        passes.clear()
    again = evaluate(config.updated(output=tmp_path / "again", batch_size=5))
    assert {name: len(passes) for name, passes in stand_ins.passes.items()} == counts | {"fid": 36, "fvd": 2}
    assert numbers(again) == numbers(evaluate(config))


def test_equal_sets_have_no_distance(
    quick: EvaluateConfig, stand_ins: Any, folders: SimpleNamespace, cache: Path
) -> None:
    config = quick.updated(metrics=["fid", "fvd", "lpips"], generated=folders.real, networks=stand_ins.files)
    (one,) = evaluate(config.updated(fvd_windows="first")).sets.values()
    assert {name: found.value for name, found in one.metrics.items()} == pytest.approx(
        {"fid": 0, "fvd": 0, "lpips": 0}, abs=1e-6
    )


def test_a_finished_run_computes_nothing(quick: EvaluateConfig, decodes: Counter[str]) -> None:
    first, notes = evaluate(quick), []
    decodes.clear()
    second = evaluate(quick, on_note=notes.append)
    assert numbers(second) == numbers(first)
    assert decodes == {}
    assert "All 2 pairs were scored already." in notes
    arrays_path(quick.output, "deep/b").unlink()
    assert numbers(evaluate(quick)) == numbers(first)
    assert decodes == {"b.mov": 1, "b.mp4": 1}


def test_another_set_of_metrics_is_computed_anew(quick: EvaluateConfig, decodes: Counter[str]) -> None:
    evaluate(quick)
    decodes.clear()
    (one,) = evaluate(quick.updated(metrics=["psnr"])).sets.values()
    assert one.metrics.keys() == {"psnr"}
    assert decodes["b.mov"] == 1


def test_a_bad_clip_is_a_failure_and_not_the_end(
    tmp_path: Path, cache: Path, config_for: ConfigFor, make_clip: MakeClip, man: list[np.ndarray]
) -> None:
    real, made = tmp_path / "real", tmp_path / "made"
    for name in ("good", "text", "cut", "small", "gone"):
        make_clip(real / f"{name}.mp4", man[:4])
    make_clip(made / "good.mp4", man[:4])
    make_clip(made / "small.mp4", [frame[:72, :72] for frame in man[:4]])
    (made / "text.mp4").write_text("no video")
    (made / "cut.mp4").write_bytes((made / "good.mp4").read_bytes()[:800])
    (made / "gone.mp4").symlink_to(made / "nowhere.mp4")
    (one,) = evaluate(config_for(tmp_path / "out", generated=made, real=real, metrics=["psnr"])).sets.values()
    assert one.metrics["psnr"].count == 1
    assert {failure.name for failure in one.failures} == {"text", "cut", "small", "gone"}
    assert all(failure.error_kind == "MediaError" for failure in one.failures)
    assert all(failure.error.count("\n") == 0 for failure in one.failures)


def test_no_measured_pair_is_a_result_without_numbers(
    tmp_path: Path, cache: Path, config_for: ConfigFor, make_clip: MakeClip, man: list[np.ndarray]
) -> None:
    make_clip(tmp_path / "real" / "x.mp4", man[:3])
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "x.mp4").write_text("no video")
    config = config_for(tmp_path / "out", generated=tmp_path / "made", real=tmp_path / "real")
    result = evaluate(config.updated(metrics=["psnr"]))
    assert result.measured == 0
    assert result.sets[""].missing["psnr"]["reason"] == "No pair was measured."


def test_faceless_clips_lose_the_metrics_of_faces_only(
    tmp_path: Path, cache: Path, config_for: ConfigFor, make_clip: MakeClip
) -> None:
    noise = np.random.default_rng([2]).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    make_clip(tmp_path / "x.mp4", list(noise))
    config = config_for(tmp_path / "out", generated=tmp_path / "x.mp4", real=tmp_path / "x.mp4")
    (one,) = evaluate(config).sets.values()
    assert {"psnr", "ssim", "flicker"} <= one.metrics.keys()
    assert {"faces", "motion", "av_sync"} <= one.missing.keys()
    assert "None of the 4 real frames shows a face." in one.missing["faces"]["reason"]


def test_weights_are_an_error_by_name_and_missing_by_protocol(quick: EvaluateConfig, cache: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        evaluate(quick.updated(metrics=["psnr", "fid", "sync"]))
    assert "The weights of fid, sync are missing" in caught.value.message
    assert "megactor weights pull fid syncnet" in caught.value.fix
    assert not quick.output.exists()
    (one,) = evaluate(quick.updated(protocol_metrics=["psnr", "fid", "sync"])).sets.values()
    assert one.metrics.keys() == {"psnr"}
    assert one.missing["fid"]["fix"] == "Run `megactor weights pull fid`."
    assert one.missing["sync"]["fix"] == "Run `megactor weights pull syncnet`."


def test_without_face_models_the_other_metrics_go_on(
    quick: EvaluateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_arguments: object, **_options: object) -> None:
        raise WeightsError("The face models are missing.", fix="Get them.")

    monkeypatch.setattr("megactor_core.evaluation.protocol.prepare", absent)
    (one,) = evaluate(quick).sets.values()
    assert {"psnr", "ssim", "flicker"} <= one.metrics.keys()
    assert one.missing["faces"] == {"reason": "The face models are missing.", "fix": "Get them."}
    with pytest.raises(WeightsError):
        evaluate(quick.updated(metrics=["faces"]))


def test_a_protocol_says_what_was_changed(quick: EvaluateConfig, done: EvaluateResult) -> None:
    assert done.protocol["changed"] == {}
    changed = evaluate(quick.updated(metrics=["psnr"], size=72)).protocol["changed"]
    assert changed == {"size": 72, "metrics": ["psnr"]}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "There is nothing to compare"),
        ({"generated": Path("g")}, "--generated alone was given"),
        ({"generated": Path("g"), "real": Path("r")}, "--generated 'g' does not exist"),
    ],
)
def test_nothing_to_compare_is_one_message(
    tmp_path: Path, config_for: ConfigFor, given: dict[str, Path], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate(config_for(tmp_path / "out", **given))


def test_nothing_of_the_users_is_written_over(
    quick: EvaluateConfig, folders: SimpleNamespace, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="which is only read"):
        evaluate(quick.updated(output=folders.real))
    with pytest.raises(OutputError, match="which is only read"):
        evaluate(quick.updated(output=folders.real / "deep" / "out"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="no result of an evaluation"):
        evaluate(quick.updated(output=tmp_path / "mine"))
    evaluate(quick.updated(metrics=["psnr"]))
    with pytest.raises(OutputError, match="holds an evaluation with generated = "):
        evaluate(quick.updated(metrics=["psnr"], generated=folders.real))
