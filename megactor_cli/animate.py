"""megactor animate: a portrait, a driving video and speech become a talking-head video."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megactor_cli.console import Console, describe_error
from megactor_cli.options import (
    Json,
    Overrides,
    Quiet,
    Recipe,
    Text,
    comma_list,
    config_flag,
    config_option,
    config_switch,
    fields_given,
)
from megactor_core.config.animate import AnimateConfig
from megactor_core.config.jobs import JobsConfig, journal_of, load_jobs
from megactor_core.config.recipes import build_config, config_layers
from megactor_core.errors import MegActorError, UsageError

if TYPE_CHECKING:
    from megactor_core.animation.jobs import JobResult

_IN, _STRENGTH, _PICTURE, _SAMPLING, _OUT = "Inputs", "Drivers", "Picture", "Sampling", "Output"
_ORIGIN, _MANY = "Origin", "Many jobs"


def _of(field: str, panel: str, metavar: str) -> Any:
    return config_option(AnimateConfig, field, panel=panel, metavar=metavar)


def _of_jobs(field: str, metavar: str) -> Any:
    return config_option(JobsConfig, field, panel=_MANY, metavar=metavar)


def _switch(field: str, panel: str) -> Any:
    return config_flag(AnimateConfig, field, panel=panel)


def _both(field: str, panel: str) -> Any:
    return config_switch(AnimateConfig, field, panel=panel)


def animate(
    reference: Annotated[Path | None, _of("reference", _IN, "IMAGE")] = None,
    driving: Annotated[Path | None, _of("driving", _IN, "VIDEO")] = None,
    audio: Annotated[Path | None, _of("audio", _IN, "SOUND")] = None,
    checkpoint: Annotated[Path | None, _of("checkpoint", _IN, "DIR")] = None,
    audio_scale: Annotated[Text, _of("audio_scale", _STRENGTH, "F")] = None,
    alpha: Annotated[Text, _of("alpha", _STRENGTH, "F")] = None,
    regions: Annotated[Text, _of("regions", _STRENGTH, "eyes,mouth")] = None,
    mask_mode: Annotated[Text, _of("mask_mode", _STRENGTH, "MODE")] = None,
    driving_end: Annotated[Text, _of("driving_end", _STRENGTH, "WAY")] = None,
    on_lost_face: Annotated[Text, _of("on_lost_face", _STRENGTH, "WAY")] = None,
    face: Annotated[Text, _of("face", _STRENGTH, "largest|N")] = None,
    landmarks: Annotated[Text, _of("landmarks", _STRENGTH, "NAME")] = None,
    smoothing_seconds: Annotated[Text, _of("smoothing_seconds", _STRENGTH, "F")] = None,
    fps: Annotated[Text, _of("fps", _PICTURE, "RATE")] = None,
    size: Annotated[Text, _of("size", _PICTURE, "N")] = None,
    seconds: Annotated[Text, _of("seconds", _PICTURE, "F")] = None,
    steps: Annotated[Text, _of("steps", _SAMPLING, "N")] = None,
    guidance: Annotated[Text, _of("guidance", _SAMPLING, "F")] = None,
    seed: Annotated[Text, _of("seed", _SAMPLING, "N")] = None,
    window_batch: Annotated[Text, _of("window_batch", _SAMPLING, "N")] = None,
    deterministic: Annotated[bool | None, _switch("deterministic", _SAMPLING)] = None,
    device: Annotated[Text, _of("device", _SAMPLING, "NAME")] = None,
    dtype: Annotated[Text, _of("dtype", _SAMPLING, "TYPE")] = None,
    badge: Annotated[Text, _of("badge", _ORIGIN, "start|always|off")] = None,
    provenance: Annotated[bool | None, _both("provenance", _ORIGIN)] = None,
    c2pa_cert: Annotated[Path | None, _of("c2pa_cert", _ORIGIN, "PEM")] = None,
    c2pa_key: Annotated[Path | None, _of("c2pa_key", _ORIGIN, "PEM")] = None,
    output: Annotated[Path | None, _of("output", _OUT, "FILE")] = None,
    resume: Annotated[bool | None, _switch("resume", _OUT)] = None,
    overwrite: Annotated[bool | None, _switch("overwrite", _OUT)] = None,
    compare: Annotated[bool | None, _switch("compare", _OUT)] = None,
    contact_sheet: Annotated[bool | None, _switch("contact_sheet", _OUT)] = None,
    jobs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_MANY,
            help="A YAML, JSON or JSON-lines list of settings, merged over the options. The jobs are done in "
            "turn; with an option below by workers, and FILE.journal/ keeps what is done, so that the same "
            "command goes on.",
        ),
    ] = None,
    engine: Annotated[Text, _of_jobs("engine", "NAME")] = None,
    workers: Annotated[Text, _of_jobs("workers", "N")] = None,
    ray_address: Annotated[Text, _of_jobs("ray_address", "ADDRESS")] = None,
    recipe: Recipe = None,
    overrides: Overrides = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Animate a portrait with a driving video, speech, or both.

    Without any input the built-in example is animated.

    Example: megactor animate --reference me.png --driving head.mp4 --audio talk.wav --alpha 0.5
    """
    options = fields_given(AnimateConfig, locals())
    spread = config_layers(
        command="animate", recipe=None, overrides=(), options=fields_given(JobsConfig, locals())
    )
    if regions is not None:
        options["regions"] = comma_list(regions)
    layers = config_layers(command="animate", recipe=recipe, overrides=overrides or (), options=options)
    console = Console(json=json, quiet=quiet)
    if jobs is not None:
        config = build_config(JobsConfig, spread) if spread else None
        _animate_many(load_jobs(jobs, layers=layers), console, jobs=jobs, config=config)
    elif spread:
        raise UsageError(f"{spread[0].label} is for many jobs.", fix="Add --jobs FILE, or leave it out.")
    else:
        _animate_one(build_config(AnimateConfig, layers), console)


