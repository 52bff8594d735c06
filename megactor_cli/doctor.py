"""megactor doctor: what is installed, found and missing."""

import typer

from megactor_cli.console import Console, human_bytes
from megactor_cli.options import Json, Quiet
from megactor_core.doctor import DoctorReport, examine


def doctor(json: Json = False, quiet: Quiet = False) -> None:
    """Show what is installed, found and missing, and how to mend it.

    Exit code 1 where something that `animate` needs is missing.
    """
    console = Console(json=json, quiet=quiet)
    report = examine()
    if json:
        console.print_json(report.to_json())
    else:
        _render(report, console)
    if not report.ok:
        raise typer.Exit(1)


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
    for problem in report.problems:
        console.warn(f"{problem.message} Fix: {problem.fix}")
    console.note("megactor animate can run here." if report.ok else "megactor animate cannot run here.")


def _device(title: str, memory_bytes: int | None) -> str:
    return title if memory_bytes is None else f"{title}, {human_bytes(memory_bytes)}"


def _codec(*, reads: bool, writes: bool) -> str:
    return " and ".join([verb for verb, able in (("reads", reads), ("writes", writes)) if able]) or "no"


def _training(trained: bool | None) -> str:
    return {True: "trained", False: "untrained", None: "config.json cannot be read"}[trained]
