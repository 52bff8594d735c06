"""megactor preprocess: clips become training samples."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    given_path,
)
from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.config.recipes import load_config

if TYPE_CHECKING:
    from megactor_core.preprocessing.estimate import Estimate
    from megactor_core.preprocessing.report import PreprocessReport, Unused

_MOST_REASONS = 10
_IN, _SAMPLE, _WORK = "Inputs and output", "Samples", "Work"


def _of(field: str, panel: str, metavar: str) -> Any:
    return config_option(PreprocessConfig, field, panel=panel, metavar=metavar)


def _switch(field: str, panel: str) -> Any:
    return config_flag(PreprocessConfig, field, panel=panel)


def preprocess(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[SOURCE]",
            parser=given_path,
            help="A folder of videos, or a manifest (parquet, csv, jsonl). Default: data/curated.",
        ),
    ] = None,
    output: Annotated[Path | None, _of("output", _IN, "DIR")] = None,
    drivers: Annotated[Path | None, _of("drivers", _IN, "DIR")] = None,
    size: Annotated[Text, _of("size", _SAMPLE, "N")] = None,
    fps: Annotated[Text, _of("fps", _SAMPLE, "RATE")] = None,
    faces: Annotated[Text, _of("faces", _SAMPLE, "largest|N|reject_multiple")] = None,
    landmarks: Annotated[Text, _of("landmarks", _SAMPLE, "NAME")] = None,
    audio_features: Annotated[Text, _of("audio_features", _SAMPLE, "NAME")] = None,
    latents: Annotated[bool | None, _switch("latents", _SAMPLE)] = None,
    autoencoder: Annotated[Text, _of("autoencoder", _SAMPLE, "NAME|DIR")] = None,
    engine: Annotated[Text, _of("engine", _WORK, "NAME")] = None,
    ray_address: Annotated[Text, _of("ray_address", _WORK, "ADDRESS")] = None,
    workers: Annotated[Text, _of("workers", _WORK, "N")] = None,
    retry_errors: Annotated[bool | None, _switch("retry_errors", _WORK)] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            metavar="",
            rich_help_panel=_WORK,
            help="Do a few clips in a temporary folder and say how long all would take, and how much space.",
        ),
    ] = False,
    recipe: Recipe = None,
    overrides: Overrides = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Turn clips into training samples: face crops, landmarks, sound features.

    Clips that cannot be used are rows of index.parquet with their reason; sources are never changed. A run
    that was interrupted goes on where it was when it is given again.

    Example: megactor preprocess data/raw/synthetic --recipe tiny --workers 2
    """
    config = load_config(
        PreprocessConfig,
        command="preprocess",
        recipe=recipe,
        overrides=overrides or (),
        options=fields_given(PreprocessConfig, locals()),
    )
    console = Console(json=json, quiet=quiet)
    if dry_run:
        _estimate(config, console)
    else:
        _preprocess(config, console)


def _preprocess(config: PreprocessConfig, console: Console) -> None:
    from megactor_core.preprocessing.preprocess import preprocess as run

    with console.progress() as on_progress:
        report = run(config, on_progress=on_progress, on_note=console.note)
    if console.json:
        console.print_json(report.to_json())
    else:
        _show(report, console)
    if not report.ok:
        console.warn(f"No clip became a sample; the reasons are in '{report.index}'.")
        raise typer.Exit(1)


def _show(report: "PreprocessReport", console: Console) -> None:
    console.facts(
        {
            "samples": f"{report.ok} of {report.clips} clips",
            "length": f"{report.seconds:.1f} s, {report.frames} frames",
            "size": human_bytes(report.bytes),
            "with sound": report.with_audio,
            "with driver": report.with_driver,
            "with latents": report.with_latents,
            "identities": report.identities_by_split,
            "time": f"{report.wall_seconds:.1f} s, {report.worker_cpu_seconds:.1f} s of processor time",
            "index": report.index,
        }
    )
    if report.unused:
        console.text("\n")
        shown, more = report.unused[:_MOST_REASONS], report.unused[_MOST_REASONS:]
        console.table(["clip", "not used because"], [[_names(group), group.reason] for group in shown])
        console.text(_rest(more, report.index))


def _names(group: "Unused") -> str:
    """`a.mp4`, or `a.mp4, b.mp4, c.mp4 and 4 more`."""
    more = group.clips - len(group.examples)
    return ", ".join(group.examples) + (f" and {more} more" if more else "")


def _rest(groups: Sequence["Unused"], index: str) -> str:
    more = f"{sum(group.clips for group in groups)} more clips for other reasons; " if groups else ""
    return f"\n{more}{'each' if groups else 'Each'} clip's own reason is in '{index}'.\n"


def _estimate(config: PreprocessConfig, console: Console) -> None:
    from megactor_core.preprocessing.estimate import estimate

    with console.progress() as on_progress:
        found = estimate(config, on_progress=on_progress, on_note=console.note)
    if console.json:
        console.print_json(found.to_json())
    else:
        _show_estimate(found, console)


def _show_estimate(found: "Estimate", console: Console) -> None:
    console.facts(
        {
            "clips": found.clips,
            "measured": f"{found.measured}, of which {found.measured_ok} became samples",
            "samples, about": found.expected_samples,
            "per clip": f"{found.cpu_seconds_per_clip:.2f} s, {human_bytes(round(found.bytes_per_clip))}",
            "space in all": f"{human_bytes(found.total_bytes)}, {human_bytes(found.free_bytes)} free",
        }
    )
    console.text("\n")
    console.table(
        ["workers", "time on an idle machine"],
        [[count, _duration(hours)] for count, hours in found.hours_by_workers.items()],
    )


def _duration(hours: float) -> str:
    """Two figures are all that an estimate is worth: 40 s, 12 min, 3.5 h, 2.1 days."""
    seconds = hours * 3600
    for unit, size in (("days", 48 * 3600), ("h", 2 * 3600), ("min", 2 * 60)):
        if seconds >= size:
            return f"{seconds / {'days': 86400, 'h': 3600, 'min': 60}[unit]:.2g} {unit}"
    return f"{seconds:.2g} s"
