"""Between PixArt-alpha's weights and checkpoint folders of this project."""

from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from megactor_core.config.model import ModelConfig
from megactor_core.files import atomic_folder, require_absent
from megactor_core.models.checkpoint import CheckpointInfo, draw_parts, load_sigma, save_checkpoint
from megactor_core.models.easyanimate import EasyAnimateReport, load_easyanimate
from megactor_core.models.pixart import LayoutName, Part, PixArtReport, load_pixart, to_pixart
from megactor_core.models.sigma import Sigma
from megactor_core.models.tensor_files import DIFFUSERS_FILE
from megactor_core.models.undrawn import undrawn

FILE_OF_LAYOUT: dict[LayoutName, str] = {"diffusers": DIFFUSERS_FILE, "original": "pixart.safetensors"}


def checkpoint_from_pixart(
    source: Path,
    folder: Path,
    *,
    preset: str,
    seed: int,
    text_queries: bool,
    easyanimate: Path | None,
) -> dict[str, Any]:
    """Write an untrained checkpoint that starts where the paper does: at PixArt-alpha's weights [P].

    `source` and `text_queries` as for `load_pixart`; `easyanimate`, where given, is the file that the
    temporal modules start from. What is left is drawn from `seed`. Returns what was written and both reports.
    Raises ConfigError for an unknown preset, OutputError if `folder` exists, WeightsError for the weights.
    """
    config = ModelConfig.preset(preset)
    require_absent(folder)
    with undrawn():
        rehearsal = Sigma(config)
    # What is wrong with the files shows before the weights are drawn, which takes long at the paper's size.
    _start(rehearsal, source, text_queries=text_queries, easyanimate=easyanimate)
    parts = draw_parts(config, seed=seed)
    pixart, motion = _start(parts.sigma, source, text_queries=text_queries, easyanimate=easyanimate)
    name = f"{preset}-from-pixart-alpha" + ("-and-easyanimate-v1" if motion else "")
    save_checkpoint(
        folder,
        info=CheckpointInfo(name=name, trained=False, model=config),
        sigma=parts.sigma,
        autoencoder=parts.autoencoder,
        audio_encoder=parts.audio_encoder,
        card=_checkpoint_card(name, pixart, motion, seed=seed),
    )
    return {
        "checkpoint": str(folder),
        "name": name,
        "preset": preset,
        "seed": seed,
        "trained": False,
        "pixart": pixart.to_json(),
        "easyanimate": motion.to_json() if motion else None,
        "parameters": sum(p.numel() for p in parts.sigma.parameters()),
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
    }


def pixart_from_checkpoint(source: Path, folder: Path, *, layout: LayoutName, part: Part) -> dict[str, Any]:
    """Write one of a checkpoint's transformers under PixArt-alpha's names, to inspect or to start from.

    Raises OutputError if `folder` exists, and WeightsError for a checkpoint that cannot be read or whose
    model is not of PixArt-alpha's form.
    """
    require_absent(folder)
    info, sigma = load_sigma(source)
    tensors = to_pixart(sigma, part=part, layout=layout)
    with atomic_folder(folder) as temporary:
        save_file(tensors, temporary / FILE_OF_LAYOUT[layout], metadata={"format": "pt"})
        (temporary / "README.md").write_text(_pixart_card(info.name, part), encoding="utf-8")
    return {
        "file": str(folder / FILE_OF_LAYOUT[layout]),
        "checkpoint": str(source),
        "part": part,
        "layout": layout,
        "tensors": len(tensors),
        "parameters": sum(value.numel() for value in tensors.values()),
    }


def _start(
    sigma: Sigma, source: Path, *, text_queries: bool, easyanimate: Path | None
) -> tuple[PixArtReport, EasyAnimateReport | None]:
    pixart = load_pixart(sigma, source, text_queries=text_queries)
    return pixart, load_easyanimate(sigma, easyanimate) if easyanimate else None


def _checkpoint_card(name: str, pixart: PixArtReport, motion: EasyAnimateReport | None, *, seed: int) -> str:
    """Base names only: the card travels with the checkpoint."""
    sources = [f"- both transformers: PixArt-alpha, from `{pixart.source.name}`"]
    if motion:
        sources.append(f"- temporal modules: EasyAnimate V1, from `{motion.source.name}`")
    drawn = [group for group in pixart.own_init if not (motion and group == "temporal modules")]
    sources.append(f"- {', '.join(drawn)}: as drawn with seed {seed}")
    notes = [*pixart.notes, *(motion.notes if motion else ())]
    return (
        f"# {name}, untrained\n\n"
        "Where training starts; its pictures mean nothing yet. The licences of the weights it is made of "
        "apply to it.\n\n" + "\n".join(sources) + "\n\n" + "\n".join(notes) + "\n"
    )


def _pixart_card(name: str, part: Part) -> str:
    return (
        f"# The {part} of {name} under PixArt-alpha's names\n\n"
        "Text cross-attention and caption projection are not in it: it is there to be inspected or to start "
        "a model from, and PixArt-alpha's pipelines draw nothing with it.\n"
    )
