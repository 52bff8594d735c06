"""Decisions: a pure function of measures and rules; loosening opens exactly the clips that a rule stopped."""

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from megactor_core.config.curate import GATES, GateName, RulesConfig
from megactor_core.curation.decide import decide, missing_gates, unmeasured_rules
from megactor_core.curation.measures import of_gate
from megactor_core.curation.rules import broken_rules

# A clip whose every measure may lie on either side of the limits.
CLIPS = st.fixed_dictionaries(
    {
        "width": st.integers(100, 800),
        "height": st.integers(100, 800),
        "seconds": st.floats(0.5, 5),
        "sound_state": st.sampled_from(["heard", "none"]),
        "light_face_share": st.sampled_from([0.0, 1.0]),
        "light_single_share": st.sampled_from([0.0, 1.0]),
        "light_face_px": st.floats(50, 700),
        "cut_scores": st.lists(st.floats(1, 60), max_size=3),
        "face_share": st.sampled_from([0.5, 1.0]),
        "single_share": st.sampled_from([0.5, 1.0]),
        "face_width_mean": st.floats(50, 700),
        "face_height_mean": st.floats(50, 700),
        "rotation_magnitude_mean": st.floats(0, 60),
        "sharpness": st.floats(0, 100),
        "av_offset_frames": st.integers(-15, 15),
        "av_confidence": st.floats(0, 3),
        "av_gain": st.floats(0, 1),
        "screen_sync_c": st.floats(0, 8),
        "sync_c": st.floats(0, 8),
    }
)
RULES = st.builds(
    RulesConfig,
    min_face_px=st.sampled_from([None, 128, 256, 600]),
    max_shots=st.sampled_from([None, 1, 2]),
    max_rotation_degrees=st.sampled_from([None, 15.0, 30.0]),
    min_sync_c=st.sampled_from([None, 3.0, 6.0]),
    require_sound=st.booleans(),
    light_single_share=st.sampled_from([None, 0.5]),
)


def measured(clip: dict[str, Any], gates: Iterable[GateName]) -> dict[str, Any]:
    """As much of the clip as these gates measure."""
    names = {name for gate in gates for name in of_gate(gate)}
    return {name: value for name, value in clip.items() if name in names}


def run(
    clip: dict[str, Any], rules: RulesConfig, done: list[GateName], audited: bool = False
) -> list[GateName]:
    """What a run does: gate by gate until a rule breaks. Returns the gates that are done then."""
    done = list(done)
    for gate in missing_gates(measured(clip, done), done=done, gates=GATES, rules=rules, audited=audited):
        done.append(gate)
        if not audited and broken_rules(measured(clip, done), rules, gates=[gate]):
            break
    return done


@given(CLIPS, RULES)
def test_early_reject_decides_as_all_measures_do(clip: dict[str, Any], rules: RulesConfig) -> None:
    early, audited = run(clip, rules, []), run(clip, rules, [], audited=True)
    assert audited == list(GATES)
    first = decide(measured(clip, early), done=early, gates=GATES, rules=rules)
    full = decide(measured(clip, audited), done=audited, gates=GATES, rules=rules)
    assert first.status == full.status
    assert set(first.failures) <= set(full.failures)
    assert first.failures[:1] == full.failures[:1]
    assert first.missing == full.missing == ()


@given(CLIPS, RULES, RULES)
def test_new_rules_open_exactly_the_clips_that_the_old_ones_stopped(
    clip: dict[str, Any], old: RulesConfig, new: RulesConfig
) -> None:
    done = run(clip, old, [])
    decision = decide(measured(clip, done), done=done, gates=GATES, rules=new)
    was_stopped, is_broken = len(done) < len(GATES), bool(broken_rules(measured(clip, done), new))
    assert (decision.status == "pending") == (was_stopped and not is_broken)
    again = run(clip, new, done)
    assert again[: len(done)] == done, "what was measured is not measured again"
    fresh = run(clip, new, [])
    assert decide(measured(clip, again), done=again, gates=GATES, rules=new).status == (
        decide(measured(clip, fresh), done=fresh, gates=GATES, rules=new).status
    )


def test_a_rule_without_its_gate_is_left_out_or_rejects() -> None:
    gates: tuple[GateName, ...] = ("probe", "sound")
    rules = RulesConfig(min_sync_c=6.0)
    assert "sync_c_low" in unmeasured_rules(gates, rules)
    assert "too_short" not in unmeasured_rules(gates, rules)
    clip = {"seconds": 3.0}
    assert decide(clip, done=gates, gates=gates, rules=rules).status == "ok"
    strict = RulesConfig(min_sync_c=6.0, not_measured="reject")
    decision = decide(clip, done=gates, gates=gates, rules=strict)
    assert decision.status == "rejected"
    reasons = [failure.reason for failure in decision.failures]
    assert "sync_c_low: not measured" in reasons
    assert not [reason for reason in reasons if reason.startswith(("light_", "screen_"))]


def test_a_measure_that_was_taken_again_is_missing_before_what_follows_it() -> None:
    done: tuple[GateName, ...] = ("probe", "light_faces", "shots")
    gates: tuple[GateName, ...] = ("probe", "sound", "light_faces", "shots", "faces")
    assert missing_gates({}, done=done, gates=gates, rules=RulesConfig()) == ("sound", "faces")
