"""megactor demo: the whole chain at toy scale."""

from pathlib import Path
from typing import Annotated

import typer

from megactor_cli.console import Console
from megactor_cli.options import NO_METAVAR, Json, Quiet, given_path


def demo(
    output: Annotated[
        Path,
        typer.Option(metavar="DIR", parser=given_path, help="Folder for everything the demo makes."),
    ] = Path("demo"),
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            metavar=NO_METAVAR,
            help="Less of everything: at most a minute on two cores, not five.",
        ),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run the whole chain at toy scale and show what comes out.

    It makes data, trains for a moment, animates the built-in example, measures the result, and shows all of
    it on a page, DIR/report.html. A run that was interrupted goes on where it was when it is given again.

    Example: megactor demo --output demo --fast
    """
    from megactor_core.demo.run import run_demo

    console = Console(json=json, quiet=quiet)
    with console.progress() as on_progress:
        report = run_demo(output, fast=fast, on_progress=on_progress, on_note=console.note)
    if json:
        console.print_json(report.to_json())
        return
    times = [[name, f"{time.wall_seconds:.1f} s"] for name, time in report.steps.items()]
    console.table(["step", "time"], times)
    console.text("\n")
    console.table(["videos"], [[path] for path in report.videos])
    console.text("\n")
    console.facts({"report": report.report})
