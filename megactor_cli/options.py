"""Options that several commands share, and options that are made from configuration fields."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from megactor_core.config.base import Config, is_path
from megactor_core.config.recipes import option_name

NO_METAVAR = ""
"""For switches: Typer would write <bool> beside them."""

Text = str | None
"""The type of options: values stay text, and the configuration checks them, in one place and one voice."""

Recipe = Annotated[
    str | None, typer.Option("--recipe", metavar="NAME", help="A shipped recipe's name, or a YAML file.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set any setting: seed=1, group.key=2. Repeatable."),
]
Json = Annotated[
    bool, typer.Option("--json", metavar=NO_METAVAR, help="Print the result as one JSON object on stdout.")
]
Quiet = Annotated[bool, typer.Option("--quiet", metavar=NO_METAVAR, help="No progress and no notes.")]


def given_path(text: str) -> Path:
    """A path that is not empty: `--output "$OUT"` with OUT unset would mean the folder one is in."""
    if not text:
        raise typer.BadParameter("the path is empty.")
    return Path(text)


def config_option(config: type[Config], field: str, *, panel: str, metavar: str) -> Any:
    """The option of a configuration field: `--audio-scale` for `audio_scale`, with the field's own help.

    It has no default ("not given"), so that the default is declared in the configuration alone.
    """
    info = config.model_fields[field]
    return typer.Option(
        option_name(field),
        help=_help(info),
        metavar=metavar,
        rich_help_panel=panel,
        parser=given_path if is_path(info.annotation) else None,
    )


def config_flag(config: type[Config], field: str, *, panel: str) -> Any:
    """The switch that turns a configuration field on; `--set` can turn it off again."""
    return config_option(config, field, panel=panel, metavar=NO_METAVAR)


def config_switch(config: type[Config], field: str, *, panel: str) -> Any:
    """The two switches `--field` and `--no-field` of what is on unless somebody turns it off."""
    name = option_name(field)
    return typer.Option(
        f"{name}/--no-{name.removeprefix('--')}",
        help=_help(config.model_fields[field]),
        metavar=NO_METAVAR,
        rich_help_panel=panel,
    )


def fields_given(config: type[Config], arguments: dict[str, Any]) -> dict[str, Any]:
    """The command's arguments that are fields of `config`, as `load_config` takes its options."""
    return {name: value for name, value in arguments.items() if name in config.model_fields}


def comma_list(text: str) -> tuple[str, ...]:
    """`eyes,mouth` as a tuple."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _help(field: FieldInfo) -> str:
    text = re.sub(r" \[[^]]*]", "", field.description or "")  # without marks of sources such as [R]
    text = text.replace("None:", "Default:").replace("[", "\\[")
    choices = _choices(field.annotation)
    if choices:
        text += f" One of: {', '.join(choices)}."
    if field.is_required() or field.default is None or isinstance(field.default, bool):
        return text
    return f"{text} Default: {field.default}."


def _choices(annotation: Any) -> tuple[str, ...]:
    return tuple(map(str, get_args(annotation))) if get_origin(annotation) is Literal else ()
