"""The command surface: what scripts rely on, what the README shows, and that help answers at once."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from megactor_cli.app import COMMANDS, make_app

app = make_app(*COMMANDS)

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "surface.json"
README = ROOT / "README.md"

HEAVY = [
    "torch",
    "numpy",
    "diffusers",
    "transformers",
    "accelerate",
    "av",
    "cv2",
    "scipy",
    "PIL",
    "soundfile",
    "soxr",
    "skvideo",
    "safetensors",
]


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield " ".join(path), command
    else:
        for name, subcommand in subcommands.items():
            yield from _commands(subcommand, (*path, name))


def surface() -> dict[str, list[str]]:
    """Command -> its options and the names of its arguments."""
    return {
        path: sorted(name for parameter in command.params for name in _names(parameter))
        for path, command in sorted(_commands(get_command(app)))
    }


def _names(parameter: Any) -> list[str]:
    return list(parameter.opts) if parameter.param_type_name == "option" else [parameter.name.upper()]


def test_the_surface_is_the_frozen_one() -> None:
    """Scripts rely on these names. After a deliberate change, write them again:

    python tests/megactor_cli/test_surface.py > tests/golden/surface.json
    """
    assert surface() == json.loads(GOLDEN.read_text())


def test_every_command_explains_itself() -> None:
    for path, command in _commands(get_command(app)):
        assert command.help, path
        for parameter in command.params:
            if parameter.name != "help":
                assert parameter.help, f"{path}: {parameter.name} has no help"


def test_the_root_help_says_what_the_commands_say_of_themselves() -> None:
    said = {name: command.get_short_help_str(200) for name, command in get_command(app).commands.items()}
    assert said == COMMANDS


def test_the_root_help_loads_no_command() -> None:
    code = "import sys; from megactor_cli.app import run; run(['--help']); print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_help_imports_nothing_heavy() -> None:
    groups = ["", *{path.split()[0] for path, _ in _commands(get_command(app))}]
    pages = [[*path.split(), "--help"] for path in {*groups, *surface()}]
    code = f"""
import sys
from megactor_cli.app import run
for page in {pages!r}:
    assert run(page) == 0, page
print("loaded:", *set({HEAVY!r}) & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded:"


def _readme_commands() -> list[str]:
    if not README.exists():
        return []
    blocks = re.findall(
        r"^```(?:bash|sh|console)\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S
    )
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip().removeprefix("$ ") for line in lines if re.match(r"\s*(\$ )?megactor\b", line)]


def test_the_readme_shows_the_main_commands() -> None:
    shown = {line.split()[1] for line in _readme_commands()}
    assert {"animate", "doctor"} <= shown


@pytest.mark.parametrize("line", _readme_commands())
def test_every_command_of_the_readme_parses(line: str) -> None:
    words = shlex.split(line, comments=True)
    end = next((index for index, word in enumerate(words) if word in {"|", ">", "&&", ";", "&"}), len(words))
    _parse(words[1:end])


def _parse(arguments: list[str]) -> None:
    """Parse as the program would, without running anything; raises Typer's usage error where it would."""
    command: Any = get_command(app)
    while arguments and arguments[0] in getattr(command, "commands", {}):
        command, arguments = command.commands[arguments[0]], arguments[1:]
    try:
        context = command.make_context("megactor", list(arguments))
    except typer.Exit:  # --help and --version end here
        return
    assert not hasattr(command, "commands"), f"no such command: {arguments}"
    context.close()


@pytest.mark.parametrize(
    "arguments", [["animate", "--alhpa", "1"], ["animat"], ["weights", "pull"], ["recipes"]]
)
def test_the_parser_of_this_test_refuses_what_the_program_refuses(arguments: list[str]) -> None:
    with pytest.raises((typer.TyperException, AssertionError)):
        _parse(arguments)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(surface(), indent=2) + "\n")
