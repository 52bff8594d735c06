"""What a run starts from: the stage before, an autoencoder and new weights, or PixArt-alpha's weights."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from megactor_core import weights
from megactor_core.config.model import ModelConfig
from megactor_core.config.train import AUTOENCODER_RUN, TrainConfig, stage_folder
from megactor_core.errors import ConfigError, WeightsError
from megactor_core.listener import Listener
from megactor_core.models.audio import LogMelEncoder
from megactor_core.models.autoencoder import Autoencoder, PatchAutoencoder
from megactor_core.models.checkpoint import (
    CONFIG,
    EMBEDDED,
    CheckpointInfo,
    draw_parts,
    load_audio_encoder,
    load_autoencoder,
    load_pixart,
    load_sigma,
    save_checkpoint,
)
from megactor_core.models.sigma import Sigma
from megactor_core.weights_registry import REGISTRY

PIXART = "pixart-alpha-512"
FINAL = "final"
AUTOENCODER = AUTOENCODER_RUN / FINAL


@dataclass(frozen=True, slots=True)
class Model:
    """All networks of a checkpoint on the CPU in float32.

    autoencoder: None where it is a public one and has not been asked for (`with_autoencoder`);
    audio_encoder: None where it is a public one, whose features the data hold already.
    """

    info: CheckpointInfo
    sigma: Sigma
    autoencoder: Autoencoder | None
    audio_encoder: LogMelEncoder | None

    @property
    def config(self) -> ModelConfig:
        return self.info.model

    def with_autoencoder(self) -> "Model":
        """The model ready to encode pictures; raises WeightsError where the public autoencoder is missing."""
        if self.autoencoder is not None:
            return self
        return replace(self, autoencoder=load_autoencoder(self.config, Path()))

    def set_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take values of parameters of Sigma and the audio encoder, by their names in training."""
        parameters = dict(self.sigma.named_parameters(prefix="sigma"))
        if self.audio_encoder is not None:
            parameters |= dict(self.audio_encoder.named_parameters(prefix="audio_encoder"))
        with torch.no_grad():
            for name, value in weights.items():
                parameters[name].copy_(value)

    def save(self, folder: Path, *, info: CheckpointInfo, card: str) -> None:
        """Write an ordinary checkpoint, with those networks in it that are this project's own."""
        network = None if self.autoencoder is None else self.autoencoder.network
        save_checkpoint(
            folder,
            info=info,
            sigma=self.sigma,
            autoencoder=network if isinstance(network, PatchAutoencoder) else None,
            audio_encoder=self.audio_encoder,
            card=card,
        )


def find_start(config: TrainConfig, listener: Listener) -> Model:
    """The model at step 0.

    Raises WeightsError where there is nothing to start from or it is damaged, and ConfigError where it is of
    another stage or size than asked for.
    """
    model = _first_model(config, listener) if config.stage == 1 else _model_of_stage_before(config)
    _require_shareable_reference(config, model.config)
    listener.note(f"Stage {config.stage} starts from {model.info.name}.")
    return model


def read_model(folder: Path) -> Model:
    """A checkpoint as training needs it: verified, without public networks; raises WeightsError."""
    info, sigma = load_sigma(folder)
    own_autoencoder = info.model.autoencoder.kind == "patch"
    return Model(
        info=info,
        sigma=sigma,
        autoencoder=load_autoencoder(info.model, folder) if own_autoencoder else None,
        audio_encoder=_audio_encoder_of(info.model, folder),
    )


# Later stages


def _model_of_stage_before(config: TrainConfig) -> Model:
    before = config.stage_number - 1
    folder = config.init or stage_folder(before) / FINAL
    if not folder.is_dir():
        raise WeightsError(
            f"Stage {config.stage} starts from stage {before}, but there is no checkpoint '{folder}'.",
            fix=f"Run `megactor train --stage {before}` first, or give --init DIR.",
        )
    model = read_model(folder)
    if model.info.stage not in (before, config.stage):
        raise ConfigError(
            f"Stage {config.stage} starts from a checkpoint of stage {before}, "
            f"but '{folder}' is of stage {model.info.stage}.",
            fix=f"Give --init a final checkpoint of stage {before}, or of {config.stage} to go on with it.",
        )
    _require_wanted(config, model.config, folder)
    return model


