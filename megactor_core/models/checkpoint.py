"""Checkpoint folders: weights in safetensors, configuration, hashes and a card; nothing in them is code.

config.json                 the model's configuration, whether it is trained, on what
sigma.safetensors           Sigma
autoencoder.safetensors     where the autoencoder is this project's; else config.json names a public one
audio_encoder.safetensors   where the audio encoder is trained with the model; else likewise
manifest.json               size and SHA-256 of each file
README.md                   the card
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from megactor_core import weights
from megactor_core.config.base import Config
from megactor_core.config.model import LATENT_STRIDE_PX, ModelConfig
from megactor_core.errors import ConfigError, WeightsError
from megactor_core.files import atomic_folder, read_json, require_absent, sha256_of, write_json
from megactor_core.models.audio import WHISPER_STATES, AudioEncoder, LogMelEncoder, WhisperEncoder
from megactor_core.models.autoencoder import Autoencoder, PatchAutoencoder, load_kl
from megactor_core.models.pixart import load_pixart as load_pixart  # its documented place is here
from megactor_core.models.sigma import Sigma
from megactor_core.models.undrawn import undrawn

M = TypeVar("M", bound=nn.Module)

FORMAT = 1
CONFIG, MANIFEST, CARD = "config.json", "manifest.json", "README.md"
SIGMA, AUTOENCODER, AUDIO_ENCODER = (
    "sigma.safetensors",
    "autoencoder.safetensors",
    "audio_encoder.safetensors",
)
MAX_JSON_BYTES = 1_000_000
EMBEDDED = Path(__file__).parents[1] / "assets" / "sigma-tiny"
"""The checkpoint that is used where none is named (recipes/scripts/train-default.sh makes it)."""


class CheckpointInfo(Config):
    """config.json: what the checkpoint is."""

    format: int = FORMAT
    name: str
    """Short name for people."""
    trained: bool
    """False for weights as they were drawn."""
    domain: str = ""
    """What it was trained on, in words that go on after "trained on"; empty where it is untrained."""
    stage: int = Field(0, ge=0, le=3)
    """Training stage that made it; 0 where none did."""
    model: ModelConfig


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model ready to run, and where it came from."""

    folder: Path
    info: CheckpointInfo
    sha256: str
    """Of manifest.json, see `checkpoint_sha256`."""
    sigma: Sigma
    autoencoder: Autoencoder
    audio_encoder: AudioEncoder

    @property
    def config(self) -> ModelConfig:
        return self.info.model


