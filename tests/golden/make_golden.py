"""Writes tests/golden/animate.json: what `megactor animate` makes of the built-in example, in numbers.

Run it after a deliberate change of the result, and look at the difference: python tests/golden/make_golden.py
The checkpoint's weights are a fixed pattern, not random numbers, so the figures depend on no generator.
"""

import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from megactor_cli.app import run
from megactor_core.config.model import ModelConfig
from megactor_core.demo.example import example
from megactor_core.media.video import read_video
from megactor_core.models.audio import LogMelEncoder
from megactor_core.models.autoencoder import PatchAutoencoder
from megactor_core.models.checkpoint import CheckpointInfo, save_checkpoint
from megactor_core.models.sigma import Sigma

FILE = Path(__file__).with_name("animate.json")
MODES = {"A": ("audio",), "V": ("driving",), "A+V": ("driving", "audio")}


def fix_weights(module: nn.Module) -> None:
    """Fill every parameter with a wave over its elements at the scale of its fan-in."""
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 25
            wave = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * (1 + number % 7) + number)
            parameter.copy_((wave * math.sqrt(0.5 / fan_in)).view_as(parameter))


def save_fixed_checkpoint(folder: Path) -> None:
    config = ModelConfig.preset("nano").updated(diffusion={"prediction": "v", "learned_variance": False})
    sigma, audio_encoder = Sigma(config), LogMelEncoder(config)
    fix_weights(sigma)
    fix_weights(audio_encoder)
    save_checkpoint(
        folder,
        info=CheckpointInfo(name="fixed", trained=False, model=config),
        sigma=sigma,
        autoencoder=PatchAutoencoder(config.autoencoder),
        audio_encoder=audio_encoder,
        card="For tests.\n",
    )


def measure(folder: Path) -> dict[str, Any]:
    """Animate in every mode through the command line: mean and spread of each frame's channels."""
    save_fixed_checkpoint(folder / "checkpoint")
    given = example()
    figures: dict[str, Any] = {}
    for mode, drivers in MODES.items():
        output = folder / f"{mode}.mp4"
        arguments = [f"--{name}={getattr(given, name)}" for name in ("reference", *drivers)]
        arguments += [
            f"--checkpoint={folder / 'checkpoint'}",
            f"--output={output}",
            "--seconds=0.24",
            "--guidance=1.5",
            "--badge=off",
        ]
        code = run(
            [
                "animate",
                *arguments,
                "--steps=3",
                "--regions=eyes,mouth",
                "--alpha=0.6",
                "--audio-scale=1.3",
                "--quiet",
            ]
        )
        assert code == 0, f"animate ended with {code}"
        frames = np.stack(list(read_video(output))).astype(np.float64)
        figures[mode] = {
            "mean": frames.mean(axis=(1, 2)).round(2).tolist(),
            "std": frames.std(axis=(1, 2)).round(2).tolist(),
        }
    return figures


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        FILE.write_text(json.dumps(measure(Path(scratch)), indent=1) + "\n")
    sys.stderr.write(f"wrote {FILE}\n")
