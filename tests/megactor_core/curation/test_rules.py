"""Rules: each is broken just past its limit, says the two values, and can be switched off."""

from typing import Any

import pytest

from megactor_core.config.curate import GATES, CurateConfig, RulesConfig
from megactor_core.curation.measures import GATE_OF, MEASURES, NAMES, of_gate
from megactor_core.curation.rules import RULES, broken_rules, rule_named
from megactor_core.errors import ConfigError, UsageError

RECORD = {"min_sync_c": 6.0, "max_sync_d": 8.5, "min_frontal_share": 0.9, "min_square_px": 400}
EVERY_RULE = RulesConfig(max_seconds=60, max_travel=0.4, max_niqe=8, **RECORD)

# rule: measures that just pass, what breaks it, and what it then says
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "frame_too_small": ({"width": 300, "height": 256}, {"height": 255}, "300x255 < 256x256"),
    "too_short": ({"seconds": 1.28}, {"seconds": 1.2}, "1.2 s < 1.28 s"),
    "too_long": ({"seconds": 60.0}, {"seconds": 61.0}, "61 s > 60 s"),
    "fps_too_low": ({"video_fps": 20.0}, {"video_fps": 15.0}, "15 < 20"),
    "cut_off": ({"readable_share": 0.9}, {"readable_share": 0.6}, "0.6 < 0.9"),
    "no_sound": ({"sound_state": "heard"}, {"sound_state": "none"}, "no sound track"),
    "silent": ({"sound_peak_db": -40.0}, {"sound_peak_db": -64.0}, "-64 dB < -40 dB"),
    "too_little_speech": ({"speech_share": 0.3}, {"speech_share": 0.1}, "0.1 < 0.3"),
    "clipped_sound": ({"clipped_share": 0.01}, {"clipped_share": 0.05}, "0.05 > 0.01"),
    "light_no_face": ({"light_face_share": 0.5}, {"light_face_share": 0.4}, "0.4 < 0.5"),
    "light_several_faces": (
        {"light_face_share": 1.0, "light_single_share": 0.5},
        {"light_single_share": 0.4},
        "0.6 > 0.5",
    ),
    "light_face_too_small": ({"light_face_px": 192.0}, {"light_face_px": 180.0}, "180 px < 192 px"),
    "several_shots": ({"cut_scores": [15.0, 9.0]}, {"cut_scores": [44.0, 16.0, 9.0]}, "3 > 1"),
    "damaged": ({"damaged_share": 0.1}, {"damaged_share": 0.5}, "0.5 > 0.1"),
    "still_picture": ({"change": 1.0}, {"change": 0.0}, "0 < 1"),
    "no_face": ({"face_share": 0.9}, {"face_share": 0.8}, "0.8 < 0.9"),
    "several_faces": ({"face_share": 1.0, "single_share": 0.9}, {"single_share": 0.8}, "0.2 > 0.1"),
    "face_too_small": (
        {"face_width_mean": 300.0, "face_height_mean": 256.0},
        {"face_height_mean": 250.4},
        "300x250 < 256x256",
    ),
    "square_too_small": ({"square_p10": 400.0}, {"square_p10": 320.0}, "320 px < 400 px"),
    "head_turned": (
        {"rotation_magnitude_mean": 30.0},
        {"rotation_magnitude_mean": 33.6},
        "33.6 degrees > 30 degrees",
    ),
    "not_frontal": ({"frontal_share": 0.9}, {"frontal_share": 0.5}, "0.5 < 0.9"),
    "moves_too_much": ({"travel": 0.4}, {"travel": 0.7}, "0.7 > 0.4"),
    "blurred": ({"sharpness": 30.0}, {"sharpness": 12.0}, "12 < 30"),
    "poor_picture": ({"niqe": 8.0}, {"niqe": 20.0}, "20 > 8"),
    "sound_off": (
        {"av_offset_frames": 5, "av_confidence": 2.0, "av_gain": 0.5},
        {"av_offset_frames": -7},
        "sound 7 frames too late > 5",
    ),
    "screen_sync_c_low": ({"screen_sync_c": 4.0}, {"screen_sync_c": 3.5}, "3.5 < 4"),
    "screen_sync_d_high": ({"screen_sync_d": 11.3}, {"screen_sync_d": 12.0}, "12 > 11.33"),
    "sync_c_low": ({"sync_c": 6.0}, {"sync_c": 5.5}, "5.5 < 6"),
    "sync_d_high": ({"sync_d": 8.5}, {"sync_d": 9.0}, "9 > 8.5"),
    "sync_offset": ({"sync_offset_frames": -5}, {"sync_offset_frames": 6}, "sound 6 frames too early > 5"),
}