def load_checkpoint(
    folder: Path | str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Checkpoint:
    """Read and verify a checkpoint folder; Sigma and the audio encoder take `dtype`, the autoencoder float32.

    Raises WeightsError for a folder that is missing, incomplete, damaged (a file's hash is not the
    manifest's) or of another shape than its configuration, and for public weights that are not on disk.
    """
    folder = Path(folder)
    info = _read_info(folder)
    digest = _verify(folder)
    config = info.model
    sigma = _fill(Sigma, config, folder / SIGMA).eval()
    autoencoder = load_autoencoder(config, folder)
    if config.autoencoder.kind == "patch":  # its small convolutions take 0.7 of the time so
        autoencoder = autoencoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    audio_encoder = load_audio_encoder(config, folder)
    return Checkpoint(
        folder=folder,
        info=info,
        sha256=digest,
        sigma=sigma.to(device=device, dtype=dtype),
        autoencoder=autoencoder.to(device),
        audio_encoder=audio_encoder.to(device=device, dtype=dtype),
    )


def load_sigma(folder: Path | str) -> tuple[CheckpointInfo, Sigma]:
    """The model alone, verified, in float32 on the CPU whatever it is stored in: needs no public weights.

    Raises WeightsError as `load_checkpoint` does.
    """
    folder = Path(folder)
    info = _read_info(folder)
    _verify(folder)
    return info, _fill(Sigma, info.model, folder / SIGMA).eval().float()


def save_checkpoint(
    folder: Path,
    *,
    info: CheckpointInfo,
    sigma: Sigma,
    autoencoder: nn.Module | None,
    audio_encoder: nn.Module | None,
    card: str,
) -> None:
    """Write a checkpoint folder that is either whole or not there.

    `autoencoder` and `audio_encoder` are None where config.json names public ones.
    Raises OutputError if `folder` exists already.
    """
    parts = {SIGMA: sigma, AUTOENCODER: autoencoder, AUDIO_ENCODER: audio_encoder}
    with atomic_folder(folder) as temporary:
        for name, module in parts.items():
            if module is not None:
                tensors = {key: value.contiguous() for key, value in module.state_dict().items()}
                save_file(tensors, temporary / name, metadata={"format": "pt"})
        write_json(temporary / CONFIG, info.model_dump(mode="json"))
        (temporary / CARD).write_text(card, encoding="utf-8")
        write_json(temporary / MANIFEST, _manifest(temporary))


@dataclass(frozen=True, slots=True)
class DrawnParts:
    """New networks with random weights; None where the configuration names a public one."""

    sigma: Sigma
    autoencoder: PatchAutoencoder | None
    audio_encoder: LogMelEncoder | None


def draw_parts(config: ModelConfig, *, seed: int) -> DrawnParts:
    """All networks that a checkpoint of `config` holds, drawn from `seed` without touching global state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DrawnParts(
            sigma=Sigma(config),
            autoencoder=PatchAutoencoder(config.autoencoder) if config.autoencoder.kind == "patch" else None,
            audio_encoder=LogMelEncoder(config) if config.audio.encoder == "log-mel" else None,
        )


def init_checkpoint(folder: Path, *, preset: str, seed: int) -> dict[str, Any]:
    """Write an untrained checkpoint of a preset, drawn from `seed`; returns what was written.

    Raises ConfigError for an unknown preset and OutputError if `folder` exists.
    """
    config = ModelConfig.preset(preset)
    require_absent(folder)
    parts = draw_parts(config, seed=seed)
    info = CheckpointInfo(name=f"{preset}-untrained", trained=False, model=config)
    save_checkpoint(
        folder,
        info=info,
        sigma=parts.sigma,
        autoencoder=parts.autoencoder,
        audio_encoder=parts.audio_encoder,
        card=_untrained_card(preset, seed=seed),
    )
    return {
        "checkpoint": str(folder),
        "preset": preset,
        "seed": seed,
        "trained": False,
        "parameters": sum(p.numel() for p in parts.sigma.parameters()),
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
    }


# Reading


def _read_info(folder: Path) -> CheckpointInfo:
    if not folder.is_dir():
        raise WeightsError(
            f"There is no checkpoint folder '{folder}'.",
            fix="Make one with `megactor weights init --preset tiny --seed 0 DIR`, or omit --checkpoint.",
        )
    values = _read_json(folder / CONFIG)
    found = values.get("format")
    if found != FORMAT:
        raise WeightsError(
            f"{folder / CONFIG} has format {found!r}, this version reads format {FORMAT}.",
            fix="Convert the checkpoint or use the version of megactor that wrote it.",
        )
    try:
        return CheckpointInfo.build(values, source=str(folder / CONFIG))
    except ConfigError as error:
        raise WeightsError(error.message, fix=error.fix) from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = read_json(path, max_bytes=MAX_JSON_BYTES)
    except FileNotFoundError:
        raise WeightsError(
            f"'{path.parent}' is not a checkpoint: it holds no {path.name}.",
            fix="Name a folder that `megactor weights init` or `megactor train` wrote.",
        ) from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"Cannot read {path}: {error}.", fix="Copy the checkpoint again.") from None
    if not isinstance(values, dict):
        raise WeightsError(f"{path} holds a {type(values).__name__}, not a mapping.", fix="Copy it again.")
    return values


def _verify(folder: Path) -> str:
    """Compare every file with the manifest; the manifest's own hash names the checkpoint."""
    manifest = _read_json(folder / MANIFEST)
    for name in (SIGMA, CONFIG, AUTOENCODER, AUDIO_ENCODER):
        if name not in manifest and (folder / name).exists():
            raise WeightsError(f"{folder / MANIFEST} does not list {name}.", fix="Copy the checkpoint again.")
    for name, expected in manifest.items():
        path = folder / name
        if Path(name).name != name or not isinstance(expected, dict):
            raise WeightsError(f"{folder / MANIFEST} has a bad entry '{name}'.", fix="Copy it again.")
        if not path.is_file():
            raise WeightsError(f"The checkpoint file '{path}' is missing.", fix="Copy the checkpoint again.")
        found = sha256_of(path)
        if found != expected.get("sha256"):
            raise WeightsError(
                f"The checkpoint file '{path}' is damaged: its SHA-256 is {found[:12]}..., "
                f"the manifest says {str(expected.get('sha256'))[:12]}...",
                fix="Copy the checkpoint again.",
            )
    return sha256_of(folder / MANIFEST)


def checkpoint_sha256(folder: Path) -> str | None:
    """The hash of a checkpoint's manifest, which holds that of every file; None where there is none.

    It names the checkpoint without reading its weights, which it does not verify.
    """
    manifest = folder / MANIFEST
    return sha256_of(manifest) if manifest.is_file() else None


def _fill(make: Callable[[Any], M], config: Any, path: Path) -> M:
    """Build a module without drawing weights and give it the tensors of `path`, in the type that they are
    stored in; raises WeightsError."""
    with undrawn():
        module = make(config)
    tensors = _read_tensors(path)
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise WeightsError(
                f"{path}: '{name}' has shape {found.get(name, 'missing')}, "
                f"its config.json asks for {wanted.get(name, 'no such tensor')}.",
                fix="The weights and config.json are not of one model; copy the checkpoint again.",
            )
    for name, value in tensors.items():
        if not value.is_floating_point():
            raise WeightsError(
                f"{path}: '{name}' is {value.dtype}, not floating point.", fix="Copy it again."
            )
    module.load_state_dict(tensors, assign=True)
    return module


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"Cannot read '{path}': {error}.", fix="Copy the checkpoint again.") from None


