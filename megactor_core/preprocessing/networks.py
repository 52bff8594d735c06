"""The networks whose outputs a sample may hold: where their weights are, and what they are known by."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch

from megactor_core import weights
from megactor_core.config.base import nearest
from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.errors import WeightsError
from megactor_core.files import sha256_of
from megactor_core.models.autoencoder import Autoencoder, load_kl
from megactor_core.models.checkpoint import MANIFEST, load_checkpoint_autoencoder
from megactor_core.weights_registry import REGISTRY

SCALING_IS_NOT_STORED: Final = 1.0
"""Latents are stored unscaled, so an autoencoder read for them alone needs no factor."""


def whisper_folder(config: PreprocessConfig) -> Path | None:
    """The folder of Whisper's weights, None where they are not needed; raises WeightsError."""
    return _folder(config.whisper, setting="whisper") if config.audio_features == "whisper" else None


def autoencoder_folder(config: PreprocessConfig) -> Path | None:
    """The folder of the autoencoder, None where it is not needed; raises WeightsError."""
    return _folder(config.autoencoder, setting="autoencoder") if config.latents else None


def load_autoencoder(folder: Path) -> Autoencoder:
    """A checkpoint's own autoencoder, or an AutoencoderKL by itself; raises WeightsError."""
    if (folder / MANIFEST).is_file() and not (folder / "diffusion_pytorch_model.safetensors").is_file():
        return load_checkpoint_autoencoder(folder)
    return Autoencoder(load_kl(folder), scaling_factor=SCALING_IS_NOT_STORED)


def weights_version(folder: Path | None) -> str:
    """What the weights in a folder are known by: a change of any of them changes what was made with them."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(folder.glob("*.safetensors")) if folder is not None else ():
        digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


@contextmanager
def repeatable() -> Iterator[None]:
    """Compute so that sums come out the same whatever the number of workers and cores, and in full float32.

    On a CPU that is one thread, on a CUDA device no TF32 and no choice of algorithms by speed.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(threads)


def _folder(name: str, *, setting: str) -> Path:
    if name in REGISTRY:
        return weights.find(name)
    if not Path(name).is_dir():
        raise WeightsError(
            f"{setting} is '{name}', which is neither a folder nor known weights;",
            fix=nearest(name, list(REGISTRY)),
        )
    return Path(name).absolute()
