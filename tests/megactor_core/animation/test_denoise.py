"""The denoising loop on known conditions: the null branch, and batches that change nothing."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import megactor_core.animation.animate as animate_module
from megactor_core.animation.animate import animate
from megactor_core.animation.denoise import denoise
from megactor_core.animation.store import FrameFile
from megactor_core.config.animate import AnimateConfig
from megactor_core.models.dit import Denoiser


@pytest.fixture
def config(media: Path, speaking_checkpoint: Path, tmp_path: Path) -> AnimateConfig:
    return AnimateConfig(
        reference=media / "portrait.png",
        driving=media / "driver.mp4",
        audio=media / "speech.wav",
        checkpoint=speaking_checkpoint,
        output=tmp_path / "out.mp4",
        steps=3,
        guidance=1.5,
        window={"frames": 7},
        fps=Fraction(25),
    )


@pytest.fixture
def latents_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Animate and return the clean latents (F, C, H, W) before they are decoded."""
    kept: list[np.ndarray] = []

    def keep(sigma: Any, conditions: Any, *rest: Any) -> FrameFile:
        file = denoise(sigma, conditions, *rest)
        kept.append(file.read(0, conditions.frames))
        return file

    monkeypatch.setattr(animate_module, "denoise", keep)

    def latents_of(config: AnimateConfig) -> np.ndarray:
        animate(config)
        return kept[-1]

    return latents_of


@pytest.mark.parametrize("scheme", ["shift", "overlap"])
def test_window_batch_1_and_4_agree(latents_of: Any, config: AnimateConfig, scheme: str) -> None:
    config = config.updated(window={"frames": 7, "scheme": scheme, "overlap": 3})
    one, four = latents_of(config), latents_of(config.updated(window_batch=4))
    assert one.std() > 0.5
    np.testing.assert_allclose(one, four, rtol=0, atol=1e-5 * max(1, np.abs(one).max()))


def test_the_null_branch_knows_nothing(
    config: AnimateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the portrait, the driver nor the sound changes the unconditional prediction."""
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    outputs: dict[str, list[torch.Tensor]] = {"null": [], "conditional": []}
    forward = Denoiser.forward

    def record(self: Denoiser, *args: Any, **kwargs: Any) -> torch.Tensor:
        output = forward(self, *args, **kwargs)
        outputs["null" if kwargs["reference"] is None else "conditional"].append(output)
        return output

    monkeypatch.setattr(Denoiser, "forward", record)
    common = config.updated(guidance=0.0, steps=1, initial_latents="noise", seconds=0.2)
    animate(common)
    animate(common.updated(crop={"top": 1.0}, driving=None, audio=tmp_path / "noise.wav"))
    assert len(outputs["null"]) == len(outputs["conditional"]) == 2
    assert not torch.equal(*outputs["conditional"])
    assert torch.equal(*outputs["null"])