def load_autoencoder(config: ModelConfig, folder: Path) -> Autoencoder:
    """The autoencoder that goes with a configuration: the folder's own file, or the public network it names.

    Raises WeightsError for one that is missing, damaged or of another shape. The folder's own file is not
    compared with the manifest here.
    """
    settings = config.autoencoder
    if settings.kind == "patch":
        network: nn.Module = _fill(PatchAutoencoder, settings, folder / AUTOENCODER).float()
    else:
        source = _public_folder(settings.name, folder)
        network = load_kl(source)
        shape: Any = network.config
        _require_fit(source, "latent channels", shape.latent_channels, settings.latent_channels)
        _require_fit(source, "a stride of", 2 ** (len(shape.block_out_channels) - 1), LATENT_STRIDE_PX)
    return Autoencoder(network, scaling_factor=settings.scaling_factor)


def load_checkpoint_autoencoder(folder: Path) -> Autoencoder:
    """The autoencoder of a checkpoint folder without the rest of it; raises as `load_autoencoder`."""
    return load_autoencoder(_read_info(folder).model, folder)


def load_audio_encoder(config: ModelConfig, folder: Path) -> AudioEncoder:
    """The audio encoder that goes with a configuration, as `load_autoencoder`."""
    if config.audio.encoder == "log-mel":
        return _fill(LogMelEncoder, config, folder / AUDIO_ENCODER).eval().float()
    source = _public_folder(config.audio.whisper, folder)
    encoder = WhisperEncoder.load(source, edges=config.audio.edges)
    shape: Any = encoder.encoder.config
    _require_fit(source, "audio width", shape.d_model, config.audio.width)
    _require_fit(source, "encoder states", shape.encoder_layers + 1, WHISPER_STATES)
    return encoder


def _require_fit(folder: Path, what: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise WeightsError(
            f"The network in '{folder}' is of another size: {what} {found}, the checkpoint needs {wanted}.",
            fix="Name the network in config.json that the checkpoint was made with.",
        )


def _public_folder(name: str, checkpoint: Path) -> Path:
    """A public network by the folder's name inside the checkpoint, a path, or its name in the registry."""
    inside = checkpoint / name
    if ".." not in Path(name).parts and not Path(name).is_absolute() and inside.is_dir():
        return inside
    if Path(name).is_dir():
        return Path(name)
    return weights.find(name)


# Writing


def _manifest(folder: Path) -> dict[str, Any]:
    return {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.iterdir())
    }


def _untrained_card(preset: str, *, seed: int) -> str:
    return (
        f"# {preset}, untrained\n\n"
        f"Weights as they were drawn: `megactor weights init --preset {preset} --seed {seed} DIR`.\n"
        "Good for trying the tool and for starting a training run; its pictures mean nothing.\n"
    )
