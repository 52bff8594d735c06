"""A checkpoint is evaluated in one call: held-out clips animated in every mode, then scored; resumable."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from megactor_core.config.evaluate import EvaluateConfig
from megactor_core.config.model import ModelConfig
from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.data.sample import read_index, write_index
from megactor_core.errors import Interrupted, OutputError, UsageError, WeightsError
from megactor_core.evaluation import controls
from megactor_core.evaluation import generate as generate_module
from megactor_core.evaluation.generate import find_held_out
from megactor_core.evaluation.run import evaluate
from megactor_core.media.video import probe_video
from megactor_core.models.audio import LogMelEncoder
from megactor_core.models.autoencoder import PatchAutoencoder
from megactor_core.models.checkpoint import CheckpointInfo, save_checkpoint
from megactor_core.models.sigma import Sigma
from megactor_core.preprocessing.preprocess import preprocess

pytestmark = pytest.mark.slow  # whole runs

MakeClip = Callable[..., Path]
SIZE_PX = 64


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip, man: list[np.ndarray]) -> Path:
    """Three samples: two of the validation split, one of them silent, and one for training."""
    root = tmp_path_factory.mktemp("data")
    for name, hums in (("loud", True), ("mute", False), ("other", True)):
        make_clip(root / "clips" / f"{name}.mp4", man[:16], hums=hums)
    output = root / "processed"
    preprocess(PreprocessConfig(source=root / "clips", output=output, size=SIZE_PX, workers=0, min_frames=8))
    rows = [
        replace(row, split="train" if row.source_uri == "other.mp4" else "validation")
        for row in read_index(output)
    ]
    write_index(output, rows)
    return output


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "nano"
    torch.manual_seed(0)
    config = ModelConfig.preset("nano")
    save_checkpoint(
        folder,
        info=CheckpointInfo(name="nano", trained=False, model=config),
        sigma=Sigma(config),
        autoencoder=PatchAutoencoder(config.autoencoder),
        audio_encoder=LogMelEncoder(config),
        card="For tests.\n",
    )
    return folder


@pytest.fixture
def config(data: Path, checkpoint: Path, tmp_path: Path, cache: Path) -> EvaluateConfig:
    values = {"checkpoint": checkpoint, "data": data, "output": tmp_path / "out", "workers": 0}
    return EvaluateConfig.build(
        {**values, "generate": {"steps": 1}, "metrics": ["psnr", "ssim"]}, source="test"
    )


@pytest.fixture
def animated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was denoised, not taken as finished: mode/name."""
    from megactor_core.animation import animate

    made: list[str] = []
    denoise = animate.denoise

    def noted(sigma: Any, conditions: Any, sampling: Any, folder: Any, listener: Any) -> Any:
        made.append(folder.path.parent.name)
        return denoise(sigma, conditions, sampling, folder, listener)

    monkeypatch.setattr(animate, "denoise", noted)
    return made


def test_held_out_clips_are_those_of_the_split(config: EvaluateConfig) -> None:
    names = [sample.facts.source_uri for sample in find_held_out(config).samples]
    assert names == ["loud.mp4", "mute.mp4"]
    assert len(find_held_out(config.updated(clips=1)).samples) == 1
    train = find_held_out(config.updated(split="train"))
    assert [sample.facts.source_uri for sample in train.samples] == ["other.mp4"]


def test_every_mode_is_animated_and_scored(config: EvaluateConfig, animated: list[str]) -> None:
    result = evaluate(config)
    assert list(result.sets) == ["A", "V", "A+V"]
    assert sorted(animated) == ["A", "A+V", "V", "V"]
    for mode, one in result.sets.items():
        assert one.pairs["measured"] == (2 if mode == "V" else 1)
        assert len(one.pairs["only_real"]) == (0 if mode == "V" else 1)  # the mute clip
        assert one.metrics["psnr"].count == one.pairs["measured"]
    written = result.to_json()
    assert written["modes"] == ["A", "V", "A+V"]
    assert written["metrics"]["V"]["psnr"]["count"] == 2
    assert written["inputs"]["checkpoint_sha256"]


def test_generated_clips_lie_frame_by_frame_on_the_real_ones(config: EvaluateConfig) -> None:
    result = evaluate(config)
    for row in result.rows:
        assert (row["status"], row["frames"], row["longer"]) == ("ok", 16, None)
        assert (row["width"], row["height"]) == (SIZE_PX, SIZE_PX)
    video = next((config.output / "generated" / "A+V").glob("*.mp4"))
    info = probe_video(video)
    assert (info.width, info.video_fps, info.frames, info.has_sound) == (SIZE_PX, Fraction(25), 16, True)
    with av.open(video) as container:
        assert container.streams.video[0].pix_fmt == "gbrp"  # lossless


def test_the_sound_of_the_sample_counts_in_every_mode(config: EvaluateConfig) -> None:
    rows = evaluate(config.updated(metrics=["psnr", "av_sync"])).rows
    loud = {row["mode"]: row["sound"] for row in rows if row["name"].startswith("loud")}
    assert loud == dict.fromkeys(("A", "V", "A+V"), "own file")


