"""Augmentation of driver and sound: ranges, sameness over a clip, and effects against known truth."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from megactor_core.config.data import AugmentConfig, SoundAugmentConfig
from megactor_core.data.augment import (
    Augmentation,
    augment_windows,
    draw_augmentation,
    grey_frames,
    recolour_frames,
    warp_frames,
)
from megactor_core.faces.amplitude import transform_points
from megactor_core.models.audio import log_mel

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=30)
CALM = SoundAugmentConfig(gain_rate=0, noise_rate=0)


def drawn(config: AugmentConfig, seed: int) -> Augmentation:
    return draw_augmentation(config, np.random.default_rng(seed))


def noise_frames(seed: int, frames: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, 32, 32, 3), dtype=np.uint8)


@few
@given(seed=seeds)
def test_draws_stay_in_their_ranges(seed: int) -> None:
    change = drawn(AugmentConfig(warp_rate=1, jitter_rate=1), seed)
    x, y = change.stretch
    assert 0.8 <= x / y <= 1.2
    assert 0.8 <= np.sqrt(x * y) <= 1.2
    for factor in (change.brightness, change.contrast, change.saturation):
        assert 0.6 <= factor <= 1.4
    assert abs(change.hue) <= 0.3


def test_changes_come_at_their_rates() -> None:
    changes = [drawn(AugmentConfig(), seed) for seed in range(4000)]
    assert np.mean([c.stretch != (1, 1) for c in changes]) == pytest.approx(0.75, abs=0.03)
    assert np.mean([c.brightness != 1 for c in changes]) == pytest.approx(0.25, abs=0.03)
    assert np.mean([c.grayscale for c in changes]) == pytest.approx(0.1, abs=0.02)


@few
@given(seed=seeds)
def test_a_rate_does_not_change_the_other_draws(seed: int) -> None:
    with_jitter = drawn(AugmentConfig(warp_rate=1, jitter_rate=1), seed)
    without = drawn(AugmentConfig(warp_rate=1, jitter_rate=0), seed)
    assert with_jitter.stretch == without.stretch


def test_nothing_drawn_changes_nothing() -> None:
    change = drawn(AugmentConfig(warp_rate=0, jitter_rate=0, grayscale_rate=0), 0)
    frames = noise_frames(0)
    matrix = change.matrix(np.array([10.0, 20.0]))
    np.testing.assert_array_equal(warp_frames(recolour_frames(frames, change), matrix), frames)


@few
@given(seed=seeds)
def test_equal_frames_stay_equal(seed: int) -> None:
    frames = np.repeat(noise_frames(seed, 1), 4, axis=0)
    change = drawn(AugmentConfig(warp_rate=1, jitter_rate=1, grayscale_rate=0.5), seed)
    changed = warp_frames(recolour_frames(frames, change), change.matrix(np.array([16.0, 12.0])))
    assert (changed == changed[:1]).all()
    assert changed.shape == frames.shape
    assert changed.dtype == np.uint8


@few
@given(seed=seeds)
def test_the_stretch_keeps_its_centre_and_moves_pixels_with_points(seed: int) -> None:
    change = drawn(AugmentConfig(warp_rate=1), seed)
    centre = np.array([30.0, 34.0])
    matrix = change.matrix(centre)
    np.testing.assert_allclose(transform_points(matrix, centre[None]), centre[None])
    dot = np.array([[40.0, 22.0]])
    frame = np.zeros((1, 64, 64, 3), np.uint8)
    frame[0, 21:24, 39:42] = 200
    moved = warp_frames(frame, matrix)[0, ..., 0].astype(float)
    rows, columns = np.indices(moved.shape)
    found = np.array([(columns * moved).sum(), (rows * moved).sum()]) / moved.sum()
    np.testing.assert_allclose(found, transform_points(matrix, dot)[0], atol=0.2)


@pytest.mark.parametrize(("factor", "level"), [(0.6, 60), (1.4, 140)])
def test_brightness_multiplies_and_contrast_turns_about_the_mean(factor: float, level: int) -> None:
    flat = np.full((2, 8, 8, 3), 100, np.uint8)
    bright = Augmentation((1, 1), False, factor, 1, 1, 0)
    assert (recolour_frames(flat, bright) == level).all()
    contrast = Augmentation((1, 1), False, 1, factor, 1, 0)
    assert (recolour_frames(flat, contrast) == 100).all()
    halves = flat.copy()
    halves[:, :4] = 50
    changed = recolour_frames(halves, contrast).astype(float)
    np.testing.assert_allclose(changed[:, 4:] - changed[:, :4].mean(), 50 * factor, atol=1)


def test_hue_turns_red_into_green_and_saturation_fades() -> None:
    red = np.zeros((1, 4, 4, 3), np.uint8)
    red[..., 0] = 200
    green = recolour_frames(red, Augmentation((1, 1), False, 1, 1, 1, 1 / 3))[0, 0, 0].astype(int)
    assert green[1] >= 190
    assert green[0] <= 20
    assert green[2] <= 20
    faded = recolour_frames(red, Augmentation((1, 1), False, 1, 1, 0.6, 0))[0, 0, 0].astype(int)
    assert faded[0] < 200
    assert faded[1] > 0


def test_grey_pictures_have_no_colour_left_to_jitter() -> None:
    frames = noise_frames(1)
    change = Augmentation((1, 1), True, 1, 1, 1.3, 0.2)
    np.testing.assert_array_equal(recolour_frames(frames, change), grey_frames(frames))


def windows_of(mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two windows that overlap by half, the second beyond the end."""
    length = 16
    columns = torch.stack([torch.arange(length), torch.arange(length) + length // 2])
    columns = torch.where(columns >= mel.shape[1], -1, columns)
    windows = mel[:, columns.clamp(min=0)].transpose(0, 1).clone()
    return torch.where((columns < 0)[:, None], -1.0, windows), columns


def test_gain_equals_the_log_mel_of_louder_sound_parity() -> None:
    sound = np.random.default_rng(0).normal(0, 0.05, 16_000).astype(np.float32)
    config = SoundAugmentConfig(gain_rate=1, noise_rate=0)
    rng = np.random.default_rng(3)
    rng.random(2)
    gain = 10 ** (rng.uniform(-config.gain_db, config.gain_db) / 20)
    before, columns = windows_of(log_mel(sound)[:, :20])
    after, _ = windows_of(log_mel(sound * gain)[:, :20])
    changed = augment_windows(before, columns, config, np.random.default_rng(3))
    torch.testing.assert_close(changed, after, atol=1e-4, rtol=0)
    assert not torch.equal(changed, before)


def test_noise_has_its_level_and_is_the_same_in_every_window() -> None:
    config = SoundAugmentConfig(gain_rate=0, noise_rate=1, noise_db_min=-40, noise_db_max=-40)
    silence = torch.full((80, 20), -1.0)
    before, columns = windows_of(silence)
    after = augment_windows(before, columns, config, np.random.default_rng(0))
    power = 10 ** (4 * (after[0] - 1))
    assert 10 * torch.log10(power.mean()).item() == pytest.approx(-40, abs=0.5)
    torch.testing.assert_close(after[0][:, 8:], after[1][:, :8])
    assert (after[1][:, columns[1] < 0] == -1).all()


def test_calm_sound_is_untouched_and_nothing_falls_below_silence() -> None:
    before, columns = windows_of(torch.rand(80, 20) * 2 - 1)
    assert torch.equal(augment_windows(before, columns, CALM, np.random.default_rng(0)), before)
    quieter = SoundAugmentConfig(gain_rate=1, noise_rate=0, gain_db=40)
    for seed in range(10):
        after = augment_windows(before, columns, quieter, np.random.default_rng(seed))
        assert after.min() >= -1