def _require_wanted(config: TrainConfig, found: ModelConfig, folder: Path) -> None:
    """Refuse a model that differs from what the user asks for; a measured scaling factor is no wish."""
    if not config.chooses_model:
        return
    wanted = with_scaling(config.model, found.autoencoder.scaling_factor)
    for key, value in flat_settings(wanted.model_dump(mode="json")):
        other = dict(flat_settings(found.model_dump(mode="json")))[key]
        if other != value:
            raise ConfigError(
                f"model.{key} is {value}, but the checkpoint '{folder}' has {other}.",
                fix="Leave the model's settings out, or start from a checkpoint of that model.",
            )


def _require_shareable_reference(config: TrainConfig, model: ModelConfig) -> None:
    """One reference serves several time steps only if it does not know them."""
    if config.draw.frames_per_reference > 1 and model.reference.timestep != "zero":
        raise ConfigError(
            f"draw.frames_per_reference = {config.draw.frames_per_reference}, but the model's reference runs "
            "at each frame's own time step (reference.timestep = same).",
            fix="Set draw.frames_per_reference to 1, or train a model with model.reference.timestep=zero.",
        )


def with_scaling(model: ModelConfig, factor: float) -> ModelConfig:
    """The model with another scaling factor of its latents."""
    return model.model_copy(
        update={"autoencoder": model.autoencoder.model_copy(update={"scaling_factor": factor})}
    )


# Stage 1


def _first_model(config: TrainConfig, listener: Listener) -> Model:
    """A stage-1 checkpoint to go on with, PixArt-alpha's weights, or new weights around an autoencoder."""
    if config.init is not None and (config.init / CONFIG).is_file():
        given = read_model(config.init)
        if given.info.stage == 1:
            _require_wanted(config, given.config, config.init)
            return given
    if config.model.autoencoder.kind == "kl":
        return _model_from_pixart(config, listener)
    return _model_from_autoencoder(config, listener)


def _model_from_pixart(config: TrainConfig, listener: Listener) -> Model:
    source = config.init or _pulled_pixart()
    parts = draw_parts(config.model, seed=config.seed)
    report = load_pixart(parts.sigma, source)
    for note in report.notes:
        listener.note(note)
    return Model(
        info=CheckpointInfo(name="PixArt-alpha's weights", trained=False, model=config.model),
        sigma=parts.sigma,
        autoencoder=None,
        audio_encoder=parts.audio_encoder,
    )


def _pulled_pixart() -> Path:
    entry = REGISTRY[PIXART]
    try:
        return weights.find(PIXART) / entry.files[0].name
    except WeightsError as error:
        raise WeightsError(
            error.message, fix=f"{error.fix} Or train a small model from scratch: --recipe tiny-stage1."
        ) from None


def _model_from_autoencoder(config: TrainConfig, listener: Listener) -> Model:
    folder = _autoencoder_folder(config, listener)
    source = read_model(folder)
    model = with_scaling(config.model, source.config.autoencoder.scaling_factor)
    if model.autoencoder != source.config.autoencoder:
        raise ConfigError(
            f"The autoencoder in '{folder}' is {source.config.autoencoder!r}, "
            f"the model is made for {model.autoencoder!r}.",
            fix="Train the autoencoder with the same `preset` and `model` settings.",
        )
    parts = draw_parts(model, seed=config.seed)
    return Model(
        info=CheckpointInfo(
            name=f"new weights and the autoencoder of '{folder}'", trained=False, model=model
        ),
        sigma=parts.sigma,
        autoencoder=source.autoencoder,
        audio_encoder=parts.audio_encoder,
    )


def _autoencoder_folder(config: TrainConfig, listener: Listener) -> Path:
    if config.init is not None:
        return config.init
    if AUTOENCODER.is_dir():
        return AUTOENCODER
    default = ModelConfig.preset("tiny")
    if config.model.autoencoder == default.autoencoder:
        listener.note("There is no autoencoder in runs/autoencoder/final: taking the embedded default's.")
        return EMBEDDED
    raise WeightsError(
        f"Stage 1 needs an autoencoder, and there is none in '{AUTOENCODER}'.",
        fix="Train one with `megactor train --recipe tiny-autoencoder`, or give --init a checkpoint that "
        "holds one.",
    )


def _audio_encoder_of(config: ModelConfig, folder: Path) -> LogMelEncoder | None:
    if config.audio.encoder != "log-mel":
        return None
    encoder = load_audio_encoder(config, folder)
    assert isinstance(encoder, LogMelEncoder)
    return encoder


def flat_settings(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested settings."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat_settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
