"""The paper's three training stages as data: what runs in each, and which modules of Sigma train [P].

Stage 1 learns the visual driver on pairs of frames, stage 2 adds the audio, stage 3 learns motion on clips.
The autoencoder and Whisper are outside of Sigma and stay frozen.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from megactor_core.config.base import nearest
from megactor_core.config.train import StageNumber
from megactor_core.errors import ConfigError
from megactor_core.models.sigma import Sigma

AUDIO = "denoiser.blocks.*.audio_attention"
TEMPORAL = "denoiser.blocks.*.temporal"


@dataclass(frozen=True, slots=True)
class Stage:
    """Patterns of module names, `*` standing for one part between dots; a module means all below it."""

    number: StageNumber
    trains: tuple[str, ...]
    freezes: tuple[str, ...] = ()
    """Inside of what `trains` names."""
    uses_audio: bool = True
    uses_temporal: bool = True
    """Whether these run at all; a branch that has not been trained yet adds nothing, and costs as much."""
    trains_audio_encoder: bool = False
    """Whether an audio encoder of this project's, outside of Sigma, trains too; Whisper never does [P]."""

    @property
    def trains_spatial(self) -> bool:
        """Whether everything frame-wise trains, from the first layers on; else the temporal modules do."""
        return self.trains == _SPATIAL


_SPATIAL = ("denoiser", "reference", "driven_encoder")

STAGES: Mapping[StageNumber, Stage] = {
    stage.number: stage
    for stage in (
        Stage(1, trains=_SPATIAL, freezes=(AUDIO, TEMPORAL), uses_audio=False, uses_temporal=False),
        Stage(2, trains=_SPATIAL, freezes=(TEMPORAL,), uses_temporal=False, trains_audio_encoder=True),
        Stage(3, trains=(TEMPORAL,)),
    )
}


def trainable_parameters(sigma: Sigma, stage: Stage) -> dict[str, nn.Parameter]:
    """The parameters that the optimiser of a stage gets, by name and in the model's order.

    896,295,256, 995,514,712 and 409,086,720 numbers in stages 1, 2 and 3 of the paper's model; the Reference
    Transformer's last layers, which lead nowhere, are in none. Raises ConfigError for a pattern without a
    module.
    """
    modules = [name for name, _ in sigma.named_modules() if name]
    trained = _below(sigma, _matching(stage.trains, modules))
    frozen = _below(sigma, _matching(stage.freezes, modules))
    dead = {id(parameter) for parameter in sigma.reference.dead_parameters()}
    return {
        name: parameter
        for name, parameter in sigma.named_parameters()
        if name in trained and name not in frozen and id(parameter) not in dead
    }


def _below(sigma: Sigma, modules: Iterable[str]) -> set[str]:
    """Names of all parameters below the modules."""
    return {
        f"{name}.{inner}" for name in modules for inner, _ in sigma.get_submodule(name).named_parameters()
    }


def _matching(patterns: Iterable[str], modules: list[str]) -> set[str]:
    """The modules that the patterns name."""
    found: set[str] = set()
    for pattern in patterns:
        matches = {name for name in modules if _matches(name, pattern)}
        if not matches:
            known = sorted({_generic(name) for name in modules})
            raise ConfigError(f"The model has no module '{pattern}';", fix=nearest(pattern, known))
        found |= matches
    return found


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _generic(name: str) -> str:
    """A module's name with `*` for the places in lists."""
    return ".".join("*" if part.isdigit() else part for part in name.split("."))
