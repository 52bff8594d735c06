"""Clips that are there twice, and speakers that must not be trained on and tested on."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from megactor_core.curation.duplicates import Placed, find_duplicates, joint_splits

CLIP = Placed(
    clip_id="a",
    dataset="hdtf",
    identity="anna",
    source_id="yt1",
    content="c1",
    start_seconds=0.0,
    end_seconds=8.0,
    source_start_seconds=100.0,
    split="train",
)


def other(**changes: object) -> Placed:
    values = {"clip_id": "b", "dataset": "voxceleb", "identity": "id07", "content": "c2"}
    return replace(CLIP, **(values | changes))


def test_a_copy_of_a_file_is_a_duplicate_in_any_data_set() -> None:
    assert find_duplicates([CLIP, other(content="c1", source_id=None)]) == {"b": "a"}
    assert find_duplicates([CLIP, other(dataset="hdtf", content="c1", source_id=None)]) == {"b": "a"}


def test_other_parts_of_one_file_are_none() -> None:
    later = other(dataset="hdtf", content="c1", start_seconds=4.0, end_seconds=12.0)
    assert find_duplicates([CLIP, later]) == {}


def test_the_same_minute_of_a_source_in_two_data_sets_is_one() -> None:
    assert find_duplicates([CLIP, other(source_start_seconds=107.0)]) == {"b": "a"}
    assert find_duplicates([CLIP, other(source_start_seconds=108.0)]) == {}
    assert find_duplicates([CLIP, other(source_start_seconds=None)]) == {"b": "a"}
    assert find_duplicates([CLIP, other(dataset="hdtf", source_start_seconds=104.0)]) == {}


def test_the_clip_held_back_for_validation_is_kept() -> None:
    assert find_duplicates([CLIP, other(split="validation")]) == {"a": "b"}


def test_a_third_copy_is_one_of_the_kept_clip() -> None:
    clips = [CLIP, other(content="c1"), other(clip_id="c", dataset="x", content="c1")]
    assert find_duplicates(clips) == {"b": "a", "c": "a"}


def test_who_shares_a_source_or_an_identity_shares_the_split() -> None:
    clips = [
        CLIP,
        other(split="validation"),  # the same source as a
        other(clip_id="c", dataset="hdtf", identity="anna", source_id="yt9", content="c3"),  # anna again
        other(clip_id="d", dataset="ccv2", identity="anna", source_id=None, content="c4"),  # a namesake
        other(clip_id="e", dataset="ccv2", identity="berta", source_id=None, content="c5"),
    ]
    assert joint_splits(clips) == {
        "a": "validation",
        "b": "validation",
        "c": "validation",
        "d": "validation",
        "e": "train",
    }


@given(
    st.lists(
        st.tuples(
            st.sampled_from("xy"),
            st.sampled_from("pqrs"),
            st.sampled_from([None, "1", "2", "3"]),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_no_person_and_no_source_is_in_two_splits(drawn: list[tuple[str, str, str | None, bool]]) -> None:
    clips = [
        other(
            clip_id=str(number),
            dataset=dataset,
            identity=identity,
            source_id=source,
            split="validation" if held_back else "train",
        )
        for number, (dataset, identity, source, held_back) in enumerate(drawn)
    ]
    splits = joint_splits(clips)
    for key in ("identity", "source_id"):
        for value in {getattr(clip, key) for clip in clips} - {None}:
            assert len({splits[clip.clip_id] for clip in clips if getattr(clip, key) == value}) == 1
    assert all(splits[clip.clip_id] == "validation" for clip in clips if clip.split == "validation")
