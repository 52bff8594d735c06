"""Bad input of every kind: what can be measured is, the rest is said with its reason, never a traceback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from megactor_core.config.evaluate import EvaluateConfig
from megactor_core.errors import ConfigError, UsageError, WeightsError
from megactor_core.evaluation import meters
from megactor_core.evaluation.meters import Block, Found, FvdMeter, Guarded, PictureMeter, Whole
from megactor_core.evaluation.result import SetResult
from megactor_core.evaluation.run import evaluate
from megactor_core.metrics.picture import psnr

MakeClip = Callable[..., Path]
ConfigFor = Callable[..., EvaluateConfig]
Score = Callable[..., SetResult]


@pytest.fixture
def score(tmp_path: Path, cache: Path, config_for: ConfigFor) -> Score:
    """Evaluates what lies in `made` against what lies in `real`."""

    def run(**changes: Any) -> SetResult:
        changes = {"generated": tmp_path / "made", "real": tmp_path / "real", **changes}
        (one,) = evaluate(config_for(tmp_path / "out", **changes)).sets.values()
        return one

    return run


def said(one: SetResult, start: str) -> str:
    """The one warning that starts so."""
    (warning,) = (warning for warning in one.warnings if warning.startswith(start))
    return warning


def test_the_shorter_clip_counts_and_the_longer_is_named(
    tmp_path: Path, make_clip: MakeClip, man: list[np.ndarray], score: Score
) -> None:
    make_clip(tmp_path / "made" / "a.mp4", man[:3])
    make_clip(tmp_path / "real" / "a.mp4", man[:5])
    one = score(metrics=["psnr"])
    assert (one.pairs["frames"], one.pairs["shortened"]) == (3, {"a": "real"})
    assert one.metrics["psnr"].value == 100
    assert said(one, "1 pairs differ in length") == "1 pairs differ in length; the shorter counts: a."


def test_at_most_so_many_pairs_are_measured(
    tmp_path: Path, make_clip: MakeClip, man: list[np.ndarray], score: Score
) -> None:
    for side in ("made", "real"):
        for name in ("c", "a", "b"):
            make_clip(tmp_path / side / f"{name}.mp4", man[:2])
    one = score(metrics=["psnr"], clips=2)
    assert (one.pairs["paired"], one.pairs["only_real"]) == (2, [])


@pytest.mark.parametrize(
    ("frames", "lacking"),
    [
        (1, {"flicker": "at least 3 frames", "av_sync": "too short", "motion": "No finite number"}),
        (2, {"flicker": "at least 3 frames", "av_sync": "too short"}),
    ],
)
def test_fewer_frames_than_a_metric_needs_cost_that_metric_alone(
    tmp_path: Path,
    make_clip: MakeClip,
    man: list[np.ndarray],
    score: Score,
    frames: int,
    lacking: dict[str, str],
) -> None:
    for side in ("made", "real"):
        make_clip(tmp_path / side / "a.mp4", man[:frames])
    one = score(protocol_metrics=["psnr", "ssim", "faces", "av_sync", "motion", "flicker"])
    assert {"psnr", "ssim", "face_distance"} <= one.metrics.keys()
    assert one.missing.keys() == lacking.keys()
    for metric, reason in lacking.items():
        assert reason in one.missing[metric]["reason"]
    # Neither vanishes without a word: a correlation takes three frames, and so does jitter.
    assert "yaw correlation" in said(one, "No clip has a number for")
    if "motion" not in lacking:
        assert "jitter" in said(one, "No clip has a number for")


def test_clips_without_sound_lose_what_listens(
    tmp_path: Path, make_clip: MakeClip, man: list[np.ndarray], score: Score, stand_ins: Any
) -> None:
    for side in ("made", "real"):
        make_clip(tmp_path / side / "a.mp4", man[:8], hums=False)
        make_clip(tmp_path / side / "b.mp4", man[:8], hums=side == "real")
    one = score(metrics=["av_sync", "sync"], networks=stand_ins.files)
    assert one.metrics["sync_d"].count == 1  # b is heard with the real clip's sound
    assert said(one, "sync is not of") == "sync is not of 1 of 2 clips: Neither clip has sound."
    assert one.pairs["skipped"]["av_sync"]["Neither clip has sound."] == 1
    assert one.missing.keys() == {"av_sync"}


def test_fewer_samples_than_dimensions_are_called_biased(
    tmp_path: Path, make_clip: MakeClip, man: list[np.ndarray], score: Score, stand_ins: Any
) -> None:
    for side in ("made", "real"):
        make_clip(tmp_path / side / "a.mp4", man[:20])
    one = score(metrics=["fid", "fvd"], networks=stand_ins.files)
    assert (one.metrics["fid"].samples, one.metrics["fid"].is_biased) == ((20, 20), False)  # 16 dimensions
    assert (one.metrics["fvd"].samples, one.metrics["fvd"].is_biased) == ((1, 1), True)
    assert said(one, "FVD").endswith("it compares means alone.")
    few = score(metrics=["fid"], networks=stand_ins.files, fps=5)
    assert said(few, "FID is of 4 generated and 4 real samples in 16 dimensions").endswith("equally many.")


def test_a_clip_that_is_damaged_on_the_way_is_measured_and_named(
    tmp_path: Path, make_clip: MakeClip, man: list[np.ndarray], score: Score
) -> None:
    for side in ("made", "real"):
        make_clip(tmp_path / side / "a.mp4", man[:18])
    path = tmp_path / "made" / "a.mp4"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = b"\xff" * 3000
    path.write_bytes(content)
    one = score(metrics=["psnr"])
    assert one.pairs["frames"] == 18
    assert one.metrics["psnr"].value < 100
    assert said(one, "1 pairs have damaged frames").endswith("a.")


class Nowhere(nn.Module):
    """A network that has no number for the third item."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.seen = nn.Parameter(Tensor(width), requires_grad=False), 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return x.new_full((len(x), len(self.width)), np.nan if self.seen == 3 else 1.0)


