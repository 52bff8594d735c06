"""EasyAnimate V1's motion weights as an optional start of the temporal modules.

The paper takes EasyAnimate V1's module and does not say that it took the weights too. The published file
(easyanimate_v1_mm.safetensors) has a module in each of 28 blocks, the paper's model one in each odd block.
Names and shapes are facts of that release [S].
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from megactor_core.config.model import ModelConfig
from megactor_core.errors import WeightsError
from megactor_core.models.sigma import Sigma
from megactor_core.models.temporal import frame_waves
from megactor_core.models.tensor_files import (
    Layers,
    TensorGroup,
    expand_layers,
    group_tensors,
    read_tensors,
    require_shapes,
)

POSITION_TOLERANCE = 2e-3
"""Between their table of frame positions and ours: theirs is made in float32, and may be kept in float16."""

_ATTENTIONS, _HEADS, _GRID = 2, 8, 2  # EasyAnimate V1's configuration
_POSITIONS = "fixed positions"
_INNER = "transformer_blocks.0"
_TABLE = re.compile(rf"{re.escape(_INNER)}\.attention_blocks\.\d+\.pos_encoder\.pe")
_NAME = re.compile(r"transformer_blocks\.(\d+)\.attn_temporal\.temporal_transformer\.(.+)")

_MODULE: Layers = {
    "norm": ("norm",),
    "proj_in": ("proj_in",),
    f"{_INNER}.ff.net.0.proj": ("mlp.fc_in",),
    f"{_INNER}.ff.net.2": ("mlp.fc_out",),
    f"{_INNER}.ff_norm": ("mlp_norm",),
    "proj_out": ("proj_out",),
}


@dataclass(frozen=True, slots=True)
class EasyAnimateReport:
    """What became of every tensor in the file."""

    source: Path
    blocks: tuple[int, ...]
    """Blocks of Sigma that were filled."""
    loaded: TensorGroup
    """Names in the file."""
    dropped: Mapping[str, TensorGroup]
    """Names in the file, by why they are not needed."""
    starts_as_identity: bool
    """Whether every module still adds nothing, as stage 3 otherwise starts."""
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "source": str(self.source),
            "blocks": list(self.blocks),
            "loaded": self.loaded.to_json(),
            "dropped": {name: group.to_json() for name, group in self.dropped.items()},
            "starts_as_identity": self.starts_as_identity,
            "notes": list(self.notes),
        }


def load_easyanimate(model: Sigma, path: Path | str) -> EasyAnimateReport:
    """Start the temporal modules from EasyAnimate V1's of the same blocks; the others' are dropped.

    The modules then no longer start as the identity, so stage 3 does not begin at stage 2's function.
    Raises WeightsError, and then the model is unchanged, for a file that cannot be read safely, tensors that
    are missing, unexpected or of another shape, other frame positions than ours, and a model whose temporal
    module is not EasyAnimate V1's.
    """
    path = Path(path)
    _require_easyanimate_form(model.config)
    return fill_from_easyanimate(model, read_tensors(path), source=path)


def fill_from_easyanimate(model: Sigma, tensors: Mapping[str, Tensor], *, source: Path) -> EasyAnimateReport:
    """`load_easyanimate` for tensors already read; `source` is for messages."""
    _require_easyanimate_form(model.config)
    ours = {
        name.removeprefix("denoiser."): value
        for name, value in model.named_parameters()
        if ".temporal." in name
    }
    blocks = model.config.temporal_blocks
    taken = {theirs: name for theirs, (name,) in expand_layers(_layers(blocks), ours).items()}
    surplus = {name: _dropped_group(name, model.config) for name in tensors if name not in taken}
    dropped = group_tensors(tensors, {name: group for name, group in surplus.items() if group})
    known = {name for group in dropped.values() for name in group.names}
    require_shapes(
        {name: tuple(value.shape) for name, value in tensors.items() if name not in known},
        {theirs: tuple(ours[name].shape) for theirs, name in taken.items()},
        source=source,
        fix="EasyAnimate V1 has depth 28 and width 1152, which is the preset 'paper'.",
    )
    _require_our_positions(tensors, model.config, source=source)
    with torch.no_grad():
        for theirs, name in taken.items():
            ours[name].copy_(tensors[theirs])
    identity = not any(tensors[theirs].any() for theirs in taken if ".proj_out." in theirs)
    return EasyAnimateReport(
        source=source,
        blocks=blocks,
        loaded=TensorGroup.of(tensors, taken),
        dropped=dropped,
        starts_as_identity=identity,
        notes=_notes(model.config, identity=identity),
    )


def _layers(blocks: tuple[int, ...]) -> Layers:
    """Layers of the modules in these blocks."""
    attentions = {
        f"{_INNER}.{theirs}": (ours,)
        for k in range(_ATTENTIONS)
        for theirs, ours in {
            f"norms.{k}": f"attention_norms.{k}",
            f"attention_blocks.{k}.to_q": f"attentions.{k}.to_q",
            f"attention_blocks.{k}.to_k": f"attentions.{k}.to_k",
            f"attention_blocks.{k}.to_v": f"attentions.{k}.to_v",
            f"attention_blocks.{k}.to_out.0": f"attentions.{k}.to_out",
        }.items()
    }
    return {
        f"transformer_blocks.{i}.attn_temporal.temporal_transformer.{theirs}": (
            f"blocks.{i}.temporal.{ours}",
        )
        for i in blocks
        for theirs, (ours,) in {**_MODULE, **attentions}.items()
    }


def _dropped_group(name: str, config: ModelConfig) -> str:
    """Why a tensor is not needed; empty for one that is needed or unknown."""
    match = _NAME.fullmatch(name)
    if match is None or int(match[1]) >= config.depth:
        return ""
    if _TABLE.fullmatch(match[2]):
        return _POSITIONS
    return "" if int(match[1]) in config.temporal_blocks else "blocks without a temporal module"


def _require_our_positions(tensors: Mapping[str, Tensor], config: ModelConfig, *, source: Path) -> None:
    """Their tables (1, frames, D) must be the sines and cosines that our module adds."""
    waves = frame_waves(config.temporal.max_frames, config.hidden)
    for name, table in tensors.items():
        if _dropped_group(name, config) != _POSITIONS:
            continue
        frames = table.shape[1] if table.ndim == 3 else 0
        if tuple(table.shape) != (1, frames, config.hidden) or not 0 < frames <= len(waves):
            raise WeightsError(
                f"{source}: '{name}' is {tuple(table.shape)}, our frame positions are "
                f"{(1, len(waves), config.hidden)}.",
                fix="Use EasyAnimate V1's motion weights.",
            )
        difference = (table[0].float() - waves[:frames]).abs().max().item()
        if not difference <= POSITION_TOLERANCE:  # so that NaN is refused too
            raise WeightsError(
                f"{source}: '{name}' differs from our frame positions by {difference:.3g}, "
                f"at most {POSITION_TOLERANCE} is rounding.",
                fix="Use EasyAnimate V1's motion weights.",
            )


def _require_easyanimate_form(config: ModelConfig) -> None:
    """Shapes alone would not tell GroupNorm from LayerNorm, nor one number of heads from another."""
    for key, found, needed in (
        ("norm", config.temporal.norm, "group"),
        ("attentions", config.temporal.attentions, _ATTENTIONS),
        ("heads", config.temporal.heads, _HEADS),
    ):
        if found != needed:
            raise WeightsError(
                f"The model's temporal module is not EasyAnimate V1's: temporal.{key} is {found}, "
                f"EasyAnimate V1 has {needed}.",
                fix="Use the preset 'paper'.",
            )


def _notes(config: ModelConfig, *, identity: bool) -> tuple[str, ...]:
    notes = []
    if not identity:
        notes.append(
            "The temporal modules do not start as the identity: stage 3 does not begin at stage 2's function."
        )
    if config.temporal.grid != _GRID:
        notes.append(
            f"These weights were trained on cells of {_GRID} x {_GRID} tokens, temporal.grid is "
            f"{config.temporal.grid}."
        )
    if config.temporal.place != "after-self-attention":
        notes.append("These weights were trained right after the self-attention, not after the whole block.")
    return tuple(notes)
