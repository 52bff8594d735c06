"""Counted, not timed: frames decoded, memory held, and bits that depend on no batch and no worker."""

import os
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from megactor_core.config.evaluate import EvaluateConfig
from megactor_core.evaluation.result import EvaluateResult
from megactor_core.evaluation.run import evaluate
from megactor_core.media import video

MakeClip = Callable[..., Path]
ConfigFor = Callable[..., EvaluateConfig]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Frames that came out of the decoder, whoever asked for them, by file."""
    counted: Counter[str] = Counter()
    decode = video._Clip._decode

    def noted(clip: Any) -> Iterator[Any]:
        for frame in decode(clip):
            counted["/".join(clip._path.parts[-2:])] += 1
            yield frame

    monkeypatch.setattr(video._Clip, "_decode", noted)
    return counted


def test_every_frame_is_decoded_once_for_all_metrics(
    folders: SimpleNamespace,
    tmp_path: Path,
    config_for: ConfigFor,
    cache: Path,
    stand_ins: Any,
    decoded: Counter[str],
) -> None:
    config = config_for(tmp_path / "out", generated=folders.generated, real=folders.real)
    everything = [*config.wanted, "lpips", "fid", "fvd", "sync"]
    (one,) = evaluate(config.updated(metrics=everything, networks=stand_ins.files)).sets.values()
    assert {"psnr", "face_distance", "fid", "fvd", "lpips", "sync_d"} <= one.metrics.keys()
    # 18 frames each. Where the sound is, the first frame says from what time on it is wanted.
    assert decoded == {"generated/a.mp4": 18 + 1, "deep/b.mov": 18 + 1, "real/a.mp4": 18, "deep/b.mp4": 18}


FRAMES_KEPT = 6


@pytest.fixture
def peak_bytes(
    tmp_path: Path,
    make_clip: MakeClip,
    man: list[np.ndarray],
    config_for: ConfigFor,
    cache: Path,
    stand_ins: Any,
) -> Callable[[int], int]:
    """The most memory that Python and numpy hold at once while so many pairs are scored and summed up."""
    clip = make_clip(tmp_path / "clip.mp4", man[:FRAMES_KEPT])

    def measure(count: int) -> int:
        folder = tmp_path / f"clips{count}"
        folder.mkdir()
        for number in range(count):
            os.link(clip, folder / f"{number}.mp4")
        config = config_for(tmp_path / f"out{count}", generated=folder, real=folder, cache_features=False)
        metrics = ["psnr", "ssim", "flicker", "motion", "lpips", "fid", "sync"]
        tracemalloc.start()
        try:
            evaluate(config.updated(metrics=metrics, networks=stand_ins.files))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return measure


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_clips(
    peak_bytes: Callable[[int], int], man: list[np.ndarray]
) -> None:
    peak_bytes(1)  # what is loaded once
    few, many = peak_bytes(3), peak_bytes(12)
    frames_of_a_clip = FRAMES_KEPT * man[0].nbytes
    assert many - few < frames_of_a_clip


@pytest.fixture(scope="module")
def large(
    tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip, man: list[np.ndarray]
) -> SimpleNamespace:
    """A pair that is large and long enough for every metric: 200 pixels and 1.7 s."""
    root = tmp_path_factory.mktemp("large")
    frames = [cv2.resize(frame, (200, 200), interpolation=cv2.INTER_CUBIC) for frame in man[17:]]
    return SimpleNamespace(
        real=make_clip(root / "real.mp4", frames),
        generated=make_clip(root / "generated.mp4", [cv2.blur(frame, (3, 3)) for frame in frames]),
    )


@pytest.mark.slow
def test_no_bit_of_any_metric_depends_on_batches_and_workers(
    large: SimpleNamespace, tmp_path: Path, config_for: ConfigFor, cache: Path
) -> None:
    def result(name: str, **changes: Any) -> EvaluateResult:
        plain = {"generated": large.generated, "real": large.real, "cache_features": False}
        return evaluate(config_for(tmp_path / name, **plain).updated(**changes))

    one = result("one").sets[""]
    assert one.missing == {}
    assert {"ms_ssim", "niqe", "av_correlation", "jitter", "flicker"} <= one.metrics.keys()
    assert asdict(result("other", batch_size=5, workers=2).sets[""]) == asdict(one)
