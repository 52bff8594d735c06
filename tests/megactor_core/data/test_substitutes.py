"""Stand-ins for another identity: each does what it is named after, to all frames alike."""

import numpy as np
import pytest

from megactor_core.config.data import SubstituteConfig
from megactor_core.data.substitutes import (
    RING_POINTS,
    Substitutes,
    bend_faces,
    degrade,
    draw_substitutes,
    posterise,
    smooth_surfaces,
    transfer_colours,
)

SIZE = 64
KEPT = list(range(17, 48))
MOUTH = list(range(48, 68))


def drawn(config: SubstituteConfig, seed: int, *, clip: int = 0, clips: int = 5) -> Substitutes:
    return draw_substitutes(config, np.random.default_rng(seed), clip=clip, clips=clips)


def smooth_picture(seed: int) -> np.ndarray:
    """Low-frequency colours, so that a shift of a pixel changes little and one of many does."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    waves = [np.sin(2 * np.pi * (rng.uniform(0.5, 2) * x + rng.uniform(0.5, 2) * y) + i) for i in range(3)]
    return np.rint(128 + 80 * np.stack(waves, axis=-1)).astype(np.uint8)


@pytest.fixture
def points(make: object) -> np.ndarray:
    return make.clip(3, frames=3).points  # type: ignore[attr-defined]


def test_each_kind_comes_at_its_rate() -> None:
    config = SubstituteConfig(driver_rate=0.5)
    draws = [drawn(config, seed) for seed in range(4000)]
    rates = {
        "driver": (np.mean([d.driver for d in draws]), 0.5),
        "palette": (np.mean([d.palette is not None for d in draws]), config.recolour_rate),
        "posterise": (np.mean([d.posterise for d in draws]), config.posterise_rate),
        "smooth": (np.mean([d.smooth for d in draws]), config.smooth_rate),
        "bend": (np.mean([d.bend is not None for d in draws]), config.elastic_rate),
        "degrade": (np.mean([d.degrade is not None for d in draws]), config.degrade_rate),
    }
    for name, (found, wanted) in rates.items():
        assert found == pytest.approx(wanted, abs=0.03), name


def test_the_palette_is_any_other_clip() -> None:
    config = SubstituteConfig(recolour_rate=1)
    lent = {drawn(config, seed, clip=2).palette[0] for seed in range(200)}  # type: ignore[index]
    assert lent == {0, 1, 3, 4}
    assert drawn(config, 0, clips=1).palette is None


def test_colours_take_the_palette_mean_and_spread() -> None:
    frames = np.stack([smooth_picture(0), smooth_picture(0)])
    palette = (smooth_picture(1) // 2 + 60).astype(np.uint8)
    changed = transfer_colours(frames, palette)
    assert abs(changed.mean(axis=(0, 1, 2)) - palette.mean(axis=(0, 1))).max() < 8
    assert abs(frames.mean(axis=(0, 1, 2)) - palette.mean(axis=(0, 1))).max() > 8
    assert (changed[0] == changed[1]).all()
    assert abs(transfer_colours(frames, frames[0]).astype(int) - frames).max() <= 8


def test_posterised_pictures_have_few_levels() -> None:
    changed = posterise(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, -1), levels=6)
    assert sorted(set(changed.flatten().tolist())) == [0, 51, 102, 153, 204, 255]


def test_smoothing_flattens_noise_and_keeps_an_edge() -> None:
    step = np.full((1, SIZE, SIZE, 3), 60, np.int64)
    step[:, :, SIZE // 2 :] = 190
    noisy = np.clip(step + np.random.default_rng(0).normal(0, 8, step.shape), 0, 255).astype(np.uint8)
    changed = smooth_surfaces(noisy).astype(float)
    assert changed[:, :, 4 : SIZE // 2 - 4].std() < 0.7 * noisy[:, :, 4 : SIZE // 2 - 4].std()
    jump = changed[:, :, SIZE // 2].mean() - changed[:, :, SIZE // 2 - 1].mean()
    assert jump > 100


def test_degraded_pictures_are_grey_and_soft() -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    changed = degrade(noisy, factor=2.5).astype(float)
    assert (changed[..., 0] == changed[..., 2]).all()
    assert changed.shape == noisy.shape
    assert np.diff(changed, axis=2).std() < 0.2 * np.diff(noisy.astype(float), axis=2).std()


def test_a_bend_moves_the_outline_and_leaves_what_drives_in_place(points: np.ndarray) -> None:
    coordinates = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="xy"), axis=-1)
    frame = np.concatenate([coordinates * 3, coordinates[..., :1] * 0], axis=-1).astype(np.uint8)
    frames = np.repeat(frame[np.newaxis], len(points), axis=0)
    bend = np.random.default_rng(0).uniform(-0.3, 0.3, (RING_POINTS, 2))
    changed = bend_faces(frames, points, bend, keep_mouth=True)
    moved_px = np.abs(changed.astype(float) - frames)[..., :2].max(axis=-1) / 3
    assert moved_px.max() > 1.5
    for face, moves in zip(points, moved_px, strict=True):
        x, y = np.rint(face[KEPT + MOUTH]).astype(int).T
        assert moves[y, x].max() < 1
    assert moved_px[:, [0, 0, -1, -1], [0, -1, 0, -1]].max() < 0.5


def test_no_bend_is_no_change(points: np.ndarray) -> None:
    frames = np.stack([smooth_picture(i) for i in range(len(points))])
    still = bend_faces(frames, points, np.zeros((RING_POINTS, 2)), keep_mouth=True)
    np.testing.assert_array_equal(still, frames)


def test_the_mouth_and_jaw_do_not_shape_a_bend_where_the_mouth_does_not_drive(points: np.ndarray) -> None:
    frames = np.stack([smooth_picture(i) for i in range(len(points))])
    bend = np.random.default_rng(0).uniform(-0.3, 0.3, (RING_POINTS, 2))
    opened = points.copy()
    opened[:, [*range(4, 13), *MOUTH], 1] += 5
    hidden = [bend_faces(frames, p, bend, keep_mouth=False) for p in (points, opened)]
    np.testing.assert_array_equal(*hidden)
    shown = [bend_faces(frames, p, bend, keep_mouth=True) for p in (points, opened)]
    assert (shown[0] != shown[1]).any()


def test_closed_lids_do_not_break_a_bend(points: np.ndarray) -> None:
    points[:, 36:48] = points[:, [36] * 6 + [42] * 6]
    frames = np.stack([smooth_picture(0)] * len(points))
    bent = bend_faces(frames, points, np.full((RING_POINTS, 2), 0.1), keep_mouth=True)
    assert bent.shape == frames.shape
