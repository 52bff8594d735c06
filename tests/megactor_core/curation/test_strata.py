"""Samples: from every data set and size, the same again, and never more than was asked for."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from megactor_core.config.curate import ForecastConfig
from megactor_core.curation.sources import SourceClip
from megactor_core.curation.strata import draw_strata


def clips_of(dataset: str, count: int, *, path: Path = Path("/nowhere.mp4")) -> list[SourceClip]:
    """Parts of growing length."""
    return [
        SourceClip(
            dataset=dataset, identity="x", path=path, name=f"{number}", start_s=1.0, end_s=2.0 + number
        )
        for number in range(count)
    ]


@given(count=st.integers(1, 60), wanted=st.integers(1, 70), groups=st.integers(1, 9))
def test_strata_share_out_all_clips_and_the_sample(count: int, wanted: int, groups: int) -> None:
    clips = clips_of("one", count)
    strata = draw_strata(clips, ForecastConfig(clips=wanted, size_groups=groups))
    drawn = [clip.clip_id for stratum in strata for clip in stratum.drawn]
    assert sum(stratum.clips for stratum in strata) == count
    assert len(drawn) == len(set(drawn)) == min(wanted, count)
    assert all(1 <= len(stratum.drawn) <= stratum.clips for stratum in strata)
    assert len(strata) == 1 or all(len(stratum.drawn) >= 2 for stratum in strata)
    if wanted >= count:
        assert set(drawn) == {clip.clip_id for clip in clips}


def test_short_and_long_clips_are_drawn_alike() -> None:
    strata = draw_strata(clips_of("one", 40), ForecastConfig(clips=8, size_groups=4))
    for number, stratum in enumerate(strata):
        ends = [clip.end_s or 0 for clip in stratum.drawn]
        assert len(ends) == 2
        assert all(10 * number <= end - 2 < 10 * (number + 1) for end in ends)


def test_files_are_told_apart_by_their_bytes(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.mp4").write_bytes(b"x" * (10 - number))
    clips = [
        SourceClip(dataset="one", identity="x", path=tmp_path / f"{number}.mp4", name=f"{number}")
        for number in range(5)
    ]
    strata = draw_strata(clips, ForecastConfig(clips=5, size_groups=2))
    drawn = [[clip.name for clip in stratum.drawn] for stratum in strata]
    assert drawn == [["4", "3", "2"], ["1", "0"]]  # the fifth is not there


def test_each_data_set_has_a_sample_that_the_others_and_the_order_do_not_change() -> None:
    config = ForecastConfig(clips=5)
    one, other = clips_of("one", 30), clips_of("other", 20)
    alone = draw_strata(one, config)
    beside = draw_strata([*reversed(other), *reversed(one)], config)
    assert [stratum for stratum in beside if stratum.dataset == "one"] == alone
    assert sum(len(stratum.drawn) for stratum in beside) == 10
    assert draw_strata(one, ForecastConfig(clips=5, seed=1)) != alone
