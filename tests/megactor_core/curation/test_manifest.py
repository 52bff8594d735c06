"""The manifest: what is decided of rows as the journal has them, and by how much a sound is to be moved."""

from typing import Any

import pytest

from megactor_core.config.curate import RulesConfig
from megactor_core.curation.manifest import judge, sound_shift

SYNC = {"sync_offset_frames": 4}
WITHOUT = {"av_offset_frames": -7, "av_confidence": 2.0}


def row(name: str, **changes: Any) -> dict[str, Any]:
    """A row of the journal of a clip that passed everything."""
    return {
        "row_id": name,
        "dataset": "set",
        "identity": name,
        "source_id": None,
        "source_start_s": 0.0,
        "split": "train",
        "start_s": None,
        "end_s": None,
        "content": name,
        "status": "ok",
        "measures": {"seconds": 3.0},
        "done": ["probe"],
        "gates": ["probe"],
        "versions": {"probe": "1"},
        **changes,
    }


@pytest.mark.parametrize(
    ("measures", "rules", "seconds"),
    [
        (SYNC, {"max_sync_offset_frames": 3}, 0.16),
        (SYNC, {"max_sync_offset_frames": 4}, None),
        (WITHOUT, {}, -0.28),
        (WITHOUT | {"av_confidence": 0.5}, {}, None),
        (WITHOUT | {"sync_offset_frames": 0}, {}, None),
        ({}, {}, None),
    ],
)
def test_a_wrong_offset_is_to_be_put_right(
    measures: dict[str, Any], rules: dict[str, Any], seconds: float | None
) -> None:
    assert sound_shift(measures, RulesConfig(wrong_offset="correct", **rules)) == seconds
    assert sound_shift(measures, RulesConfig(wrong_offset="reject", **rules)) is None


def test_clips_are_decided_on_by_what_is_known_of_them_now() -> None:
    rows = [
        row("c", done=[], measures={}),
        row("b", measures={"seconds": 0.5}),
        row("a"),
        row("d", status="error"),
    ]
    judged = judge(rows, RulesConfig())
    assert [(clip.row["row_id"], clip.status) for clip in judged] == [
        ("a", "ok"),
        ("b", "rejected"),
        ("c", "pending"),
        ("d", "error"),
    ]
    # Measures that were taken in another way are not known: the clip is to be measured again.
    (clip,) = judge([row("a")], RulesConfig(), gates=["probe"], versions={"probe": "2"})
    assert (clip.status, dict(clip.measures)) == ("pending", {})


def test_of_copies_one_is_kept_and_clips_of_one_person_share_a_split() -> None:
    rows = [row("a", content="x"), row("b", content="x", identity="a", split="validation")]
    first, second = judge(rows, RulesConfig())
    assert (first.split, second.split) == ("validation", "validation")
    assert [first.keep, second.keep] == [True, False]
    assert second.failures[0].reason == "duplicate: of a"
    assert all(clip.keep for clip in judge(rows, RulesConfig(duplicates="keep")))
