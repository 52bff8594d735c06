"""megactor recipes: list, show, copy and check configurations."""

from pathlib import Path
from typing import Annotated

import typer

from megactor_cli.console import Console
from megactor_cli.options import Json, Quiet
from megactor_core.config.recipes import check_recipe, copy_recipe, find_shipped_recipe, list_recipes
from megactor_core.errors import ConfigError

app = typer.Typer(no_args_is_help=True, help="List, show, copy and check recipes (YAML configurations).")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A shipped recipe, such as animate/paper.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """List the shipped recipes."""
    recipes = list_recipes()
    console = Console(json=json)
    if json:
        rows = [{"name": r.full_name, "summary": r.summary, "path": str(r.path)} for r in recipes]
        console.print_json({"recipes": rows})
    else:
        console.table(["recipe", "what it does"], [[r.full_name, r.summary] for r in recipes])


@app.command()
def show(name: Name) -> None:
    """Print a shipped recipe, comments and all."""
    Console().text(find_shipped_recipe(name).path.read_text(encoding="utf-8"))


@app.command()
def copy(
    name: Name,
    destination: Annotated[
        Path | None,
        typer.Argument(metavar="[DEST]", help="File or folder. Default: here, under its own name."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Copy a shipped recipe to edit it; an existing file stays as it is."""
    console = Console(json=json, quiet=quiet)
    copied = copy_recipe(name, destination or Path())
    console.note(f"Use it with --recipe {copied}")
    console.result({"copied": str(copied)})


@app.command()
def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILES]...", help="Files or shipped names. Default: every shipped recipe."),
    ] = None,
    command: Annotated[
        str | None,
        typer.Option("--for", metavar="COMMAND", help="The command it is for. Default: the folder's name."),
    ] = None,
    json: Json = False,
) -> None:
    """Check that recipes describe valid configurations."""
    problems: dict[str, str] = {}
    shipped = {Path(recipe.full_name): recipe.path for recipe in list_recipes()}
    paths = [path if path.exists() else shipped.get(path, path) for path in files or shipped]
    for path in paths:
        try:
            check_recipe(path, command=command)
        except ConfigError as error:
            problems[str(path)] = str(error)
    _report(Console(json=json), paths, problems)
    if problems:
        raise typer.Exit(ConfigError.exit_code)


def _report(console: Console, paths: list[Path], problems: dict[str, str]) -> None:
    if console.json:
        console.print_json({"checked": [str(path) for path in paths], "problems": problems})
    else:
        console.table(["result", "recipe"], [_verdict(path, problems) for path in paths])


def _verdict(path: Path, problems: dict[str, str]) -> tuple[str, str]:
    problem = problems.get(str(path))
    return ("invalid", problem) if problem else ("ok", str(path))
