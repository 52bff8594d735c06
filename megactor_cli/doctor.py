"""megactor doctor: what is installed, found and missing; and what a preset needs and takes here."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from megactor_cli.console import Console, human_bytes
from megactor_cli.options import Json, Quiet
from megactor_core.config.model import PresetName
from megactor_core.doctor.installation import DoctorReport, examine
from megactor_core.errors import UsageError

if TYPE_CHECKING:
    from megactor_core.doctor.preset import Mode, NeededWeights, PresetReport, TrainingStage


def doctor(
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Show what this preset needs and takes here instead. "
            f"One of: {', '.join(get_args(PresetName))}.",
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(metavar="S", help="With --preset: length of the video to reckon with. Default: 10."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what is installed, found and missing, and how to mend it.

    With --preset: what that needs and takes here, in weights, disk, memory and time.
    Exit code 1 where something that `animate` needs is missing.
    """
    if preset is None and seconds is not None:
        raise UsageError("--seconds does nothing without --preset.", fix="Name a preset, or leave it out.")
    console = Console(json=json, quiet=quiet)
    report = examine()
    asked = None if preset is None or not report.devices else _examine_preset(preset, report, seconds)
    if json:
        console.print_json(report.to_json() | ({} if asked is None else {"preset": asked.to_json()}))
    elif asked is None:
        _render(report, console)
    else:
        _render_preset(asked, console)
    if not json:
        _render_problems(report, console)
    if not report.ok:
        raise typer.Exit(1)


def _examine_preset(preset: str, report: DoctorReport, seconds: float | None) -> "PresetReport":
    from megactor_core.doctor.preset import VIDEO_SECONDS, examine_preset

    return examine_preset(preset, report.devices, video_seconds=VIDEO_SECONDS if seconds is None else seconds)


def _render(report: DoctorReport, console: Console) -> None:
    console.facts(report.system, title="System")
    console.facts({name: version or "missing" for name, version in report.packages.items()}, title="Packages")
    console.facts(
        {device.name: _device(device.title, device.memory_bytes) for device in report.devices},
        title="Devices",
    )
    codecs = {codec.name: _codec(reads=codec.reads, writes=codec.writes) for codec in report.codecs}
    console.facts(codecs, title="Codecs")
    weights = {state.name: "here" if state.found else f"missing: {state.command}" for state in report.weights}
    console.facts(weights, title="Weights")
    console.facts({"folder": report.cache, "free": human_bytes(report.cache_free_bytes)}, title="Cache")
    checkpoints = {state.folder: _training(state.trained) for state in report.checkpoints}
    console.facts(checkpoints, title="Checkpoints")


def _render_problems(report: DoctorReport, console: Console) -> None:
    for problem in report.problems:
        console.warn(f"{problem.message} Fix: {problem.fix}")
    console.note("megactor animate can run here." if report.ok else "megactor animate cannot run here.")


def _device(title: str, memory_bytes: int | None) -> str:
    return title if memory_bytes is None else f"{title}, {human_bytes(memory_bytes)}"


def _codec(*, reads: bool, writes: bool) -> str:
    return " and ".join([verb for verb, able in (("reads", reads), ("writes", writes)) if able]) or "no"


def _training(trained: bool | None) -> str:
    return {True: "trained", False: "untrained", None: "config.json cannot be read"}[trained]


# What a preset needs and takes


def _render_preset(report: "PresetReport", console: Console) -> None:
    sampling = f"{report.steps} steps, guidance {report.guidance:g}"
    console.facts(
        {"parameters": f"{report.parameters:,}", "picture": f"{report.size_px} px", "sampling": sampling},
        title=f"Preset {report.preset}",
    )
    facts = {needed.name: _needed(needed) for needed in report.weights}
    facts["get them"] = report.pull_command or "nothing is missing"
    console.facts(facts, title="Public weights")
    console.facts(
        {
            "public weights": human_bytes(report.weights_bytes),
            "a checkpoint": human_bytes(report.checkpoint_bytes),
            "free": human_bytes(report.cache_free_bytes),
        },
        title="Disk",
    )
    _render_memory(report.modes, console)
    _render_time(report, console)
    _render_training(report.training, console)
    for assumption in report.assumptions:
        console.note(assumption)


