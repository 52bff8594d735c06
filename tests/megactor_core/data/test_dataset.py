"""Samples: what they show, what they hide, and that each is a function of the seed and its number alone."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange

from megactor_core.config.data import (
    AugmentConfig,
    DataConfig,
    FaceDropoutConfig,
    MixConfig,
    PatchConfig,
    SoundAugmentConfig,
    SubstituteConfig,
)
from megactor_core.config.model import AudioConfig, ModelConfig
from megactor_core.data.dataset import TrainingData
from megactor_core.errors import ConfigError
from megactor_core.faces.regions import LUMA
from megactor_core.models.audio import AudioTrack, LogMelEncoder, log_mel, whisper_steps, with_zero_state

NANO = ModelConfig.preset("nano")
SIZE = NANO.native_px
MOUTH = list(range(48, 68))
VISUAL = MixConfig(visual=1, audio=0, mixed=0)
EYES_ONLY = FaceDropoutConfig(nothing=0, eyes=1, mouth=0, both=0)
STILL = AugmentConfig(warp_rate=0, jitter_rate=0, grayscale_rate=0)
PLAIN = SubstituteConfig(recolour_rate=0, posterise_rate=0, smooth_rate=0, elastic_rate=0, degrade_rate=0)
BOLD = SubstituteConfig(
    recolour_rate=0.5, posterise_rate=0.3, smooth_rate=0.3, elastic_rate=0.5, degrade_rate=0.3
)


def plain(**changes: Any) -> DataConfig:
    """No augmentation, no null samples."""
    return DataConfig(null_rate=0).without_augmentation().updated(**changes)


def test_a_sample_depends_on_seed_and_number_alone(make: Any, assert_same: Callable[..., None]) -> None:
    config = DataConfig(substitute=BOLD)
    first, second = make.data(config), make.data(config)
    forward = [first[i] for i in range(20)]
    backward = {i: second[i] for i in reversed(range(20))}
    for i, item in enumerate(forward):
        assert item.index == i
        assert_same(item, backward[i])
    other = make.data(config, seed=8)
    assert sum(not torch.equal(item.target, other[i].target) for i, item in enumerate(forward)) > 15


def test_shapes_and_ranges_are_those_of_the_contract(make: Any) -> None:
    config = DataConfig.for_stage(3)
    item = make.data(config)[0]
    tokens, side = (SIZE // 16) ** 2, SIZE // 8
    assert item.reference.shape == (3, SIZE, SIZE)
    assert item.target.shape == (16, 3, SIZE, SIZE)
    assert item.driving.shape == (16, 3, SIZE, SIZE)
    assert item.eyes.shape == item.mouth.shape == (16, tokens)
    assert item.loss_weight.shape == (16, 1, side, side)
    assert item.audio.shape == (16, 80, 2 * NANO.audio.tokens)
    assert item.target.min() >= -1
    assert item.target.max() <= 1
    assert item.driving.min() >= 0
    assert item.driving.max() <= 1
    floats = (item.reference, item.target, item.driving, item.loss_weight, item.audio)
    assert {tensor.dtype for tensor in floats} == {torch.float32}
    assert item.eyes.dtype == torch.bool


def test_pictures_are_the_clip_s_frames(make: Any) -> None:
    source = make.source([make.clip(0)])
    data = make.data(plain(clip_frames=4), source)
    for i in range(5):
        source.clips[0].read.clear()
        item = data[i]
        reference, *targets = source.clips[0].read[:5]
        shown = torch.stack([item.reference, *item.target])
        stored = torch.from_numpy(source.clips[0].pictures[[reference, *targets]])
        torch.testing.assert_close(
            rearrange((shown + 1) * 127.5, "n c h w -> n h w c"), stored.float(), atol=1e-3, rtol=0
        )
        assert len(set(np.diff(targets))) == 1
        assert len(source.clips[0].read) == 5  # nothing is decoded twice


def marked_clip(make: Any, seed: int, *, mark: int) -> Any:
    """Dark noise, and the mouth's own box at level `mark`; eyes and mouth close, so that boxes overlap."""
    clip = make.clip(seed)
    rng = np.random.default_rng(seed)
    points = clip.points.copy()
    points[:, MOUTH] += np.array([0, -rng.uniform(0, 0.2) * SIZE], dtype=np.float32)
    pictures = clip.pictures // 4
    for picture, face in zip(pictures, points[:, MOUTH], strict=True):
        (x0, y0), (x1, y1) = np.floor(face.min(axis=0)).astype(int), np.ceil(face.max(axis=0)).astype(int)
        picture[max(y0, 0) : y1 + 1, max(x0, 0) : x1 + 1] = mark
    return replace(clip, points=points, pictures=pictures)


