"""PixArt-alpha's weights as the start of both transformers [P], and ours in PixArt-alpha's form.

The same weights are published in two layouts: `original`, the authors' .pth, and `diffusers`, that library's
PixArtTransformer2DModel. Names and shapes of both are facts of those releases [S]. What Sigma has no place
for is dropped and named: the text cross-attention, the caption projection, the fixed positions (computed
here), and the size conditioning that only the 1024 px checkpoint has.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from megactor_core.config.model import ModelConfig
from megactor_core.errors import WeightsError
from megactor_core.models.dit import Backbone, Denoiser
from megactor_core.models.sigma import Sigma
from megactor_core.models.tensor_files import (
    Layers,
    TensorGroup,
    expand_layers,
    group_tensors,
    read_diffusers_folder,
    read_json,
    read_tensors,
    require_shapes,
)

LayoutName = Literal["diffusers", "original"]
Part = Literal["denoiser", "reference"]

PIXART_CHANNELS = 4  # latent channels of PixArt-alpha; it predicts as many for noise and for variance

_PATCH_WEIGHT = "patch_embed.weight"
_TEXT, _SIZE = "text cross-attention", "size conditioning"


@dataclass(frozen=True, slots=True)
class Layout:
    """One naming of PixArt-alpha's layers, against the names in our transformers."""

    name: LayoutName
    block_list: str
    trunk: Layers
    block: Layers
    text: Layers
    """A block's text cross-attention, against our audio attention, which has its place and form."""
    text_queries: str
    """The one of `text` that is W_q."""
    dropped: Mapping[str, tuple[str, ...]]
    """Group -> how the names of tensors begin that Sigma has no place for."""


_AUDIO = "audio_attention.attention"

DIFFUSERS = Layout(
    name="diffusers",
    block_list="transformer_blocks",
    trunk={
        "pos_embed.proj": ("patch_embed",),
        "adaln_single.emb.timestep_embedder.linear_1": ("timestep.mlp_in",),
        "adaln_single.emb.timestep_embedder.linear_2": ("timestep.mlp_out",),
        "adaln_single.linear": ("timestep.six",),
        "scale_shift_table": ("head_table",),
        "proj_out": ("head",),
    },
    block={
        "scale_shift_table": ("scale_shift_table",),
        "attn1.to_q": ("self_attention.to_q",),
        "attn1.to_k": ("self_attention.to_k",),
        "attn1.to_v": ("self_attention.to_v",),
        "attn1.to_out.0": ("self_attention.to_out",),
        "ff.net.0.proj": ("mlp.fc_in",),
        "ff.net.2": ("mlp.fc_out",),
    },
    text={
        "attn2.to_q": (f"{_AUDIO}.to_q",),
        "attn2.to_k": (f"{_AUDIO}.to_k",),
        "attn2.to_v": (f"{_AUDIO}.to_v",),
        "attn2.to_out.0": (f"{_AUDIO}.to_out",),
    },
    text_queries="attn2.to_q",
    dropped={
        "caption projection": ("caption_projection.",),
        "fixed positions": ("pos_embed.pos_embed",),
        _SIZE: ("adaln_single.emb.resolution_embedder.", "adaln_single.emb.aspect_ratio_embedder."),
    },
)

ORIGINAL = Layout(
    name="original",
    block_list="blocks",
    trunk={
        "x_embedder.proj": ("patch_embed",),
        "t_embedder.mlp.0": ("timestep.mlp_in",),
        "t_embedder.mlp.2": ("timestep.mlp_out",),
        "t_block.1": ("timestep.six",),
        "final_layer.scale_shift_table": ("head_table",),
        "final_layer.linear": ("head",),
    },
    block={
        "scale_shift_table": ("scale_shift_table",),
        "attn.qkv": ("self_attention.to_q", "self_attention.to_k", "self_attention.to_v"),
        "attn.proj": ("self_attention.to_out",),
        "mlp.fc1": ("mlp.fc_in",),
        "mlp.fc2": ("mlp.fc_out",),
    },
    text={
        "cross_attn.q_linear": (f"{_AUDIO}.to_q",),
        "cross_attn.kv_linear": (f"{_AUDIO}.to_k", f"{_AUDIO}.to_v"),
        "cross_attn.proj": (f"{_AUDIO}.to_out",),
    },
    text_queries="cross_attn.q_linear",
    dropped={
        "caption projection": ("y_embedder.",),
        "fixed positions": ("pos_embed",),
        _SIZE: ("csize_embedder.", "ar_embedder."),
    },
)

LAYOUTS: Mapping[LayoutName, Layout] = {layout.name: layout for layout in (DIFFUSERS, ORIGINAL)}


