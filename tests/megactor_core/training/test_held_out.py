"""Held-out clips animated while training: the same clip in every mode, the same pictures every time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from megactor_core.config.train import TrainConfig
from megactor_core.data.sample import IndexRow
from megactor_core.errors import ConfigError
from megactor_core.listener import Listener
from megactor_core.media.image import read_image
from megactor_core.media.video import read_video
from megactor_core.training.held_out import CLIP_FRAMES, AnimatedClip, HeldOutClips
from megactor_core.training.held_out_grid import mean_psnr_db, write_grid
from megactor_core.training.keeper import Validation
from megactor_core.training.start import Model, read_model
from megactor_core.training.train import train
from megactor_core.training.watch import VALIDATION, ValidationMetrics, read_metrics

SIDE, FRAMES = 64, 20
CPU = torch.device("cpu")


@dataclass
class NoisyClip:
    """A clip of noise with a face that stays where it is."""

    seed: int
    frames: int = FRAMES

    @property
    def points(self) -> np.ndarray:
        angle = np.linspace(0, 2 * np.pi, 68, endpoint=False)
        face = np.stack([32 + 18 * np.cos(angle), 32 + 18 * np.sin(angle)], axis=1)
        face[17:27] = np.stack([np.linspace(18, 46, 10), np.full(10, 20)], axis=1)
        face[36:48] = np.stack([np.linspace(20, 44, 12), np.full(12, 25)], axis=1)
        face[48:68] = np.stack([np.linspace(26, 38, 20), np.full(20, 46)], axis=1)
        return np.broadcast_to(face, (self.frames, 68, 2)).astype(np.float32)

    @property
    def found(self) -> np.ndarray:
        return np.ones(self.frames, bool)

    @property
    def log_mel(self) -> np.ndarray:
        return np.random.default_rng(self.seed).uniform(-1, 1, (80, 4 * self.frames)).astype(np.float16)

    def read_frames(self, indices: Sequence[int]) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        pictures = rng.integers(0, 256, (self.frames, SIDE, SIDE, 3), dtype=np.uint8)
        return pictures[list(indices)]


class NoisyClips:
    """Three clips; the second has no sound."""

    def __init__(self, *, heard: bool = True, frames: int = FRAMES) -> None:
        self._frames = frames
        row = IndexRow(
            sample_id="", identity="", split="validation", source_uri="", status="ok", path="",
            has_audio=heard, frames=frames, video_fps=25.0, size_px=SIDE, audio_features="log-mel",
            has_latents=False, has_driver=False,
        )  # fmt: skip
        self.rows = [replace(row, sample_id=f"clip-{i}", has_audio=heard and i != 1) for i in range(3)]

    def open(self, number: int) -> NoisyClip:
        return NoisyClip(number, self._frames)


def quick_model(folder: Path) -> Model:
    """A checkpoint that samples in two steps."""
    model = read_model(folder)
    config = model.config.updated(sampling={"steps": 2, "guidance": 2.0})
    return replace(model, info=model.info.model_copy(update={"model": config}))


@pytest.fixture
def open_clips(make_config, make_nano) -> Callable[..., HeldOutClips]:
    def make(stage: int = 2, source: NoisyClips | None = None, **changes: object) -> HeldOutClips:
        config: TrainConfig = make_config(stage, **changes)
        return HeldOutClips(source or NoisyClips(), config, quick_model(make_nano(stage=stage)))

    return make


def test_a_clip_is_animated_in_every_mode_and_the_same_every_time(open_clips) -> None:
    clips = open_clips(validation_clips=1)
    first, again = (clips.animate(CPU, Listener()) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert list(one.animated) == ["A", "V", "A+V"]
        assert one.target.shape == (CLIP_FRAMES, SIDE, SIDE, 3)
        for mode, frames in one.animated.items():
            assert (frames == other.animated[mode]).all()
            assert frames.shape == one.target.shape
        assert not (one.animated["A"] == one.animated["V"]).all()
        assert not (one.animated["A"] == one.animated["A+V"]).all()


def test_the_target_is_consecutive_frames_of_the_clip(open_clips) -> None:
    (clip,) = open_clips(validation_clips=1).animate(CPU, Listener())
    stored = NoisyClip(int(clip.name[-1])).read_frames(range(FRAMES))
    starts = [i for i in range(FRAMES - CLIP_FRAMES + 1) if (stored[i] == clip.target[0]).all()]
    assert len(starts) == 1
    assert (stored[starts[0] : starts[0] + CLIP_FRAMES] == clip.target).all()


def test_all_modes_draw_from_the_clips_that_can_be_heard(open_clips) -> None:
    assert [open_clips(stage, validation_clips=9).count for stage in (1, 2)] == [3, 2]


@pytest.mark.parametrize(("stage", "source"), [(1, NoisyClips()), (2, NoisyClips(heard=False))])
def test_without_sound_there_is_one_mode(stage: int, source: NoisyClips, open_clips) -> None:
    (clip,) = open_clips(stage, source, validation_clips=1).animate(CPU, Listener())
    assert list(clip.animated) == ["V"]


def test_clips_that_are_too_short(open_clips) -> None:
    with pytest.raises(ConfigError, match="A sample takes 16 frames, but the longest of 2 clips has 9"):
        open_clips(2, NoisyClips(frames=9))


def test_the_grid_moves_and_has_a_sheet(tmp_path) -> None:
    target = NoisyClip(0).read_frames(range(CLIP_FRAMES))
    clips = [
        AnimatedClip(f"clip-{i}", target[0], target, {"A": target, "V": target}, {"A": 10.0 * i, "V": 30.0})
        for i in (1, 2)
    ]
    video = write_grid(clips, tmp_path / "validation", step=7)
    assert video.name == "step-00000007.mp4"
    frames = list(read_video(video))
    assert len(frames) == CLIP_FRAMES
    sheet = read_image(video.with_suffix(".png"))
    assert sheet.shape[1] > frames[0].shape[1]
    assert mean_psnr_db(clips) == {"A": 15, "V": 30}


def test_watching_changes_nothing(make_config, fake_source, open_clips, make_nano, tmp_path) -> None:
    settings = {"steps": 2, "validate_every": 2, "validation_samples": 4, "checkpoint_every": 2}
    plain = make_config(2, output=tmp_path / "plain", **settings)
    watched = plain.updated(output=tmp_path / "watched", validation_clips=1)
    train(plain, source=fake_source(stage=2))
    clips = HeldOutClips(NoisyClips(), watched, quick_model(make_nano(stage=1)))
    train(watched, source=fake_source(stage=2), validation=Validation(fake_source(stage=2, seed=1), clips))
    for name in ("sigma.safetensors", "audio_encoder.safetensors"):
        one, other = (config.folder / "final" / name for config in (plain, watched))
        assert one.read_bytes() == other.read_bytes()
    lines = read_metrics(watched.folder / VALIDATION, ValidationMetrics)
    assert [sorted(line.psnr_db or {}) for line in lines] == [[], ["A", "A+V", "V"]]
    names = {path.name for path in (watched.folder / "validation").iterdir()}
    assert names == {f"step-00000002.{kind}" for kind in ("mp4", "png")}