def _render_memory(modes: "Sequence[Mode]", console: Console) -> None:
    rows = [[name, *map(cell, modes)] for name, cell in _memory_rows()]
    console.table(["memory of animate", *[mode.title for mode in modes]], rows)
    for line in (line for mode in modes for line in _lower(mode)):
        console.text(f"{line}\n")
    console.text("\n")


def _render_time(report: "PresetReport", console: Console) -> None:
    from megactor_core.training.throughput import in_words

    title = f"time for {report.video_seconds:g} s of video, {in_words(report.work.total)}"
    console.table([title, "matrix products", "about"], [_time(mode) for mode in report.modes])
    console.text("\n")


def _render_training(stages: "Sequence[TrainingStage]", console: Console) -> None:
    """Rows are stages: what learns, bytes, and a sample's work."""
    from megactor_core.training.throughput import in_words

    heads = ["training, without activations", "learn", "weights", "gradients", "moments", "average", "in all"]
    rows = [
        [f"stage {stage.stage}", f"{stage.trained:,}"]
        + [human_bytes(count) for count in (stage.weights, stage.gradients, stage.moments, stage.average)]
        + [human_bytes(stage.total), human_bytes(stage.checkpoint), in_words(stage.sample_flops)]
        + ["-" if stage.sample_seconds is None else _duration(stage.sample_seconds)]
        for stage in stages
    ]
    console.table([*heads, "a checkpoint", "a sample", "takes about"], rows)
    console.text("\n")


def _needed(needed: "NeededWeights") -> str:
    size = "size known when pulled" if needed.bytes is None else human_bytes(needed.bytes)
    use = "" if needed.for_animate else ", for training only"
    return f"{'here' if needed.found else 'missing'}, {size}{use}"


def _memory_rows() -> "Iterator[tuple[str, Callable[[Mode], str]]]":
    yield "Sigma", lambda mode: human_bytes(mode.memory.sigma)
    yield "autoencoder, float32 always", lambda mode: human_bytes(mode.memory.autoencoder)
    yield "audio encoder", lambda mode: human_bytes(mode.memory.audio_encoder)
    yield "the reference's keys and values", lambda mode: human_bytes(mode.memory.reference_keys)
    yield "a window's largest moment", lambda mode: human_bytes(mode.memory.window)
    yield "the same without guidance", lambda mode: human_bytes(mode.memory.window_unguided)
    yield "decoding a batch of frames", lambda mode: human_bytes(mode.memory.decode)
    yield "at once while denoising", lambda mode: human_bytes(mode.memory.denoising)
    yield "at once while decoding", lambda mode: human_bytes(mode.memory.decoding)
    yield "most at once, with the process", lambda mode: human_bytes(mode.total_bytes)
    yield "this machine has", lambda mode: _available(mode)
    yield "fits", lambda mode: {True: "yes", False: "no", None: "-"}[mode.fits]


def _available(mode: "Mode") -> str:
    return "no such device" if mode.available_bytes is None else human_bytes(mode.available_bytes)


def _lower(mode: "Mode") -> Iterator[str]:
    """What takes less, a line each, where the mode does not fit."""
    if mode.fits is not False:
        return
    for remedy in mode.remedies:
        yield f"{mode.title}: {remedy.settings} leaves {human_bytes(remedy.total_bytes)} ({remedy.costs})"
    if not mode.remedies_fit:
        yield f"{mode.title}: that does not fit either; take a smaller preset"


def _time(mode: "Mode") -> list[str]:
    if mode.pace is None or mode.seconds is None:
        return [mode.title, "-", "no such device" if mode.available_bytes is None else "not measured"]
    from megactor_core.training.throughput import in_words

    return [mode.title, f"{in_words(mode.pace.denoiser)} a second", _duration(mode.seconds)]


def _duration(seconds: float) -> str:
    """Two digits or three: it is an estimate."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.2g} s"