NOISE = np.random.default_rng([6]).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
WHOLE = Whole(len(NOISE), 32, 32, None, None, None, "")


def test_features_of_a_frame_that_are_not_numbers_cost_the_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    network: Any = Nowhere(16)
    monkeypatch.setattr("megactor_core.metrics.inception.FEATURES", 16)
    fid = Guarded(meters.FidMeter(network, EvaluateConfig(), meters.Tape()))
    fid.add(Block(NOISE, NOISE))
    assert fid.finish(WHOLE) == Found()
    assert fid.reason == "The features fid_generated are not finite."


def test_a_distance_that_is_not_a_number_is_not_left_out_of_the_mean() -> None:
    halves = PictureMeter("lpips", lambda real, _made: np.where(np.arange(len(real)) == 1, np.nan, 0.25))
    guarded = Guarded(halves)
    guarded.add(Block(NOISE, NOISE))
    assert guarded.finish(WHOLE) == Found()
    assert guarded.reason == "No finite number came out."


def test_frames_that_are_not_pictures_are_refused() -> None:
    floats = np.where(NOISE > 0, np.nan, 1.0)
    guarded = Guarded(PictureMeter("psnr", psnr))
    guarded.add(Block(NOISE, floats))
    assert "float64, not (frames, height, width, 3) uint8" in str(guarded.reason)


def test_windows_that_are_not_numbers_cost_the_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "i3d_features", lambda *_a, **_o: np.full((1, 400), np.nan))
    network: Any = None
    fvd = Guarded(FvdMeter(network, EvaluateConfig(fvd_frames=10), meters.Tape()))
    fvd.add(Block(np.repeat(NOISE, 3, axis=0), np.repeat(NOISE, 3, axis=0)))
    assert fvd.finish(WHOLE) == Found()
    assert fvd.reason == "The features fvd_real are not finite."


def test_lost_faces_are_counted_and_do_not_pass_for_found_ones(
    tmp_path: Path, make_clip: MakeClip, man: list[np.ndarray], score: Score
) -> None:
    for name in ("a", "b"):
        make_clip(tmp_path / "real" / f"{name}.mp4", man[:4])
    make_clip(tmp_path / "made" / "a.mp4", man[:4])
    make_clip(tmp_path / "made" / "b.mp4", [np.full_like(frame, 90) for frame in man[:4]])
    one = score(metrics=["faces", "motion"])
    assert (one.metrics["face_share"].value, one.metrics["face_share_real"].value) == (0.5, 1)
    assert one.metrics["face_share"].count == 2
    assert one.metrics["face_distance"].count == 1
    assert said(one, "faces is not of 1 of 2 clips").endswith("(real 100%, generated 0%).")
    assert said(one, "motion is not of 1").endswith("None of the 4 generated frames shows a face.")


def test_syncnet_knows_one_frame_rate(
    tmp_path: Path, make_clip: MakeClip, man: list[np.ndarray], score: Score, stand_ins: Any
) -> None:
    for side in ("made", "real"):
        make_clip(tmp_path / side / "a.mp4", man[:4])
    with pytest.raises(UsageError, match="SyncNet reads 25 frames a second, and fps is 30"):
        score(metrics=["sync"], networks=stand_ins.files, fps=30)
    one = score(protocol_metrics=["psnr", "sync"], networks=stand_ins.files, fps=30)
    assert one.metrics.keys() == {"psnr"}
    assert one.missing["sync"]["fix"] == "Set fps to 25, or leave sync out."


def test_missing_weights_end_the_program_only_by_name(
    tmp_path: Path, make_clip: MakeClip, man: list[np.ndarray], score: Score
) -> None:
    for side in ("made", "real"):
        make_clip(tmp_path / side / "a.mp4", man[:2])
    with pytest.raises(WeightsError) as caught:
        score(metrics=["psnr", "fvd"])
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()
    assert score(protocol_metrics=["psnr", "fvd"]).missing["fvd"]["fix"] == "Run `megactor weights pull fvd`."


def test_two_results_are_compared_by_themselves(tmp_path: Path, config_for: ConfigFor) -> None:
    with pytest.raises(ConfigError, match="compare takes two results by itself"):
        config_for(tmp_path, compare=[tmp_path, tmp_path], generated=tmp_path)