def _animate_one(config: AnimateConfig, console: Console) -> None:
    if config.reference is None and config.driving is None and config.audio is None:
        config = _with_example(config, console)
    from megactor_core.media.apart import start_ahead

    start_ahead()  # while this process imports the model
    from megactor_core.animation.animate import animate as run

    with console.progress() as on_progress:
        report = run(config, on_progress=on_progress, on_note=console.note)
    console.result(report.to_json())


def _with_example(config: AnimateConfig, console: Console) -> AnimateConfig:
    from megactor_core.demo.example import example

    console.note("No --reference, --driving or --audio: animating the built-in example.")
    given = example()
    return config.updated(reference=given.reference, driving=given.driving, audio=given.audio)


def _animate_many(
    configs: Sequence[AnimateConfig], console: Console, *, jobs: Path, config: JobsConfig | None
) -> None:
    results = _in_turn(configs, console) if config is None else _by_workers(configs, console, jobs, config)
    reports = [
        {"error": describe_error(result)} if isinstance(result, MegActorError) else result.to_json()
        for result in results
    ]
    failed = sum("error" in report for report in reports)
    console.batch(reports, failed=failed)
    if failed:
        raise typer.Exit(1)


def _in_turn(configs: Sequence[AnimateConfig], console: Console) -> "Sequence[JobResult]":
    from megactor_core.animation.animate import animate_jobs

    number = count(1)

    def on_done(result: "JobResult") -> None:
        _tell(console, next(number), len(configs), result)

    with console.progress() as on_progress:
        return animate_jobs(configs, on_progress=on_progress, on_note=console.note, on_done=on_done)


def _by_workers(
    configs: Sequence[AnimateConfig], console: Console, jobs: Path, config: JobsConfig
) -> "Sequence[JobResult]":
    from megactor_core.animation.jobs import run_jobs

    def on_done(number: int, result: "JobResult") -> None:
        _tell(console, number, len(configs), result)

    with console.progress() as on_progress:
        return run_jobs(
            configs,
            journal=journal_of(jobs),
            config=config,
            on_progress=on_progress,
            on_note=console.note,
            on_done=on_done,
        )


def _tell(console: Console, number: int, total: int, result: "JobResult") -> None:
    outcome = result if isinstance(result, MegActorError) else result.output
    console.note(f"job {number}/{total}: {outcome}")
