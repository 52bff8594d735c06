"""megactor synth: make talking heads with speech and exact ground truth."""

from pathlib import Path
from typing import Annotated, Any

import typer

from megactor_cli.console import Console, human_bytes
from megactor_cli.options import (
    Json,
    Overrides,
    Quiet,
    Recipe,
    Text,
    config_flag,
    config_option,
    fields_given,
)
from megactor_core.config.recipes import load_config
from megactor_core.config.synth import SynthConfig

_CORPUS, _OUT = "Corpus", "Output"


def _of(field: str, panel: str, metavar: str) -> Any:
    return config_option(SynthConfig, field, panel=panel, metavar=metavar)


def synth(
    clips: Annotated[Text, _of("clips", _CORPUS, "N")] = None,
    seconds: Annotated[Text, _of("seconds", _CORPUS, "F")] = None,
    size: Annotated[Text, _of("size", _CORPUS, "N")] = None,
    fps: Annotated[Text, _of("fps", _CORPUS, "RATE")] = None,
    identities: Annotated[Text, _of("identities", _CORPUS, "N")] = None,
    seed: Annotated[Text, _of("seed", _CORPUS, "N")] = None,
    motion_scale: Annotated[Text, _of("motion_scale", _CORPUS, "F")] = None,
    twins: Annotated[bool | None, config_flag(SynthConfig, "twins", panel=_CORPUS)] = None,
    faults: Annotated[
        bool,
        typer.Option(
            "--faults",
            metavar="",
            rich_help_panel=_CORPUS,
            help="Make some clips wrong in known ways; see --set faults.kinds and faults.share.",
        ),
    ] = False,
    output: Annotated[Path | None, _of("output", _OUT, "DIR")] = None,
    workers: Annotated[Text, _of("workers", _OUT, "N")] = None,
    recipe: Recipe = None,
    overrides: Overrides = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make talking heads with speech and exact ground truth.

    The same seed gives the same files. A folder that was begun with the same settings is completed.

    Example: megactor synth --clips 60 --seconds 3 --size 256 --twins --output data/raw/synthetic
    """
    options = fields_given(SynthConfig, locals()) | {"faults": {"enabled": True} if faults else None}
    config = load_config(
        SynthConfig, command="synth", recipe=recipe, overrides=overrides or (), options=options
    )
    console = Console(json=json, quiet=quiet)
    from megactor_core.synthetic.corpus import make_corpus

    with console.progress() as on_progress:
        report = make_corpus(config, on_progress=on_progress, on_note=console.note)
    result = report.to_json()
    console.result(result if json else result | {"bytes": human_bytes(report.bytes)})
