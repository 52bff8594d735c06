"""megactor demo: the whole chain at toy scale."""

from pathlib import Path
from typing import Annotated

import typer

from megactor_cli.console import Console
from megactor_cli.options import NO_METAVAR, Json, Quiet


def demo(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for everything the demo makes.")] = Path(
        "demo"
    ),
    fast: Annotated[
        bool, typer.Option("--fast", metavar=NO_METAVAR, help="The shortest run that still shows every step.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run the whole chain at toy scale and show what comes out.

    Example: megactor demo --output demo --fast
    """
    from megactor_core.demo import run_demo

    console = Console(json=json, quiet=quiet)
    with console.progress() as on_progress:
        report = run_demo(output, fast=fast, on_progress=on_progress, on_note=console.note)
    if json:
        console.result(report.to_json())
        return
    for name, step in report.steps.items():
        console.facts({key.replace("_", " "): value for key, value in step.items()}, title=name)
