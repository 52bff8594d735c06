"""Claims by numbers: every figure of a true clip is perfect, and one call measures a whole checkpoint."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from megactor_core.config.claims import ClaimsConfig
from megactor_core.errors import ConfigError, MetricError, OutputError, WeightsError
from megactor_core.evaluation.claim_result import TakeResult, Threshold, Value
from megactor_core.evaluation.claim_tables import claims_page
from megactor_core.evaluation.claim_thresholds import thresholds_of
from megactor_core.evaluation.claims import INPUTS, PAGE, RESULT, measure_claims
from megactor_core.evaluation.take_measures import (
    MOVING,
    TrueClip,
    head_gains,
    leak,
    measure,
    measure_picture,
    pooled,
)
from megactor_core.evaluation.takes import AV, EYES, V, alpha_name, scale_name, takes_of, write_inputs
from megactor_core.evaluation.truth_clips import truth_clips
from megactor_core.faces.amplitude import face_centre, rigid_similarity, scale_motion, transform_points
from megactor_core.files import write_json
from megactor_core.metrics.gauge import TRAITS, Gauge, GaugeNetwork, Readings, save_gauge
from megactor_core.models.checkpoint import init_checkpoint


def _module(path: Path) -> ModuleType:
    """A script as a module."""
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = _module(Path(__file__).parents[3] / "recipes" / "scripts" / "claims.py")
MakeConfig = Callable[..., ClaimsConfig]


class Oracle(Gauge):
    """Reads the truth of one clip, whatever the frames."""

    def __init__(self, readings: Readings) -> None:
        super().__init__(GaugeNetwork(), {})
        self.readings = readings

    def read(self, frames: Any) -> Readings:
        count = len(frames)
        return Readings(self.readings.traits[:count], self.readings.points[:count])


@pytest.fixture(scope="module")
def true(talkers: Any) -> TrueClip:
    """A clip that is read without error."""
    clip = truth_clips(talkers.data, talkers.corpus)[0]
    return TrueClip.of(
        clip, Oracle(Readings(clip.traits(TRAITS), clip.points)), frames=10, landmarks="mediapipe"
    )


@pytest.fixture
def make_config(talkers: Any, tmp_path: Path) -> MakeConfig:
    def make(**changes: Any) -> ClaimsConfig:
        values = {"data": talkers.data, "corpus": talkers.corpus, "output": tmp_path / "out", "clips": 2}
        folders = {"checkpoint": tmp_path / "checkpoint", "gauge": tmp_path / "gauge"}
        return ClaimsConfig.build({**values, **folders, "frames": 8, **changes}, source="test")

    return make


# ---------------------------------------------------------------- what is measured


def test_the_true_clip_itself_is_perfect(true: TrueClip) -> None:
    found = measure(true, true.frames, Oracle(true.readings))
    moving = [name for name in MOVING if f"{name}_r" in found.values]
    assert {"mouth", "width"} <= set(moving)
    for name in moving:
        assert found.values[f"{name}_r"] == pytest.approx(1)
        assert found.values[f"{name}_amplitude"] == 1
    assert found.values["jitter_ratio"] == 1
    assert found.values["flicker"] == found.values["true_flicker"]
    assert found.values["points_error"] == 0
    assert head_gains(true, true.readings)["shift_gain"] == pytest.approx(1, abs=1e-6)
    assert pooled({true.clip.name: found}, {true.clip.name: true})["mouth_r"] == pytest.approx(1)
    pictures = measure_picture(true, true.frames, landmarks="mediapipe")
    assert (pictures["psnr"], pictures["face_share"]) == (math.inf, 1)


def test_half_the_mouth_has_half_the_amplitude(true: TrueClip) -> None:
    traits = true.readings.traits.copy()
    traits[:, TRAITS.index("mouth_open")] *= 0.5
    found = measure(true, true.frames, Oracle(Readings(traits, true.readings.points))).values
    assert found["mouth_amplitude"] == pytest.approx(0.5)
    assert found["mouth_r"] == pytest.approx(1)
    assert found["width_amplitude"] == 1


def test_what_does_not_move_has_no_correlation(true: TrueClip) -> None:
    still = replace(true, truth={**true.truth, "eyes": np.ones(10), "yaw": np.linspace(0, 0.9, 10)})
    found = measure(still, true.frames, Oracle(true.readings)).values
    assert "eyes_r" not in found
    assert "yaw_r" not in found
    assert found["mouth_r"] == pytest.approx(1)


def test_shaking_landmarks_are_jitter(true: TrueClip) -> None:
    shaken = true.readings.points + np.random.default_rng([1]).normal(size=true.readings.points.shape)
    found = measure(true, true.frames, Oracle(Readings(true.readings.traits, shaken))).values
    assert found["jitter_ratio"] > 3
    assert found["mouth_r"] == pytest.approx(1)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.5])
def test_head_gains_find_the_alpha_that_a_head_was_moved_by(true: TrueClip, alpha: float) -> None:
    first = true.clip.points[0]
    motion = rigid_similarity(first, true.clip.points)
    points = transform_points(scale_motion(motion, alpha, face_centre(first)), first[np.newaxis])
    found = head_gains(true, Readings(true.readings.traits, points))
    assert found["shift_gain"] == pytest.approx(alpha, abs=0.05)
    assert found["roll_gain"] == pytest.approx(alpha, abs=0.05)


def test_a_leak_is_what_changes_at_the_mouth(true: TrueClip) -> None:
    traits = true.readings.traits.copy()
    traits[:, TRAITS.index("eye_open")] += 0.2
    traits[:, TRAITS.index("mouth_open")] += 0.05
    other = Readings(traits, true.readings.points)
    found = leak(true.frames, true.frames, (true.readings, other))
    assert found["leak_opening_ratio"] == pytest.approx(0.25)
    assert found["leak_mouth_levels"] == 0


# ---------------------------------------------------------------- takes and settings


def test_every_take_is_made_once(make_config: MakeConfig, tmp_path: Path) -> None:
    claims = ["table3", "audio-scale", "alpha", "stillness", "leak", "temporal", "samplers"]
    takes = takes_of(make_config(claims=claims, before=tmp_path / "before"))
    names = [take.name for take in takes]
    assert len(set(names)) == len(names) == 4 + 4 + 1 + 4 + 2 + 6 + 1 + 7
    assert len({take.folder for take in takes}) == len(names)
    assert scale_name(1.0) == AV
    assert alpha_name(1.0) == V
    by_name = {take.name: take for take in takes}
    assert by_name[scale_name(0.5)].changes == {"regions": ("eyes",), "audio_scale": 0.5}
    assert (by_name[EYES].sound, by_name[EYES].changes) == ("none", {"regions": ("eyes",)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"audio_scales": [0, 2]}, "audio_scales must hold 1"),
        ({"seeds": [3, 3]}, "seeds holds a value twice"),
        ({"claims": ["temporal"]}, "set before"),
    ],
)
def test_settings_that_say_nothing_are_refused(
    make_config: MakeConfig, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config(**changes)


def test_clips_that_are_too_short_are_refused(make_config: MakeConfig, talkers: Any) -> None:
    clips = truth_clips(talkers.data, talkers.corpus)
    with pytest.raises(MetricError, match="has 10 frames, 11 are asked for"):
        write_inputs(clips, make_config(frames=11))


def test_a_missing_gauge_is_said_before_anything_is_made(make_config: MakeConfig) -> None:
    config = make_config()
    with pytest.raises(WeightsError, match="holds no gauge"):
        measure_claims(config)
    assert not config.output.exists()


def test_clips_of_other_weights_are_not_taken_for_these(make_config: MakeConfig) -> None:
    config = make_config()
    init_checkpoint(config.checkpoint, preset="nano", seed=0)
    save_gauge(config.gauge, Gauge(GaugeNetwork(), {}))
    write_json(config.output / INPUTS, {"checkpoint": "0" * 64})
    with pytest.raises(OutputError, match=r"clips of other weights \(checkpoint 000000000000, now"):
        measure_claims(config)


def test_a_missing_checkpoint_is_named(make_config: MakeConfig) -> None:
    save_gauge(make_config().gauge, Gauge(GaugeNetwork(), {}))
    with pytest.raises(WeightsError, match="is no checkpoint folder"):
        measure_claims(make_config())


# ---------------------------------------------------------------- what is wanted


def value(mean: float, *seeds: float) -> Value:
    return Value(mean=mean, low=mean - 0.1, high=mean + 0.1, count=2, seeds=seeds or (mean,))


def test_thresholds_say_by_how_much_they_are_missed() -> None:
    assert Threshold("r", 0.75, True, 0.8).met
    assert Threshold("r", 0.75, True, 0.5).missed_by == pytest.approx(0.25)
    assert Threshold("jitter", 2.0, False, 3.5).missed_by == pytest.approx(1.5)
    assert not Threshold("r", 0.75, True, math.nan).met


def test_proportional_control_meets_the_wishes_and_a_dead_one_does_not(make_config: MakeConfig) -> None:
    config = make_config(claims=["alpha"])

    def results(gain: Callable[[float], float]) -> dict[str, TakeResult]:
        return {
            alpha_name(alpha): TakeResult(
                "", {"shift_gain": value(gain(alpha)), "roll_gain": value(gain(alpha))}, {}, {}
            )
            for alpha in config.alphas
        }

    alive = [
        one for one in thresholds_of(results(lambda alpha: 0.8 * alpha), config, {}) if "alpha" in one.name
    ]
    dead = [one for one in thresholds_of(results(lambda alpha: 0.8), config, {}) if "alpha" in one.name]
    assert len(alive) == 8
    assert all(one.met for one in alive)
    assert not any(one.met for one in dead if "over that at 1" in one.name)
    frozen = [one for one in thresholds_of(results(lambda alpha: 0.0), config, {}) if "over that" in one.name]
    assert all(math.isnan(one.measured) for one in frozen)


def test_the_page_shows_numbers_with_intervals_and_seeds(make_config: MakeConfig) -> None:
    config = make_config(claims=["stillness"])
    results = {
        EYES: TakeResult("eyes, no sound", {"mouth_r": value(0.3, 0.25, 0.35)}, {}, {"clip": "no face"})
    }
    settings = {"checkpoint": "sigma", "stage": 2, "steps": 4, "guidance": 1.0, "noise": "shared"}
    thresholds = [Threshold("still", 0.15, False, 0.3), Threshold("other", 1.0, True, math.nan)]
    page = claims_page(results, thresholds, config, settings)
    assert "| eyes: eyes, no sound | 0.30 [0.20, 0.40] +-0.05 | - |" in page
    assert "| still | <= 0.15 | 0.3 | **missed by 0.15** |" in page
    assert "not measured" in page
    assert "4 solver steps, guidance 1, shared noise" in page
    assert "- eyes, clip: no face" in page


# ---------------------------------------------------------------- the script, and a whole checkpoint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["measure", "--set", "checkpiont=here"], "checkpiont"),
        (["measure", "--set", "checkpoint=here", "--set", "gauge=nowhere"], "holds no gauge"),
        (["fit-gauge", "--set", "data=nowhere"], "no index.parquet in 'nowhere'"),
    ],
)
def test_the_script_names_what_is_wrong(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert SCRIPT.main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_checkpoint_is_measured_in_one_call_and_nothing_is_made_twice(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(
        claims=["table3", "audio-scale", "alpha", "stillness", "leak", "temporal"],
        audio_scales=[0, 1],
        alphas=[0, 1],
        mask_modes=["paper"],
        seeds=[0],
        strips=1,
        generate={"steps": 1},
        before=tmp_path / "checkpoint",
    )
    init_checkpoint(config.checkpoint, preset="tiny", seed=0)
    save_gauge(config.gauge, Gauge(GaugeNetwork(), {}))
    report = measure_claims(config)
    assert set(report.takes) == {take.name for take in takes_of(config)}
    assert all(not one.failures for one in report.takes.values())
    mixed = report.takes[AV].values
    assert {"mouth_r", "width_r", "mouth_moves", "psnr", "ssim", "face_share", "jitter"} <= mixed.keys()
    assert mixed["psnr"].count == 2
    assert 0 < mixed["psnr"].mean < 100
    saved = json.loads((config.output / RESULT).read_text())
    assert saved["takes"][AV]["values"]["psnr"]["mean"] == mixed["psnr"].mean
    assert (config.output / PAGE).read_text() == report.page
    assert len(list((config.output / "strips").glob("*.png"))) == 1

    videos = {path: path.stat().st_mtime_ns for path in config.output.rglob("*.mp4")}
    again = measure_claims(config)
    assert again.page == report.page
    assert {path: path.stat().st_mtime_ns for path in config.output.rglob("*.mp4")} == videos
