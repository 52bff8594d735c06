"""Put a trained checkpoint into the package: python recipes/scripts/embed_default.py FINAL CARD

FINAL is the checkpoint that recipes/scripts/train-default.sh ends with, CARD the text that goes with it.
Sigma and the audio encoder are stored in bfloat16, which halves the package; the autoencoder stays float32.
"""

import shutil
import sys
from pathlib import Path

import torch

from megactor_core.config.model import ModelConfig
from megactor_core.models.checkpoint import load_checkpoint, save_checkpoint

ASSETS = Path(__file__).parents[2] / "megactor_core" / "assets"
NAME = "sigma-tiny"
DOMAIN = "synthetic faces alone, before plain backgrounds: a photograph is outside what it has seen"


def main(final: Path, card: Path) -> None:
    checkpoint, text = load_checkpoint(final), card.read_text(encoding="utf-8")
    model = checkpoint.config.updated(sampling=ModelConfig.preset("tiny").sampling.model_dump())
    shutil.rmtree(ASSETS / NAME, ignore_errors=True)
    save_checkpoint(
        ASSETS / NAME,
        info=checkpoint.info.updated(name=NAME, domain=DOMAIN, model=model.model_dump()),
        sigma=checkpoint.sigma.to(torch.bfloat16),
        autoencoder=checkpoint.autoencoder.network,
        audio_encoder=checkpoint.audio_encoder.to(torch.bfloat16),
        card=text,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