def test_every_rule_has_a_case() -> None:
    assert list(CASES) == [rule.name for rule in RULES]


@pytest.mark.parametrize("name", CASES)
def test_a_rule_is_broken_past_its_limit_and_says_both_values(name: str) -> None:
    good, worse, text = CASES[name]
    assert broken_rules(good, EVERY_RULE) == []
    assert [failure.reason for failure in broken_rules(good | worse, EVERY_RULE)] == [f"{name}: {text}"]


@pytest.mark.parametrize("name", CASES)
def test_what_was_not_measured_breaks_no_rule(name: str) -> None:
    good, worse, _ = CASES[name]
    for missing in rule_named(name).measures:
        assert broken_rules(good | worse | {missing: None}, EVERY_RULE) == []


@pytest.mark.parametrize("name", CASES)
def test_none_switches_a_rule_off(name: str) -> None:
    good, worse, _ = CASES[name]
    off = dict.fromkeys(rule_named(name).settings) or {"require_sound": False}
    rules = RulesConfig.model_validate(EVERY_RULE.model_dump() | off)
    assert broken_rules(good | worse, rules) == []


def test_all_broken_rules_are_given_and_gates_can_be_chosen() -> None:
    measures = {"seconds": 0.5, "sound_state": "none", "cut_scores": [99.0]}
    assert [failure.rule for failure in broken_rules(measures, EVERY_RULE)] == [
        "too_short",
        "no_sound",
        "several_shots",
    ]
    assert [failure.rule for failure in broken_rules(measures, EVERY_RULE, gates=["sound"])] == ["no_sound"]


def test_choices_that_the_paper_leaves_open() -> None:
    faces = {"face_width_mean": 300.0, "face_height_mean": 300.0}
    faces |= {"face_width_p05": 200.0, "face_height_p05": 290.0}
    assert not broken_rules(faces, RulesConfig(face_statistic="mean"))
    assert [f.text for f in broken_rules(faces, RulesConfig(face_statistic="p05"))] == ["200x290 < 256x256"]
    two = {"face_share": 1.0, "single_share": 0.0}
    assert not broken_rules(two, RulesConfig(several_faces="largest"))
    turned = {"rotation_magnitude_mean": 32.0, "rotation_largest_mean": 29.0, "yaw_mean": 31.0}
    assert broken_rules(turned, RulesConfig(rotation="magnitude"))
    assert not broken_rules(turned, RulesConfig(rotation="largest"))
    assert broken_rules(turned, RulesConfig(rotation="yaw"))
    late = {"av_offset_frames": -9, "av_confidence": 2.0, "av_gain": 0.5, "sync_offset_frames": -9}
    assert len(broken_rules(late, RulesConfig(wrong_offset="reject"))) == 2
    assert not broken_rules(late, RulesConfig(wrong_offset="correct"))


def test_an_offset_that_is_not_clear_breaks_nothing() -> None:
    clear = {"av_offset_frames": -15, "av_confidence": 2.0, "av_gain": 0.5}
    assert broken_rules(clear, RulesConfig())
    assert not broken_rules(clear | {"av_confidence": 0.5}, RulesConfig())
    assert not broken_rules(clear | {"av_gain": 0.05}, RulesConfig())


def test_an_unknown_rule_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'blurred'"):
        rule_named("blured")
    with pytest.raises(ConfigError, match=r"did you mean 'rules\.min_face_px'"):
        CurateConfig.build({"rules": {"min_face_pixels": 3}}, source="recipe")


def test_every_measure_is_of_one_gate_and_every_gate_has_some() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert [gate for gate in GATES if not of_gate(gate)] == []
    order = [GATES.index(measure.gate) for measure in MEASURES]
    assert order == sorted(order)
    for rule in RULES:
        assert {GATE_OF[name] for name in rule.measures} == {rule.gate}, rule.name
        assert set(rule.settings) <= RulesConfig.model_fields.keys()