@pytest.mark.parametrize("samples", [250, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_mouth_pixel_reaches_the_driving_picture_of_the_eyes(make: Any, samples: int) -> None:
    """The mouth is white, all else dark, and no change of colours is drawn."""
    source = make.source([marked_clip(make, seed, mark=255) for seed in range(20)])
    config = DataConfig(
        mix=VISUAL,
        face_dropout=EYES_ONLY,
        null_rate=0,
        augment=AugmentConfig(jitter_rate=0),
        substitute=PLAIN.updated(elastic_rate=0.3, smooth_rate=0.1, degrade_rate=0.1),
    )
    data = make.data(config, source)
    brightest = torch.stack([data[i].driving.max() for i in range(samples)])
    assert brightest.max() <= 65 / 255
    assert (brightest > 0).float().mean() > 0.95  # eyes are in sight
    both = make.data(config.updated(face_dropout={"nothing": 0, "eyes": 0, "mouth": 0, "both": 1}), source)
    assert all(both[i].driving.max() > 0.99 for i in range(20))


def test_the_driving_picture_does_not_depend_on_mouth_pixels(make: Any) -> None:
    """Everything is drawn: filters, another clip's colours, bends, stretches; the target itself drives."""
    sources = [make.source([marked_clip(make, 0, mark=mark), make.clip(1)]) for mark in (20, 255)]
    config = DataConfig(mix=VISUAL, face_dropout=EYES_ONLY, null_rate=0, substitute=BOLD).updated(
        augment={"jitter_rate": 0.5, "grayscale_rate": 0.3}, clip_frames=2
    )
    one, other = (make.data(config, source) for source in sources)
    shown = [i for i in range(40) if one.clip(i) == 0]
    assert len(shown) == 20
    for i in shown:
        assert torch.equal(one[i].driving, other[i].driving)
        assert not torch.equal(one[i].target, other[i].target)


def test_eye_tokens_cover_all_that_the_eyes_show(make: Any) -> None:
    config = DataConfig(mix=VISUAL, face_dropout=EYES_ONLY, null_rate=0)
    data = make.data(config)
    for i in range(50):
        item = data[i]
        seen = rearrange(item.driving[:, 0] > 0, "f (h p) (w q) -> f (h w) (p q)", p=16, q=16).any(dim=-1)
        assert not (seen & ~item.eyes).any()
        assert item.mask_active


def test_eye_pixels_never_lie_where_the_target_s_mouth_is_drawn(make: Any) -> None:
    source = make.source([marked_clip(make, seed, mark=0) for seed in range(10)])
    config = plain(mix=VISUAL, face_dropout=EYES_ONLY, augment={"warp_rate": 1})
    data = make.data(config, source)
    for i in range(100):
        item = data[i]
        clip = source.clips[data.clip(i)]
        (frame,) = _target_frames(clip, item)
        (x0, y0), (x1, y1) = (f(clip.points[frame, MOUTH], 0) for f in (np.min, np.max))
        inside = item.driving[0, :, max(0, int(y0)) : int(y1) + 1, max(0, int(x0)) : int(x1) + 1]
        assert not inside.any()


def _target_frames(clip: Any, item: Any) -> list[int]:
    """The numbers of an item's targets, found by the first row of their noise."""
    stored = torch.from_numpy(clip.pictures[:, 0]).float() / 127.5 - 1
    rows = rearrange(item.target[:, :, 0], "f c w -> f 1 w c")
    return (stored - rows).abs().sum(dim=(2, 3)).argmin(dim=1).tolist()


def test_the_driving_picture_is_luma_in_the_patches_and_black_outside(make: Any) -> None:
    config = plain(
        mix=VISUAL,
        face_dropout={"nothing": 0, "eyes": 0, "mouth": 0, "both": 1},
        patch=PatchConfig(divisor_min=10, divisor_max=10),
    )
    source = make.source([make.clip(0)])
    item = make.data(config, source)[0]
    clip = source.clips[0]
    (frame,) = _target_frames(clip, item)
    luma = clip.pictures[frame].astype(np.float64) @ np.array(LUMA) / 255
    expected = np.zeros((SIZE, SIZE))
    for group in ([*range(17, 22), *range(36, 42)], [*range(22, 27), *range(42, 48)], MOUTH):
        centre = clip.points[frame, group].mean(axis=0)
        low = np.floor(centre - SIZE / 10 + 0.5).astype(int)
        high = np.ceil(centre + SIZE / 10 - 0.5).astype(int)
        box = (slice(max(low[1], 0), high[1] + 1), slice(max(low[0], 0), high[0] + 1))
        expected[box] = luma[box]
    for channel in item.driving[0].numpy():
        np.testing.assert_allclose(channel, expected, atol=1e-5)


def test_undriven_mouths_have_no_weight_in_the_visual_mode_and_all_else_has_one(make: Any) -> None:
    config = DataConfig.for_stage(1)
    data = make.data(config)
    seen = set()
    for i in range(80):
        item, regions = data[i], data.condition(i).regions
        if "mouth" in regions or item.null:
            assert (item.loss_weight == 1).all()
        else:
            clip = data.source.clips[data.clip(i)]
            frame = _target_frames(clip, item)[0]
            expected = _dilated_mouth(clip.points[frame], item)
            assert torch.equal(item.loss_weight[0, 0] == 0, expected)
            assert set(item.loss_weight.unique().tolist()) == {0, 1}
        seen.add((tuple(sorted(regions)), item.null))
    assert len(seen) >= 6


def _dilated_mouth(face: np.ndarray, item: Any) -> torch.Tensor:
    """Latents that the drawn mouth touches, and their neighbours, worked out pixel by pixel.

    The square's size is drawn, so the one that fits is looked for: it must also give the item's tokens.
    """
    points = face[MOUTH].astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    tight = ((low + high) / 2 - 0.6 * (high - low), (low + high) / 2 + 0.6 * (high - low))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    fits = []
    for divisor in range(8, 17):
        square = (points.mean(axis=0) - SIZE / divisor, points.mean(axis=0) + SIZE / divisor)
        pixels = np.zeros((SIZE, SIZE), bool)
        for (x0, y0), (x1, y1) in (tight, square):
            pixels |= (columns > x0 - 0.5) & (columns < x1 + 0.5) & (rows > y0 - 0.5) & (rows < y1 + 0.5)
        if np.array_equal(_touched(pixels, 16).flatten(), item.mouth[0].numpy()):
            touched = np.pad(_touched(pixels, 8), 1)
            side = SIZE // 8
            shifted = [touched[y : y + side, x : x + side] for y in range(3) for x in range(3)]
            fits.append(torch.from_numpy(np.any(shifted, axis=0)))
    return next((fit for fit in fits if torch.equal(fit, item.loss_weight[0, 0] == 0)), fits[0])


def _touched(pixels: np.ndarray, stride: int) -> np.ndarray:
    return pixels.reshape(SIZE // stride, stride, SIZE // stride, stride).any(axis=(1, 3))


@pytest.mark.parametrize("mode", ["audio", "mixed"])
def test_with_sound_the_whole_picture_has_weight(make: Any, mode: str) -> None:
    shares = {"visual": 0, "audio": 0, "mixed": 0, mode: 1}
    data = make.data(DataConfig(mix=MixConfig(**shares), null_rate=0))
    for i in range(20):
        item = data[i]
        assert item.mode == mode
        assert item.has_audio
        assert (item.loss_weight == 1).all()
        assert item.mask_active == (mode == "mixed")
        assert item.driving.any() == (mode == "mixed")


def test_augmentation_is_the_same_for_all_frames(make: Any) -> None:
    clip = make.clip(0)
    clip.points[:] = clip.points[0]
    clip.pictures[:] = clip.pictures[0]
    config = DataConfig.for_stage(3).updated(null_rate=0, substitute=BOLD, clip_frames=4)
    data = make.data(config.updated(augment={"jitter_rate": 1}), make.source([clip, make.clip(1)]))
    shown = [item for item in (data[i] for i in range(24)) if item.driving.any()]
    assert len(shown) > 8
    still = [item for item in shown if torch.equal(item.target, item.target[:1].expand_as(item.target))]
    assert len(still) > 3
    for item in still:
        assert torch.equal(item.driving, item.driving[:1].expand_as(item.driving))
        assert torch.equal(item.eyes, item.eyes[:1].expand_as(item.eyes))


def test_patches_stay_in_place_over_a_clip_or_follow_the_face(make: Any) -> None:
    for per, moves in (("clip", False), ("frame", True)):
        config = plain(clip_frames=16, patch={"per": per}, mix={"visual": 0, "audio": 0, "mixed": 1})
        data = make.data(config)
        shown = [(data[i].driving > 0)[:, 0] for i in range(5)]
        assert any(not torch.equal(s, s[:1].expand_as(s)) for s in shown) or not moves
        if not moves:  # noise has a few black pixels: look at the outline
            outlines = [torch.stack([s.any(dim=1).float(), s.any(dim=2).float()]) for s in shown]
            assert all(torch.equal(o, o[:, :1].expand_as(o)) for o in outlines)


def test_null_samples_show_and_hear_nothing(make: Any) -> None:
    data = make.data(DataConfig(null_rate=0.5))
    null = [item for item in (data[i] for i in range(40)) if item.null]
    assert len(null) > 10
    for item in null:
        assert not item.driving.any()
        assert not item.audio.any()
        assert not item.has_audio
        assert not item.mask_active
        assert (item.loss_weight == 1).all()


def test_an_own_driver_is_shown_in_place_of_the_target(make: Any) -> None:
    clip = make.clip(0, driver=np.full((40, SIZE, SIZE, 3), 102, np.uint8))
    mixed = {"visual": 0, "audio": 0, "mixed": 1}
    shown = make.data(plain(mix=mixed), make.source([clip]))[0].driving
    torch.testing.assert_close(shown[shown > 0].unique(), torch.tensor([0.4]), atol=1e-4, rtol=0)
    own = make.data(plain(mix=mixed, substitute={"driver_rate": 0}), make.source([clip]))[0].driving
    assert len(own.unique()) > 50


def test_clips_without_sound_are_for_the_visual_mode_and_do_not_change_the_mix(make: Any) -> None:
    source = make.source([make.clip(i) for i in range(6)])
    quiet = {1, 4, 5}
    source.rows[:] = [
        replace(row, has_audio=False, audio_features=None) if i in quiet else row
        for i, row in enumerate(source.rows)
    ]
    config = DataConfig(null_rate=0)
    some, all_heard = make.data(config, source), make.data(config)
    modes = [some.condition(i).mode for i in range(500)]
    assert modes == [all_heard.condition(i).mode for i in range(500)]
    by_mode = {mode: {some.clip(i) for i in range(500) if modes[i] == mode} for mode in set(modes)}
    assert by_mode == {"visual": set(range(6)), "audio": {0, 2, 3}, "mixed": {0, 2, 3}}


def test_log_mel_is_what_animate_hears_parity(make: Any) -> None:
    frames = 40
    sound = np.random.default_rng(0).normal(0, 0.1, frames * 640).astype(np.float32)
    clip = make.clip(0, mel=log_mel(sound).numpy().astype(np.float16))
    source = make.source([clip])
    torch.manual_seed(0)
    encoder = LogMelEncoder(NANO).eval()
    track = encoder.track(sound, video_fps=Fraction(25), frames=frames)
    data = make.data(plain(clip_frames=3, mix={"visual": 0, "audio": 1, "mixed": 0}), source)
    for i in range(8):
        item = data[i]
        wanted = track.tokens(torch.tensor(_target_frames(clip, item)))
        torch.testing.assert_close(encoder(item.audio), wanted, atol=5e-3, rtol=0)  # stored as float16


@pytest.mark.parametrize("edges", ["clamp", "zeros"])
def test_whisper_tokens_are_what_animate_hears_parity(make: Any, edges: Any) -> None:
    model = NANO.updated(audio=AudioConfig(edges=edges))
    clip = make.clip(0)
    source = make.source([clip], audio_features="whisper", video_fps=30000 / 1001)
    states = torch.from_numpy(clip.states).float()
    index = whisper_steps(40, video_fps=Fraction(30000, 1001), steps=len(states), edges=edges)
    track = AudioTrack(with_zero_state(states), index)
    config = plain(clip_frames=3, mix={"visual": 0, "audio": 1, "mixed": 0})
    data = make.data(config.updated(sound=SoundAugmentConfig()), source, model=model)
    for i in range(8):
        item = data[i]
        assert torch.equal(item.audio, track.tokens(torch.tensor(_target_frames(clip, item))))


def test_stored_latents_take_the_place_of_pictures(make: Any) -> None:
    clip = make.clip(0, moments=np.random.default_rng(0).normal(size=(40, 4, 8, 8)).astype(np.float16))
    audio = {"visual": 0, "audio": 1, "mixed": 0}
    data = make.data(plain(clip_frames=3, mix=audio), make.source([clip]))
    item = data[0]
    assert item.reference is None
    assert item.target is None
    assert item.reference_latent.shape == (4, 8, 8)
    assert item.target_latent.shape == (3, 4, 8, 8)
    assert item.target_latent.dtype == torch.float32
    assert clip.read == []
    stored = torch.from_numpy(clip.moments).float()
    assert all((stored == latent).all(dim=(1, 2, 3)).any() for latent in item.target_latent)
    pictures = make.data(plain(latents=False), make.source([clip]))[0]
    assert pictures.target_latent is None
    assert pictures.target is not None


def test_pictures_are_read_where_one_clip_has_no_latents(make: Any) -> None:
    with_latents = make.clip(0, moments=np.zeros((40, 4, 8, 8), np.float16))
    data = make.data(plain(), make.source([with_latents, make.clip(1)]))
    assert all(item.target is not None for item in islice((data[i] for i in range(9)), 9))


@pytest.mark.parametrize(
    ("config", "rows", "message"),
    [
        (DataConfig(), {"size_px": 128}, r"clip-000.* is 128 px, but the model's native size is 64 px"),
        (DataConfig(), {"has_audio": False}, r"90% of the samples .* none of the 5 clips"),
        (DataConfig(), {"audio_features": "whisper"}, r"features 'whisper', but the model reads 'log-mel'"),
        (DataConfig(), {"audio_features": None}, r"features 'none', but the model reads 'log-mel'"),
        (DataConfig(clip_frames=50), {}, r"takes 50 frames, but the longest of 5 clips has 40"),
    ],
)
def test_data_that_does_not_fit_is_one_error(
    make: Any, config: DataConfig, rows: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make.data(config, **rows)


def test_sound_is_not_asked_for_where_nothing_hears(make: Any) -> None:
    data: TrainingData = make.data(DataConfig.for_stage(1), has_audio=False, audio_features=None)
    assert not data[0].has_audio


def test_latents_of_another_autoencoder_are_one_error(make: Any) -> None:
    clip = make.clip(0, moments=np.zeros((40, 8, 8, 8), np.float16))
    with pytest.raises(ConfigError, match=r"clip-000' are 8 x 8 x 8, the model's 4 x 8 x 8"):
        make.data(plain(), make.source([clip]))[0]
