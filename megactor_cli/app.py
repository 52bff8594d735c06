"""The `megactor` command: registers the commands and holds the one error boundary."""

import io
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from megactor_cli.console import Console
from megactor_core.errors import Interrupted, MegActorError, UsageError
from megactor_core.version import megactor_version

FAILED = 1
INTERRUPTED = Interrupted.exit_code
TERMINATED = 143

LIBRARY_SETTINGS = {
    "OMP_WAIT_POLICY": "passive",  # threads that wait must not fight for cores that others use
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""What the libraries would write is said in this tool's own words, or not at all; the user's settings win."""

# Each is the module of that name; only the named command's is imported, so that help answers at once.
COMMANDS = {
    "animate": "Animate a portrait with a driving video, speech, or both.",
    "synth": "Make talking heads with speech and exact ground truth.",
    "curate": "Measure clips and keep the good ones: face, sound, sync, shots, sharpness.",
    "preprocess": "Turn clips into training samples: face crops, landmarks, sound features.",
    "train": "Train a stage of the model on preprocessed clips.",
    "evaluate": "Score generated clips against real ones, by a stated protocol.",
    "verify": "Say what a video tells of its origin: signature, tags, description, badge.",
    "demo": "Run the whole chain at toy scale and show what comes out.",
    "recipes": "List, show, copy and check recipes (YAML configurations).",
    "weights": "List, pull, verify and initialise model weights.",
    "doctor": "Show what is installed, found and missing, and how to mend it.",
}


def make_app(*loaded: str) -> typer.Typer:
    """The command line, with the `loaded` commands ready to run and the others as lines of the help page."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
        help="Mixed-modal portrait animation: a portrait, a driving video and speech become a talking head.",
    )
    app.callback()(_root)
    for name, summary in COMMANDS.items():
        command: Callable[..., Any] | typer.Typer = _not_loaded
        if name in loaded:
            module = import_module(f"megactor_cli.{name}")
            command = getattr(module, "app", None) or getattr(module, name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name, help=None if name in loaded else summary)(command)
    return app


def _not_loaded() -> None:
    """Stands for a command that was not named."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"megactor {megactor_version()}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage or input, 130 and 143 interrupted."""
    signal.signal(signal.SIGTERM, _terminate)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    os.environ.update(LIBRARY_SETTINGS | os.environ)
    status = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone (`| head`): the interpreter's own flush at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = FAILED
    sys.exit(status)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; every error becomes one message."""
    console = Console(json="--json" in arguments)
    try:
        # Without standalone mode Typer returns the code of typer.Exit, and None otherwise.
        app = make_app(*COMMANDS.keys() & arguments)
        status = int(app(args=arguments, prog_name="megactor", standalone_mode=False) or 0)
    except Exception as error:
        if os.environ.get("MEGACTOR_DEBUG"):
            raise
        known = _as_known(error)
        if known.message:  # empty where Typer has printed a help page instead
            console.error(known)
        return known.exit_code
    if status == INTERRUPTED:  # Typer has turned Ctrl-C into this code
        console.error(Interrupted("Interrupted."))
    return status


def _as_known(error: Exception) -> MegActorError:
    """`error` in the user's words; what is neither expected nor the system's fault is a bug."""
    match error:
        case MegActorError():
            return error
        case typer.TyperException():
            return UsageError(error.format_message(), fix=_help_hint(error))
        case typer.Abort():
            return Interrupted("Interrupted.")
        case MemoryError():
            return MegActorError("Not enough memory.", fix="Try a smaller --size or --window-batch.")
        case OSError(strerror=str(reason), filename=name) if error.errno is not None:
            return MegActorError(f"{reason}: '{name}'." if name else f"{reason}.")
        case _:
            first_line = (str(error).splitlines() or [""])[0]
            return MegActorError(
                f"This is a bug in megactor: {type(error).__name__}: {first_line.rstrip('.')}.",
                fix="Please report it with what MEGACTOR_DEBUG=1 shows.",
            )


def _help_hint(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"See `{context.command_path} --help`." if context else ""


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    # SystemExit unwinds, so that temporary files are removed on the way out.
    sys.stderr.write("Terminated.\n")
    sys.exit(TERMINATED)
