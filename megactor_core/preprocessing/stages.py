"""The stages that turn a clip into a sample, in order, from a configuration."""

import hashlib
import json
from pathlib import Path
from typing import Any

from megactor_core.config.preprocess import PreprocessConfig, settings_of_samples
from megactor_core.data.sample import SAMPLES
from megactor_core.engine.stage import Stage
from megactor_core.preprocessing.cut import Cut
from megactor_core.preprocessing.features import Features
from megactor_core.preprocessing.latents import Latents
from megactor_core.preprocessing.networks import autoencoder_folder, weights_version, whisper_folder
from megactor_core.preprocessing.publish import Publish
from megactor_core.preprocessing.track import Track
from megactor_core.version import megactor_version

CODE_VERSIONS = {"track": 3, "cut": 2, "features": 1, "latents": 1, "publish": 1}
"""Raise a stage's number when the same clip would come out of it differently."""


def make_stages(config: PreprocessConfig, output: Path) -> list[Stage]:
    """track, cut, features, latents if wanted, publish; raises WeightsError for missing weights."""
    whisper, autoencoder = whisper_folder(config), autoencoder_folder(config)
    samples = output.absolute() / SAMPLES
    settings = _digest(settings_of_samples(config))

    def version(stage: str, *, weights: Path | None = None) -> str:
        return f"{CODE_VERSIONS[stage]}-{settings}" + (f"-{weights_version(weights)}" if weights else "")

    versions = {
        "megactor": megactor_version(),
        "track": version("track"),
        "cut": version("cut"),
        "features": version("features", weights=whisper),
        **({} if autoencoder is None else {"latents": version("latents", weights=autoencoder)}),
    }
    stages: list[Stage] = [
        Track(config, samples, version=versions["track"]),
        Cut(config, samples, version=versions["cut"]),
        Features(config, samples, version=versions["features"], whisper=whisper),
    ]
    if autoencoder is not None:
        stages.append(Latents(config, samples, version=versions["latents"], autoencoder=autoencoder))
    stages.append(Publish(config, samples, versions=versions, version=version("publish")))
    return stages


def _digest(values: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=6).hexdigest()