@dataclass(frozen=True, slots=True)
class PixArtReport:
    """What became of every tensor: of the file's, taken or dropped; of ours, filled or left as it was."""

    source: Path
    layout: LayoutName
    loaded: TensorGroup
    """Names in the file, for both transformers; text queries for the denoiser alone."""
    dropped: Mapping[str, TensorGroup]
    """Names in the file, by what they are."""
    own_init: Mapping[str, TensorGroup]
    """Names in Sigma that PixArt-alpha does not fill."""
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "source": str(self.source),
            "layout": self.layout,
            "loaded": self.loaded.to_json(),
            "dropped": {name: group.to_json() for name, group in self.dropped.items()},
            "own_init": {name: group.to_json() for name, group in self.own_init.items()},
            "notes": list(self.notes),
        }


def load_pixart(model: Sigma, path: Path | str, *, text_queries: bool = False) -> PixArtReport:
    """Start the denoiser and the Reference Transformer from PixArt-alpha's weights [P].

    `path`: the authors' .pth, a diffusers folder (the pipeline's, or its `transformer/`), or one .safetensors
    file of either layout, recognised by its names. The denoiser's input layer takes PixArt-alpha's for the
    noise latents and zeros for the motion channels, so it computes what the narrower one does. Audio
    attention, temporal modules and Driven Encoder stay as they are; with `text_queries` the audio attention's
    W_q starts from the text cross-attention's (W_k and W_v cannot: audio tokens have another width).

    The 1024 px checkpoint is accepted; it loses its size conditioning, which the report notes.
    Raises WeightsError, and then the model is unchanged, for a file that cannot be read safely, tensors that
    are missing, unexpected or of another shape, other heads, and a model that is not of PixArt-alpha's form.
    """
    path = Path(path)
    _require_pixart_form(model.config)
    return fill_from_pixart(model, _read(path, model.config), source=path, text_queries=text_queries)


def fill_from_pixart(
    model: Sigma, tensors: Mapping[str, Tensor], *, source: Path, text_queries: bool
) -> PixArtReport:
    """`load_pixart` for tensors already read, in either layout; `source` is for messages."""
    _require_pixart_form(model.config)
    layout = _layout_of(tensors, source)
    denoiser, reference = dict(model.denoiser.named_parameters()), dict(model.reference.named_parameters())
    ours = denoiser | reference  # where both have a layer, the reference has it in PixArt-alpha's shape
    depth = model.config.depth
    queries = {layout.text_queries: layout.text[layout.text_queries]} if text_queries else {}
    taken = expand_layers(_layers(layout, depth, {**layout.block, **queries}), ours)
    text = expand_layers(_in_blocks(layout, depth, layout.text), ours)
    surplus = {name: _dropped_group(name, layout, text) for name in tensors if name not in taken}
    dropped = group_tensors(tensors, {name: group for name, group in surplus.items() if group})
    _require_taken(tensors, taken, dropped.values(), ours=ours, source=source)
    _copy(tensors, taken, denoiser=denoiser, reference=reference)
    return PixArtReport(
        source=source,
        layout=layout.name,
        loaded=TensorGroup.of(tensors, taken),
        dropped=dropped,
        own_init=_own_init(model, {name for names in taken.values() for name in names}),
        notes=_notes(model.config, dropped, text_queries=text_queries),
    )


def to_pixart(
    model: Sigma, *, part: Part = "denoiser", layout: LayoutName = "diffusers"
) -> dict[str, Tensor]:
    """A transformer's weights under PixArt-alpha's names; of the denoiser's input layer the noise channels.

    What `load_pixart` takes, bit for bit; text cross-attention and caption projection are not in it, so
    PixArt-alpha's pipelines draw nothing with it. Raises WeightsError for a model of another form.
    """
    _require_pixart_form(model.config)
    transformer: Backbone = model.denoiser if part == "denoiser" else model.reference
    ours = {name: value.detach() for name, value in transformer.named_parameters()}
    ours[_PATCH_WEIGHT] = ours[_PATCH_WEIGHT][:, :PIXART_CHANNELS]
    names_of = LAYOUTS[layout]
    taken = expand_layers(_layers(names_of, model.config.depth, names_of.block), ours)
    return {theirs: torch.cat([ours[name] for name in names]) for theirs, names in taken.items()}


def diffusers_names(denoiser: Denoiser) -> dict[str, str]:
    """diffusers' PixArtTransformer2DModel without captions -> the denoiser's tensors of the same meaning.

    Its text cross-attention stands for our audio attention.
    """
    layers = _layers(DIFFUSERS, denoiser.config.depth, {**DIFFUSERS.block, **DIFFUSERS.text})
    tensors = expand_layers(layers, dict(denoiser.named_parameters()))
    return {theirs: ours for theirs, (ours,) in tensors.items()}


# Which tensor goes where


def _layers(layout: Layout, depth: int, block: Layers) -> Layers:
    """The layers around the blocks, and those of `block` in each of them."""
    return {**layout.trunk, **_in_blocks(layout, depth, block)}


def _in_blocks(layout: Layout, depth: int, block: Layers) -> Layers:
    return {
        f"{layout.block_list}.{i}.{theirs}": tuple(f"blocks.{i}.{name}" for name in names)
        for i in range(depth)
        for theirs, names in block.items()
    }


