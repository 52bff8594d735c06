"""Moving a limit: what is said of it is what a decision on all clips by that limit says."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megactor_core.config.curate import RulesConfig
from megactor_core.curation.manifest import judge
from megactor_core.curation.rules import RULES
from megactor_core.curation.what_if import STEPS, compared_numbers, moved_limit, what_if

GATES = ["probe", "sound", "light_faces"]
VERSIONS = {"probe": "1", "sound": "1", "light_faces": "1"}
PROBED = {"width": 640, "height": 480, "video_fps": 25.0, "readable_share": 1.0}
HEARD = {"sound_state": "heard", "sound_level_db": -20.0, "clipped_share": 0.0}
LOOKED = {"light_frames": 5, "light_face_share": 1.0, "light_single_share": 1.0}


def row(name: str, seconds: float, peak_db: float, face_px: float | None, content: str) -> dict[str, Any]:
    """A row as a run leaves it: measured as far as the rules let it, then stopped."""
    measures: dict[str, Any] = PROBED | {"seconds": seconds}
    done = ["probe"]
    if seconds >= RulesConfig().min_seconds:  # type: ignore[operator]
        measures |= HEARD | {"sound_peak_db": peak_db, "speech_share": 0.9}
        done.append("sound")
        if peak_db >= RulesConfig().min_sound_db:  # type: ignore[operator]
            measures |= LOOKED | {"light_face_px": face_px}
            done.append("light_faces")
    return {
        "row_id": name,
        "dataset": "set",
        "identity": name,
        "source_id": None,
        "source_start_s": 0.0,
        "split": "train",
        "start_s": 0.0,
        "end_s": 1.0,
        "content": content,
        "status": "ok",
        "measures": measures,
        "done": done,
        "gates": GATES,
        "versions": VERSIONS,
    }


clips = st.lists(
    st.tuples(
        st.floats(0.8, 2.0), st.floats(-60, 0), st.none() | st.floats(100, 400), st.sampled_from("abcdef")
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(clips, st.sampled_from(["keep", "reject"]))
def test_every_cell_is_what_a_decision_on_all_clips_gives(
    drawn: list[tuple[float, float, float | None, str]], duplicates: str
) -> None:
    rules = RulesConfig(duplicates=duplicates)  # type: ignore[arg-type]
    rows = [row(f"clip {number:02}", *values) for number, values in enumerate(drawn)]
    judged = judge(rows, rules)
    found = what_if(judged, rules, compared_numbers(judged, rules))
    assert {"min_seconds", "min_frame_px"} <= {item.setting for item in found}
    for item in found:
        for moved in item.moved:
            if moved is None:
                continue
            again = judge(rows, rules.updated(**{item.setting: moved.limit}))
            kept = [clip for clip in again if clip.keep]
            assert moved.kept.clips == len(kept)
            assert moved.kept.seconds == pytest.approx(sum(clip.measures["seconds"] for clip in kept))
            assert moved.kept.undecided == sum(clip.status == "pending" for clip in again)


def test_a_looser_limit_opens_what_it_stopped_and_says_that_it_is_not_decided() -> None:
    rows = [row("good", 1.5, -10, 300, "a"), row("short", 1.2, -10, 300, "b"), row("low", 1.5, -42, 300, "c")]
    judged = judge(rows, RulesConfig())
    found = {
        item.setting: item for item in what_if(judged, RulesConfig(), compared_numbers(judged, RulesConfig()))
    }
    looser, _, _, tighter = found["min_seconds"].moved
    assert looser is not None
    assert tighter is not None
    assert (looser.kept.clips, looser.kept.undecided) == (1, 1)
    assert (tighter.kept.clips, tighter.kept.undecided) == (0, 0)
    assert found["min_seconds"].rules == ("too_short",)
    # A setting that only switches a rule on does not move its limit.
    assert found["light_single_share"].rules == ("light_no_face", "light_several_faces")
    assert found["min_face_px"].rules == ("light_face_too_small",)


@pytest.mark.parametrize(
    ("setting", "limit", "moved"),
    [
        ("min_face_px", 256, (192, 230, 282, 320)),
        ("max_rotation_degrees", 30.0, (37.5, 33.0, 27.0, 22.5)),
        ("min_sound_db", -40.0, (-50.0, -44.0, -36.0, -30.0)),
        ("max_shots", 1, (2, 2, None, None)),
        ("max_av_offset_frames", 3, (4, 4, 2, 2)),
        ("min_single_share", 0.9, (0.675, 0.81, 0.99, 1.0)),
        ("min_single_share", 1.0, (0.75, 0.9, None, None)),
        ("min_change", 0.0, (None, None, None, None)),
    ],
)
def test_limits_move_by_shares_of_themselves(
    setting: str, limit: float, moved: tuple[float | None, ...]
) -> None:
    assert [moved_limit(setting, limit, step) for step in STEPS] == [
        None if value is None else pytest.approx(value) for value in moved
    ]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_the_number_and_the_limit_of_a_rule_are_what_decides(data: st.DataObject) -> None:
    rules = RulesConfig(max_seconds=60, max_travel=0.4, max_niqe=8, min_frontal_share=0.9, max_sync_d=8.5)
    whole = {"av_offset_frames", "sync_offset_frames", "width", "height"}
    for rule in RULES:
        if rule.bound is None:
            continue
        names = {*rule.measures, "face_width_mean", "face_height_mean"}
        measures: dict[str, Any] = {
            name: data.draw(st.integers(-15, 600) if name in whole else st.floats(-70, 600))
            for name in sorted(names)
        } | {"cut_scores": data.draw(st.lists(st.floats(0, 255), max_size=4))}
        failure = rule.broken_by(measures, rules)
        value, limit = rule.value(measures, rules), rule.bound.limit(rules) if rule.is_on(rules) else None
        is_past = value is not None and limit is not None and rule.bound.is_past(value, limit)
        assert (failure is not None) == is_past
        if failure is not None:
            assert (failure.value, failure.limit) == (value, limit)
