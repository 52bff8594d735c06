"""Held-out frames through the autoencoder: what comes back, and the figure beside it."""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from megactor_core.config.train import TrainConfig
from megactor_core.data.sample import IndexRow
from megactor_core.listener import Listener
from megactor_core.metrics.picture import psnr
from megactor_core.training.autoencoder import new_autoencoder
from megactor_core.training.held_out import CLIP_FRAMES
from megactor_core.training.held_out_pictures import MODE, HeldOutPictures

SIDE = 64
CPU = torch.device("cpu")


class Grounds:
    """Clips of plain colours that change from frame to frame; the last is short."""

    def __init__(self) -> None:
        lengths = (CLIP_FRAMES + 4, CLIP_FRAMES + 4, 5)
        facts = {"identity": "i", "split": "validation", "source_uri": "x.mp4", "status": "ok"}
        self.rows = [IndexRow(sample_id=f"clip-{i}", frames=n, **facts) for i, n in enumerate(lengths)]

    def open(self, number: int) -> SimpleNamespace:
        def read_frames(indices: Sequence[int]) -> np.ndarray:
            shades = [np.full((SIDE, SIDE, 3), 40 * number + 5 * i, np.uint8) for i in indices]
            return np.stack(shades)

        return SimpleNamespace(read_frames=read_frames)


def held_out(clips: int) -> tuple[HeldOutPictures, torch.nn.Module]:
    config = TrainConfig.build(
        {"stage": "autoencoder", "preset": "nano", "validation_clips": clips}, source="test"
    )
    autoencoder = new_autoencoder(config).autoencoder
    assert autoencoder is not None
    return HeldOutPictures(Grounds(), config, autoencoder), autoencoder.network


def test_frames_come_back_with_their_figure() -> None:
    pictures, _ = held_out(clips=9)
    seen = []
    decoded = pictures.animate(CPU, Listener(lambda *step: seen.append(step)))
    assert [(clip.name, len(clip.target)) for clip in decoded] == [
        ("clip-0", CLIP_FRAMES),
        ("clip-1", CLIP_FRAMES),
        ("clip-2", 5),
    ]
    assert [step[1:] for step in seen] == [(1, 3), (2, 3), (3, 3)]
    for clip in decoded:
        frames = clip.animated[MODE]
        assert frames.shape == clip.target.shape
        assert frames.dtype == np.uint8
        assert clip.psnr_db[MODE] == pytest.approx(float(psnr(clip.target, frames).mean()))
        assert clip.psnr_db[MODE] > 30  # plain grounds are in the fixed basis


def test_the_weights_as_they_are_count() -> None:
    pictures, network = held_out(clips=1)
    before = pictures.animate(CPU, Listener())[0].psnr_db[MODE]
    with torch.no_grad():
        network.decode_linear.weight.mul_(0.5)
    assert pictures.animate(CPU, Listener())[0].psnr_db[MODE] < before - 3
