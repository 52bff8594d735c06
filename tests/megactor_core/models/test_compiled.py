"""Compiled blocks: the same numbers but for rounding, in the whole model and for windows of any length."""

import copy
import os
import subprocess
import sys

import pytest
import torch

from megactor_core.config.model import ModelConfig
from megactor_core.errors import ConfigError
from megactor_core.models import compiled
from megactor_core.models.compiled import compile_blocks
from megactor_core.models.sigma import Sigma

CPU = torch.device("cpu")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
def test_compiled_blocks_give_the_same_but_for_rounding_in_bfloat16() -> None:
    """Float32 goes through a whole run in test_denoise."""
    dtype, most = torch.bfloat16, 2e-2
    torch.manual_seed(0)
    sigma = Sigma(ModelConfig.preset("nano")).eval()
    with torch.no_grad():
        for parameter in sigma.parameters():
            parameter.normal_(std=0.05)
    fast = copy.deepcopy(sigma).to(dtype)
    compile_blocks(fast, CPU)
    config, frames, side = sigma.config, 4, 8
    latents, t = torch.randn(1, frames, config.latent_channels, side, side), torch.tensor([300])
    inputs = {
        "reference_latent": torch.randn(1, config.latent_channels, side, side),
        "driving": torch.rand(1, frames, 3, 8 * side, 8 * side),
        "audio": torch.randn(1, frames, config.audio.tokens, config.audio.width),
    }
    with torch.no_grad():
        plain = sigma(latents, t, **inputs)
        quick = fast(latents.to(dtype), t, **{name: value.to(dtype) for name, value in inputs.items()})
    assert (quick.float() - plain).abs().max() <= most * plain.abs().max()


def test_what_cannot_be_compiled_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_work: object) -> object:
        raise RuntimeError("No working C++ compiler found\nin a long trace")

    monkeypatch.setattr(compiled.torch, "compile", refuse)
    with pytest.raises(
        ConfigError, match="nothing can be compiled for cpu: No working C\\+\\+ compiler found"
    ):
        compile_blocks(Sigma(ModelConfig.preset("nano")), CPU)


def test_the_compiler_is_not_loaded_where_nobody_asks() -> None:
    code = "import sys, megactor_core.animation.animate; print('torch._inductor.compile_fx' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert run.stdout.strip() == "False"
