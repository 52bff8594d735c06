"""The draws: shares, ranges, and that each depends on the seed and the index alone."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megactor_core.config.data import DataConfig, FaceDropoutConfig, MixConfig
from megactor_core.data.draws import (
    Condition,
    Purpose,
    draw_clip,
    draw_condition,
    draw_divisor,
    draw_frames,
    draw_mode,
    generator,
)
from megactor_core.errors import ConfigError

DRAWS = 10_000
POINT = 0.01 * DRAWS
BOTH = frozenset({"eyes", "mouth"})

indices = st.integers(0, 10**9)
seeds = st.integers(0, 2**63 - 1)
few = settings(max_examples=50)


def conditions(config: DataConfig, draws: int = DRAWS) -> list[Condition]:
    return [draw_condition(config, seed=0, index=index) for index in range(draws)]


@pytest.mark.parametrize(
    ("config", "shares"),
    [
        (DataConfig.for_stage(1), {"visual": 1}),
        (DataConfig.for_stage(2), {"visual": 0.1, "audio": 0.2, "mixed": 0.7}),
        (DataConfig.for_stage(3), {"visual": 0.1, "audio": 0.2, "mixed": 0.7}),
        (
            DataConfig(mix=MixConfig(visual=0.3, audio=0.2, mixed=0.5)),
            {"visual": 0.3, "audio": 0.2, "mixed": 0.5},
        ),
    ],
)
def test_modes_are_drawn_by_their_shares(config: DataConfig, shares: dict[str, float]) -> None:
    counts = Counter(draw_mode(config, seed=0, index=index) for index in range(DRAWS))
    assert set(counts) == set(shares)
    for mode, share in shares.items():
        assert counts[mode] == pytest.approx(share * DRAWS, abs=POINT)


def test_stage_1_draws_every_set_of_regions_and_stage_3_drops_none() -> None:
    drawn = Counter(tuple(sorted(c.regions)) for c in conditions(DataConfig.for_stage(1)))
    assert set(drawn) == {(), ("eyes",), ("mouth",), ("eyes", "mouth")}
    for count in drawn.values():
        assert count == pytest.approx(DRAWS / 4, abs=2 * POINT)
    visual = [c for c in conditions(DataConfig.for_stage(3)) if c.mode == "visual"]
    assert {c.regions for c in visual} == {BOTH}


def test_mixed_samples_are_driven_by_the_eyes_and_audio_samples_by_no_patch() -> None:
    drawn = {(c.mode, c.regions) for c in conditions(DataConfig(), 1000) if c.mode != "visual"}
    assert drawn == {("mixed", frozenset({"eyes"})), ("audio", frozenset())}


def test_null_samples_have_their_share_and_drive_with_nothing() -> None:
    null = [c for c in conditions(DataConfig()) if c.null]
    assert len(null) == pytest.approx(0.1 * DRAWS, abs=POINT)
    assert not any(c.drives_visually or c.hears or c.masks_attention or c.spares_mouth for c in null)
    assert not any(c.null for c in conditions(DataConfig(null_rate=0), 1000))


@pytest.mark.parametrize(
    ("mode", "regions", "masks", "spares"),
    [
        ("visual", {"eyes", "mouth"}, False, False),
        ("visual", {"mouth"}, False, False),
        ("visual", {"eyes"}, True, True),
        ("visual", set(), False, True),
        ("audio", set(), False, False),
        ("mixed", {"eyes"}, True, False),
    ],
)
def test_mask_and_loss_follow_from_what_drives(
    mode: str, regions: set[str], masks: bool, spares: bool
) -> None:
    condition = Condition(mode, frozenset(regions), null=False)  # type: ignore[arg-type]
    assert (condition.masks_attention, condition.spares_mouth) == (masks, spares)
    assert condition.hears == (mode != "visual")


@few
@given(seed=seeds, count=st.integers(1, 50), epoch=st.integers(0, 1000))
def test_every_clip_is_drawn_once_an_epoch(seed: int, count: int, epoch: int) -> None:
    drawn = [draw_clip(count, seed=seed, index=epoch * count + i) for i in range(count)]
    assert sorted(drawn) == list(range(count))


def test_epochs_and_seeds_have_their_own_orders() -> None:
    orders = {
        tuple(draw_clip(20, seed=seed, index=20 * epoch + i) for i in range(20))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


@few
@given(seed=seeds, index=indices, frames=st.integers(31, 90))
def test_a_clip_is_a_run_of_frames_at_one_stride(seed: int, index: int, frames: int) -> None:
    config = DataConfig.for_stage(3)
    drawn = draw_frames(config, found=np.ones(frames, bool), seed=seed, index=index)
    steps = set(np.diff(drawn.target).tolist())
    assert len(drawn.target) == 16
    assert len(steps) == 1
    assert steps <= {1, 2}
    assert drawn.target.min() >= 0
    assert drawn.target.max() < frames
    assert 0 <= drawn.reference < frames


def test_both_strides_and_all_frames_are_drawn() -> None:
    found = np.ones(40, bool)
    drawn = [draw_frames(DataConfig.for_stage(3), found=found, seed=0, index=i) for i in range(2000)]
    strides = Counter(int(d.target[1] - d.target[0]) for d in drawn)
    assert strides[1] == pytest.approx(1000, abs=100)
    assert {frame for d in drawn for frame in d.target.tolist()} == set(range(40))
    assert {d.reference for d in drawn} == set(range(40))


def test_a_short_clip_takes_the_largest_stride_that_fits() -> None:
    for frames, strides in ((16, {1}), (30, {1}), (31, {1, 2})):
        found = np.ones(frames, bool)
        drawn = [draw_frames(DataConfig.for_stage(3), found=found, seed=0, index=i) for i in range(60)]
        assert {int(d.target[1] - d.target[0]) for d in drawn} == strides


@few
@given(seed=seeds, index=indices, found=st.lists(st.booleans(), min_size=2, max_size=60))
def test_pairs_are_two_frames_with_a_face(seed: int, index: int, found: list[bool]) -> None:
    drawn = draw_frames(DataConfig(), found=np.array(found), seed=seed, index=index)
    (target,) = drawn.target
    assert target != drawn.reference
    if sum(found) >= 2:
        assert found[target]
        assert found[drawn.reference]


@few
@given(seed=seeds, index=indices, frames=st.integers(2, 60), distance=st.integers(1, 80))
def test_pairs_keep_their_distance_or_the_largest_there_is(
    seed: int, index: int, frames: int, distance: int
) -> None:
    config = DataConfig(min_distance_frames=distance)
    drawn = draw_frames(config, found=np.ones(frames, bool), seed=seed, index=index)
    (target,) = drawn.target
    possible = max(target, frames - 1 - target)
    assert abs(target - drawn.reference) >= min(distance, possible)


@few
@given(seed=seeds, index=indices, frames=st.integers(2, 40), distance=st.integers(1, 50))
def test_frames_that_share_a_reference_are_apart_from_it(
    seed: int, index: int, frames: int, distance: int
) -> None:
    config = DataConfig(min_distance_frames=distance, frames_per_reference=6)
    found = np.ones(frames, bool)
    drawn = draw_frames(config, found=found, seed=seed, index=index)
    pair = draw_frames(config.updated(frames_per_reference=1), found=found, seed=seed, index=index)
    assert drawn.reference == pair.reference
    assert len(drawn.target) == 6
    assert drawn.target.tolist() == sorted(drawn.target)
    assert pair.target[0] in drawn.target
    possible = max(drawn.reference, frames - 1 - drawn.reference)
    others = drawn.target[drawn.target != pair.target[0]]
    assert (np.abs(others - drawn.reference) >= min(distance, possible)).all()
    if frames > 2 * distance + 6:
        assert len(set(drawn.target.tolist())) == 6


def test_divisors_are_the_whole_numbers_from_8_to_16() -> None:
    config = DataConfig().patch
    drawn = Counter(draw_divisor(config, seed=0, index=index) for index in range(2000))
    assert set(drawn) == set(range(8, 17))


def test_no_two_purposes_share_a_generator() -> None:
    first = {generator(seed, index, p).random() for seed in range(3) for index in range(3) for p in Purpose}
    assert len(first) == 9 * len(Purpose)


def test_shares_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"visual 0\.5 \+ audio 0\.2 \+ mixed 0\.7 sum to 1\.4"):
        DataConfig().updated(mix={"visual": 0.5})
    with pytest.raises(ConfigError, match="sum to"):
        DataConfig().updated(face_dropout={"both": 1.0})
    FaceDropoutConfig(nothing=0, eyes=0, mouth=0.5, both=0.5)


def test_wrong_orders_and_stages_are_refused() -> None:
    with pytest.raises(ConfigError, match="stride_min = 4 is above stride_max = 2"):
        DataConfig().updated(stride_min=4)
    with pytest.raises(ConfigError, match="no training stage 4"):
        DataConfig.for_stage(4)
