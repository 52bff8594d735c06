"""Clips side by side: every tile in its place, as long as the shortest, made once."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from megactor_core.demo.montage import Montage, Tile, moments
from megactor_core.media.image import write_image
from megactor_core.media.video import read_video
from megactor_core.media.video_writer import VideoWriter

FPS = Fraction(25)


def film(path: Path, *, grey: int, frames: int, width: int = 32, height: int = 32) -> Path:
    """Grey frames, each two levels lighter than the one before."""
    with VideoWriter(path, video_fps=FPS, width=width, height=height) as writer:
        for number in range(frames):
            writer.write(np.full((height, width, 3), grey + 2 * number, dtype=np.uint8))
    return path


@pytest.fixture
def montage(tmp_path: Path) -> Montage:
    still = np.full((40, 24, 3), 200, dtype=np.uint8)
    write_image(tmp_path / "still.png", still)
    return Montage(
        output=tmp_path / "side-by-side" / "all.mp4",
        tiles=(
            Tile("still", tmp_path / "still.png"),
            Tile("long", film(tmp_path / "long.mp4", grey=30, frames=8, width=64)),
            Tile("short", film(tmp_path / "short.mp4", grey=100, frames=5)),
        ),
        sound=None,
        video_fps=FPS,
        tile_px=32,
    )


def test_tiles_stand_in_order_and_end_with_the_shortest(montage: Montage) -> None:
    frames = np.stack(list(read_video(montage.make())))
    assert frames.shape == (5, 32, 96, 3)
    means = frames[:, 4:28].reshape(5, 24, 3, 32, 3)[:, :, :, 4:28].mean(axis=(1, 3, 4))
    expected = np.stack([np.full(5, 200), 30 + 2 * np.arange(5), 100 + 2 * np.arange(5)], axis=1)
    np.testing.assert_allclose(means, expected, atol=3)
    assert montage.captions == ("still", "long", "short")


def test_it_is_made_again_only_when_a_tile_is_newer(montage: Montage) -> None:
    path = montage.make()
    made = path.stat()
    os.utime(montage.tiles[2].source, ns=(made.st_mtime_ns, made.st_mtime_ns - 1))
    montage.make()
    assert path.stat().st_ino == made.st_ino
    os.utime(montage.tiles[2].source, ns=(made.st_mtime_ns, made.st_mtime_ns + 1))
    montage.make()
    assert path.stat().st_ino != made.st_ino


def test_moments_are_spread_over_the_frames_asked_for(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4", grey=20, frames=30, width=48)
    shown = moments(path, video_fps=FPS, count=4, last=10)
    assert [frame.shape for frame in shown] == [(32, 32, 3)] * 4
    np.testing.assert_allclose([frame.mean() for frame in shown], [20, 26, 32, 38], atol=2)