def _layout_of(tensors: Mapping[str, Tensor], source: Path) -> Layout:
    for layout in LAYOUTS.values():
        if any(name.startswith(f"{layout.block_list}.") for name in tensors):
            return layout
    raise WeightsError(
        f"'{source}' is not PixArt-alpha: none of its {len(tensors)} tensors is called "
        f"{' or '.join(f'{layout.block_list}.*' for layout in LAYOUTS.values())}; "
        f"the first is '{min(tensors, default='')}'.",
        fix="Give PixArt-XL-2-512x512.pth, or the transformer folder of its diffusers release.",
    )


def _dropped_group(name: str, layout: Layout, text: Mapping[str, tuple[str, ...]]) -> str:
    """What a tensor is that Sigma has no place for; empty for all others."""
    if name in text:
        return _TEXT
    return next((group for group, starts in layout.dropped.items() if name.startswith(starts)), "")


def _require_taken(
    tensors: Mapping[str, Tensor],
    taken: Mapping[str, tuple[str, ...]],
    dropped: Iterable[TensorGroup],
    *,
    ours: Mapping[str, Tensor],
    source: Path,
) -> None:
    known = {name for group in dropped for name in group.names}
    require_shapes(
        {name: tuple(value.shape) for name, value in tensors.items() if name not in known},
        {theirs: _stacked_shape([ours[name] for name in names]) for theirs, names in taken.items()},
        source=source,
        fix="PixArt-XL-2 has depth 28 and width 1152, which is the preset 'paper'.",
    )


def _stacked_shape(parts: list[Tensor]) -> tuple[int, ...]:
    return (sum(part.shape[0] for part in parts), *parts[0].shape[1:])


@torch.no_grad()
def _copy(
    tensors: Mapping[str, Tensor],
    taken: Mapping[str, tuple[str, ...]],
    *,
    denoiser: Mapping[str, Tensor],
    reference: Mapping[str, Tensor],
) -> None:
    """Into both transformers; motion channels of the denoiser's input layer become zero."""
    for theirs, names in taken.items():
        for name, part in zip(names, tensors[theirs].chunk(len(names)), strict=True):
            if name in reference:
                reference[name].copy_(part)
            if name == _PATCH_WEIGHT:
                denoiser[name].zero_()
                denoiser[name][:, :PIXART_CHANNELS].copy_(part)
            else:
                denoiser[name].copy_(part)


def _own_init(model: Sigma, filled: set[str]) -> dict[str, TensorGroup]:
    ours = dict(model.named_parameters())
    kept = [name for name in ours if name.partition(".")[2] not in filled]
    return group_tensors(ours, {name: _own_group(name) for name in kept})


def _own_group(name: str) -> str:
    if ".temporal." in name:
        return "temporal modules"
    if ".audio_attention." in name:
        return "audio attention"
    return name.partition(".")[0].replace("_", " ")


def _notes(config: ModelConfig, dropped: Mapping[str, TensorGroup], *, text_queries: bool) -> tuple[str, ...]:
    notes = [f"The denoiser's input weights for {config.driven.out_channels} motion channels are zero."]
    if text_queries:
        notes.append("The audio attention's W_q starts from the text cross-attention's.")
    if _TEXT in dropped:
        notes.append(
            "Without its text cross-attention PixArt-alpha computes another function; training absorbs it."
        )
    if _SIZE in dropped:
        notes.append(
            "These are the 1024 px weights: without their size conditioning the time step embedding is off, "
            "which training has to absorb. The 512 px weights have none."
        )
    return tuple(notes)


# What fits


def _require_pixart_form(config: ModelConfig) -> None:
    for key, found, needed in (
        ("autoencoder.latent_channels", config.latent_channels, PIXART_CHANNELS),
        ("diffusion.learned_variance", config.diffusion.learned_variance, True),
        ("diffusion.prediction", config.diffusion.prediction, "eps"),
    ):
        if found != needed:
            raise WeightsError(
                f"The model is not of PixArt-alpha's form: {key} is {found}, PixArt-alpha has {needed}.",
                fix="Use the preset 'paper'; the small presets train from scratch.",
            )


def _require_heads(folder: Path, config: ModelConfig) -> None:
    """Shapes do not tell the number of heads; a folder's config.json, where there is one, does."""
    path = folder / "config.json"
    heads = read_json(path).get("num_attention_heads") if path.is_file() else config.heads
    if heads != config.heads:
        raise WeightsError(
            f"{path}: num_attention_heads is {heads}, the model has {config.heads} heads.",
            fix="PixArt-XL-2 has 16 heads, as the preset 'paper'.",
        )


# Files


def _read(path: Path, config: ModelConfig) -> dict[str, Tensor]:
    """The tensors at `path`: a file, or a diffusers folder with one file or with shards."""
    if not path.is_dir():
        return read_tensors(path)
    folder = path / "transformer" if (path / "transformer").is_dir() else path
    _require_heads(folder, config)
    return read_diffusers_folder(folder)
