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

pytestmark = pytest.mark.slow  # whole runs


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


@pytest.mark.parametrize("offload", ["parts", "blocks"])
def test_offload_changes_no_number(latents_of: Any, config: AnimateConfig, offload: str) -> None:
    np.testing.assert_array_equal(latents_of(config.updated(offload=offload)), latents_of(config))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
def test_compiled_blocks_agree_through_the_whole_run(
    latents_of: Any, config: AnimateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masked and not, guided and not, with reference and without: nothing falls back to being uncompiled."""
    import torch._dynamo.config

    monkeypatch.setattr(torch._dynamo.config, "fail_on_recompile_limit_hit", True)
    config = config.updated(steps=2, regions=("eyes",), window={"frames": 15, "shift": 0})
    plain, compiled = latents_of(config), latents_of(config.updated(compile=True))
    np.testing.assert_allclose(compiled, plain, rtol=0, atol=1e-5 * np.abs(plain).max())


def test_compiling_cannot_go_with_weights_that_come_and_go() -> None:
    with pytest.raises(ValueError, match="compile cannot go with offload = blocks"):
        AnimateConfig(compile=True, offload="blocks")


def test_guidance_acts_in_its_interval_alone(latents_of: Any, config: AnimateConfig) -> None:
    def latents(**settings: Any) -> np.ndarray:
        return np.array(latents_of(config.updated(**settings)))

    unguided = latents(guidance=1.0)
    np.testing.assert_array_equal(latents(guidance_interval=(0.99, 1.0)), unguided)
    np.testing.assert_array_equal(latents(guidance_interval=(0.0, 1.0)), latents())
    middle = latents(guidance_interval=(0.3, 0.6))
    assert np.abs(middle - unguided).max() > 1e-3
    assert np.abs(middle - latents()).max() > 1e-3


def test_an_interval_without_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match=r"guidance_interval = \[0.5, 0.5\] holds no step"):
        AnimateConfig(guidance_interval=(0.5, 0.5))


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