def test_a_finished_evaluation_animates_nothing(config: EvaluateConfig, animated: list[str]) -> None:
    first = evaluate(config)
    animated.clear()
    second = evaluate(config)
    assert animated == []
    assert second.to_json() == first.to_json()
    next((config.output / "generated" / "V").glob("loud*.mp4")).unlink()
    assert evaluate(config).to_json()["metrics"] == first.to_json()["metrics"]
    assert animated == ["V"]


def test_an_interrupted_evaluation_goes_on(
    config: EvaluateConfig, animated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = evaluate(config.updated(output=config.output.with_name("whole"))).to_json()
    animated.clear()

    def stop(phase: str, done: int, _total: int) -> None:
        if phase == "animating" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="2 of 4 clips are animated"):
        evaluate(config, on_progress=stop)
    assert len(animated) == 2
    resumed = evaluate(config).to_json()
    assert len(animated) == 4
    assert resumed["metrics"] == expected["metrics"]


def test_a_clip_that_fails_does_not_stop_the_rest(
    config: EvaluateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    faceless = np.random.default_rng([1]).integers(0, 256, (SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    write = generate_module.write_image
    monkeypatch.setattr(
        generate_module,
        "write_image",
        lambda path, picture: write(path, faceless if path.name.startswith("mute") else picture),
    )
    result = evaluate(config)
    (failure,) = result.sets["V"].failures
    assert failure.error_kind == "FaceError"
    assert failure.name.startswith("mute")
    assert "1 clips could not be generated." in result.sets["V"].warnings
    assert result.sets["V"].metrics["psnr"].count == 1


def test_what_cannot_be_evaluated_is_one_message(config: EvaluateConfig, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is no checkpoint folder"):
        evaluate(config.updated(checkpoint=tmp_path))
    with pytest.raises(UsageError, match="Both a checkpoint and folders"):
        evaluate(config.updated(generated=tmp_path))
    with pytest.raises(UsageError, match=r"There is no index\.parquet"):
        evaluate(config.updated(data=tmp_path))
    empty = tmp_path / "empty"
    empty.mkdir()
    write_index(empty, [row for row in read_index(config.data or empty) if row.split == "train"])
    with pytest.raises(UsageError, match=r"None of the 1 samples .* is of the split 'validation'"):
        evaluate(config.updated(data=empty))


def test_one_folder_holds_clips_of_one_kind(config: EvaluateConfig) -> None:
    evaluate(config.updated(modes=["V"], clips=1))
    evaluate(config.updated(modes=["V"]))  # more clips go into the same folder
    with pytest.raises(OutputError, match="holds an evaluation with generate = "):
        evaluate(config.updated(generate={"steps": 2}))


def test_controls_are_measured_on_the_first_clips(config: EvaluateConfig, animated: list[str]) -> None:
    control = {"clips": 1, "audio_scales": [0, 2], "alphas": [1, 2]}
    changed = config.updated(modes=["V"], clips=1, control=control)
    result = evaluate(changed).control
    assert result is not None
    kinds = ["alpha-1", "alpha-2", "audio-scale-0", "audio-scale-2"]
    assert [name for name in animated if name != "V"] == kinds
    (clip,) = result.clips
    # An untrained model shows no face: every control says so, or has numbers.
    for name in ("audio_scale", "alpha", "cross_talk"):
        assert name in clip["skipped"] or any(key.startswith(name) for key in clip["measures"])
    animated.clear()
    evaluate(changed)
    assert animated == []


def test_the_controls_of_a_talking_head_are_read(
    config: EvaluateConfig, make_clip: MakeClip, man: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With videos of a real face in the place of what the model makes."""
    drivers: list[Path | None] = []

    def film(jobs: list[Any], *, on_note: Any, on_done: Any) -> None:
        for job in jobs:
            step = 0 if job.alpha == 0 else round(1.5 * job.audio_scale)
            make_clip(job.output, [man[step * k] for k in range(16)])
            drivers.append(job.driving)
            on_done(job)

    monkeypatch.setattr(generate_module, "animate_jobs", film)
    held_out = find_held_out(config)
    changed = config.updated(control={"clips": 2, "audio_scales": [0, 1, 2], "alphas": [0, 1]})
    assert config.checkpoint is not None
    assert config.output is not None
    result = controls.measure_controls(
        config.checkpoint,
        held_out,
        changed,
        output=config.output,
        progress=lambda *_: None,
        note=lambda _: None,
    )
    values = {name: found.value for name, found in result.measures.items()}
    assert values["audio_scale_monotonicity"] == pytest.approx(1)
    assert values["alpha_shift_slope"] == pytest.approx(1, abs=0.05)
    assert values["cross_talk_mouth_change"] == 0
    assert result.measures["alpha_shift_slope"].count == 2
    assert result.measures["audio_scale_monotonicity"].count == 1
    assert "no sound" in result.clips[1]["skipped"]["audio_scale"]
    own, other = (sample.folder / "video.mp4" for sample in held_out.samples)
    assert drivers[:7] == [own, own, None, None, None, own, other]
