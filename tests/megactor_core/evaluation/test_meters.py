"""Meters by themselves: blocks change nothing, windows are whole, and what cannot be measured is a reason."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.config.evaluate import EvaluateConfig
from megactor_core.errors import MetricError
from megactor_core.evaluation import meters
from megactor_core.evaluation.face_meters import FacesMeter, FlickersMeter, MotionMeter
from megactor_core.evaluation.feature_cache import Tape
from megactor_core.evaluation.meters import Block, Found, FvdMeter, Guarded, Meter, PictureMeter, Whole
from megactor_core.metrics.motion import FlickerMeter
from megactor_core.metrics.picture import psnr, ssim

RNG = np.random.default_rng([8])
FRAMES = 37
REAL = RNG.integers(0, 256, (FRAMES, 16, 16, 3), dtype=np.uint8)
GENERATED = RNG.integers(0, 256, (FRAMES, 16, 16, 3), dtype=np.uint8)


def whole(frames: int = FRAMES, *, points: np.ndarray | None = None) -> Whole:
    return Whole(frames, 16, 16, points, points, None, "no sound")


def fed(meter: Meter, edges: list[int]) -> Found:
    for start, stop in zip([0, *edges], [*edges, FRAMES], strict=True):
        if stop > start:
            meter.add(Block(REAL[start:stop], GENERATED[start:stop]))
    return meter.finish(whole())


@given(edges=st.lists(st.integers(0, FRAMES), max_size=5).map(sorted))
def test_blocks_of_any_size_give_the_same(edges: list[int]) -> None:
    builders: list[Callable[[], Meter]] = [
        lambda: PictureMeter("psnr", psnr),
        lambda: PictureMeter("ssim", ssim),
        FlickersMeter,
    ]
    for build in builders:
        found, expected = fed(build(), edges), fed(build(), [])
        assert found.values == expected.values
        for name, values in found.arrays.items():
            np.testing.assert_array_equal(values, expected.arrays[name])


def test_an_equal_frame_hides_no_other() -> None:
    meter = meters.psnr_meter()
    meter.add(Block(REAL[:1], REAL[:1]))
    meter.add(Block(REAL[1:2], GENERATED[1:2]))
    found = meter.finish(whole(2))
    assert found.arrays["psnr"][0] == np.inf
    half_the_error_db = 10 * np.log10(2)
    assert found.values["psnr"] == pytest.approx(found.arrays["psnr"][1] + half_the_error_db)
    equal = meters.psnr_meter()
    equal.add(Block(REAL, REAL))
    assert equal.finish(whole()).values["psnr"] == meters.PSNR_MOST_DB


@pytest.mark.parametrize(("windows", "expected"), [("all", 3), ("first", 1)])
@pytest.mark.parametrize("edges", [[], [5, 6, 20], list(range(1, FRAMES))])
def test_fvd_takes_whole_windows(
    monkeypatch: pytest.MonkeyPatch, windows: str, expected: int, edges: list[int]
) -> None:
    def means(_network: Any, clips: list[np.ndarray], *, preprocessing: str) -> np.ndarray:
        assert preprocessing == "cd-fvd"
        return np.array([[len(clip), clip.mean()] for clip in clips])

    monkeypatch.setattr(meters, "i3d_features", means)
    config = EvaluateConfig(fvd_frames=12, fvd_windows=windows, fvd_preprocessing="cd-fvd")
    network: Any = None
    found = fed(FvdMeter(network, config, Tape()), edges)
    for name, clip in (("fvd_real", REAL), ("fvd_generated", GENERATED)):
        parts = [[12, clip[12 * k : 12 * k + 12].mean()] for k in range(expected)]
        np.testing.assert_array_equal(found.arrays[name], parts)


def test_fvd_of_too_few_frames_is_a_reason() -> None:
    network: Any = None
    guarded = Guarded(FvdMeter(network, EvaluateConfig(), Tape()))
    guarded.add(Block(REAL[:15], GENERATED[:15]))
    assert guarded.finish(whole(15)) == Found()
    assert guarded.reason == "FVD takes clips of 16 frames; this one has 15."


class Failing:
    """Fails where it is told to, and counts what it is given."""

    metric = "psnr"

    def __init__(self, *, at: str, values: dict[str, float] | None = None) -> None:
        self.at, self.values, self.added = at, values or {}, 0

    def add(self, block: Block) -> None:
        self.added += 1
        if self.at == "add":
            raise MetricError("too small", fix="Enlarge.")

    def finish(self, _whole: Whole) -> Found:
        if self.at == "finish":
            raise MetricError("too short", fix="Lengthen.")
        return Found(self.values)


@pytest.mark.parametrize(("at", "added", "reason"), [("add", 1, "too small"), ("finish", 2, "too short")])
def test_a_guarded_meter_stops_alone(at: str, added: int, reason: str) -> None:
    failing: Any = Failing(at=at)
    guarded = Guarded(failing)
    for _ in range(2):
        guarded.add(Block(REAL[:1], GENERATED[:1]))
    assert guarded.finish(whole()) == Found()
    assert (guarded.reason, failing.added) == (reason, added)


def test_numbers_that_are_not_finite_are_left_out() -> None:
    some: Any = Failing(at="", values={"a": 1.0, "b": np.nan})
    assert Guarded(some).finish(whole()) == Found({"a": 1.0})
    none: Any = Failing(at="", values={"a": np.inf, "b": np.nan})
    guarded = Guarded(none)
    assert guarded.finish(whole()) == Found()
    assert guarded.reason == "No finite number came out."


def test_features_that_are_not_finite_are_a_reason() -> None:
    bad = [np.array([[1.0, np.nan]])]
    with pytest.raises(MetricError, match="fid_real are not finite"):
        meters.features_found("fid", real=bad, generated=[np.ones((1, 2))])


def test_flicker_is_that_of_each_clip() -> None:
    alone = FlickerMeter()
    for frame in GENERATED:
        alone.add(frame)
    found = fed(FlickersMeter(), [9])
    assert found.values["flicker"] == alone.mean()
    assert found.values["flicker"] != found.values["flicker_real"]


@pytest.mark.parametrize("meter", [FacesMeter(), MotionMeter()])
def test_no_face_at_all_is_a_reason(meter: Meter) -> None:
    guarded = Guarded(meter)
    assert guarded.finish(whole(points=np.full((FRAMES, 68, 2), np.nan))) == Found()
    assert guarded.reason
