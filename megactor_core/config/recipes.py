"""Recipes: YAML files that state a configuration's differences from its defaults, and how they combine.

Where a setting is given twice: option > `--set` > recipe > default. Paths inside recipes are relative to the
working directory, as paths on the command line are.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from megactor_core.config.base import Config, Subject, nearest
from megactor_core.config.yaml_text import parse_yaml, read_text_file, to_yaml
from megactor_core.errors import ConfigError, OutputError
from megactor_core.files import atomic_path

COMMANDS = ("animate", "synth", "curate", "preprocess", "train", "evaluate")
"""The commands that take recipes."""

_PACKAGE = Path(__file__).resolve().parents[1]
_SUFFIXES = (".yaml", ".yml")

AnyConfig = TypeVar("AnyConfig", bound=Config)


@dataclass(frozen=True, slots=True)
class RecipeInfo:
    """A shipped recipe; `summary` is its first comment line."""

    command: str
    name: str
    path: Path
    summary: str

    @property
    def full_name(self) -> str:
        """`animate/paper`: unique over all commands."""
        return f"{self.command}/{self.name}"


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings from one place; `label` names it in messages: `recipe 'fast'`, `--set`, `--alpha`."""

    kind: Literal["file", "set", "option"]
    label: str
    values: dict[str, Any]

    def subject(self, path: Sequence[str]) -> str:
        """How a message names the setting at `path`."""
        dotted = ".".join(path)
        match self.kind:
            case "file":
                return f"{self.label}: '{dotted}'"
            case "set":
                return f"{self.label} {dotted}"
            case "option":
                return self.label


def config_class(command: str) -> type[Config]:
    """The configuration of one of COMMANDS; only that one is imported, so that help answers at once."""
    match command:
        case "animate":
            from megactor_core.config.animate import AnimateConfig

            return AnimateConfig
        case "synth":
            from megactor_core.config.synth import SynthConfig

            return SynthConfig
        case "curate":
            from megactor_core.config.curate import CurateConfig

            return CurateConfig
        case "preprocess":
            from megactor_core.config.preprocess import PreprocessConfig

            return PreprocessConfig
        case "train":
            from megactor_core.config.train import TrainConfig

            return TrainConfig
        case "evaluate":
            from megactor_core.config.evaluate import EvaluateConfig

            return EvaluateConfig
        case _:
            raise ConfigError(f"'{command}' takes no recipes.", fix=nearest(command, COMMANDS))


def recipes_folder() -> Path:
    """The folder of the shipped recipes: inside an installed package, or beside it in a checkout."""
    for folder in (_PACKAGE / "recipes", _PACKAGE.parent / "recipes"):
        if folder.is_dir():
            return folder
    raise ConfigError(
        "The shipped recipes are missing from this installation.", fix="Install megactor again."
    )


def list_recipes() -> list[RecipeInfo]:
    """Every shipped recipe, sorted by command and name."""
    paths = sorted(recipes_folder().glob("*/*.yaml"))
    return [RecipeInfo(path.parent.name, path.stem, path, _summary(path)) for path in paths]


def find_recipe(command: str, name_or_path: str) -> Path:
    """The file of a recipe: a shipped name (`paper`, `animate/paper`), or a path.

    Raises ConfigError with the nearest name for an unknown one.
    """
    shipped = {recipe.name: recipe.path for recipe in list_recipes() if recipe.command == command}
    if path := shipped.get(name_or_path.removeprefix(f"{command}/")):
        return path
    path = Path(name_or_path)
    if path.is_file():
        return path
    if other := next((recipe for recipe in list_recipes() if recipe.full_name == name_or_path), None):
        raise ConfigError(
            f"The recipe '{name_or_path}' is for `megactor {other.command}`, not for {command}.",
            fix=f"Recipes for {command}: {', '.join(sorted(shipped)) or 'none'}.",
        )
    if path.suffix in _SUFFIXES or len(path.parts) > 1:
        raise ConfigError(
            f"There is no recipe file '{path}'.", fix="Shipped recipes are listed by `megactor recipes list`."
        )
    raise ConfigError(
        f"There is no recipe '{name_or_path}' for {command};", fix=nearest(path.name, list(shipped))
    )


def find_shipped_recipe(full_name: str) -> RecipeInfo:
    """The shipped recipe `animate/paper`, or `paper` where one command alone has a recipe of that name.

    Raises ConfigError with the nearest name for an unknown one.
    """
    shipped = {recipe.full_name: recipe for recipe in list_recipes()}
    if full_name in shipped:
        return shipped[full_name]
    namesakes = [name for name, recipe in shipped.items() if recipe.name == full_name]
    match namesakes:
        case [name]:
            return shipped[name]
        case []:
            fix = nearest(full_name, list(shipped))
        case _:
            fix = f"did you mean {' or '.join(repr(name) for name in namesakes)}?"
    raise ConfigError(f"There is no shipped recipe '{full_name}';", fix=fix)


def read_recipe(path: Path) -> dict[str, Any]:
    """The settings of a recipe file; raises ConfigError where it is not a YAML mapping with text keys."""
    source = f"recipe '{path}'"
    return require_mapping(parse_yaml(read_text_file(path, source=source), source=source), source=source)


def require_mapping(value: Any, *, source: str) -> dict[str, Any]:
    """`value` where it is a mapping with text keys; raises ConfigError otherwise."""
    if value is None:
        raise ConfigError(f"{source} is empty.", fix="Write settings as `key: value`.")
    if not isinstance(value, dict):
        raise ConfigError(
            f"{source} holds a {type(value).__name__}, but must be settings of the form `key: value`."
        )
    for key in value:
        if not isinstance(key, str):
            raise ConfigError(f"{source}: the key {key!r} is not a name.")
    return value


def parse_override(text: str) -> Layer:
    """One `--set group.key=value`; the value is YAML. Raises ConfigError where it is malformed."""
    key, equals, value = text.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise ConfigError(
            f"--set '{text}' is not of the form key=value.",
            fix="Example: --set seed=1, or --set group.key=value",
        )
    nested: Any = parse_yaml(value, source=f"--set {key.strip()}")
    for name in reversed(path):
        nested = {name: nested}
    return Layer("set", "--set", nested)


def config_layers(
    *, command: str, recipe: str | None, overrides: Sequence[str], options: dict[str, Any]
) -> list[Layer]:
    """What the user said, weakest first. Options whose value is None were not given."""
    layers: list[Layer] = []
    if recipe is not None:
        layers.append(Layer("file", f"recipe '{recipe}'", read_recipe(find_recipe(command, recipe))))
    layers += [parse_override(text) for text in overrides]
    given = {name: value for name, value in options.items() if value is not None}
    return layers + [Layer("option", option_name(name), {name: value}) for name, value in given.items()]


def option_name(field: str) -> str:
    """The command-line option of a configuration field: `--audio-scale` for `audio_scale`."""
    return "--" + field.replace("_", "-")


def build_config(config_class: type[AnyConfig], layers: Sequence[Layer]) -> AnyConfig:
    """The configuration that `layers`, weakest first, describe; raises ConfigError that names the layer."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _merged(merged, layer.values)
    return config_class.build(merged, source=_subject_among(layers))


def load_config(
    config_class: type[AnyConfig],
    *,
    command: str,
    recipe: str | None,
    overrides: Sequence[str],
    options: dict[str, Any],
) -> AnyConfig:
    """The configuration of one run: option > `--set` > recipe > default.

    Raises ConfigError that names the place, the dotted key, the value and what is allowed.
    """
    return build_config(
        config_class, config_layers(command=command, recipe=recipe, overrides=overrides, options=options)
    )


def check_recipe(path: Path, *, command: str | None = None) -> None:
    """Validate a recipe file as `command`'s, by default the name of the folder it lies in.

    Raises ConfigError where it does not describe a valid configuration.
    """
    command = command or path.absolute().parent.name
    if command not in COMMANDS:
        raise ConfigError(
            f"'{path}' could be a recipe for any command ('{command}' is none).",
            fix=f"Add --for with one of: {', '.join(COMMANDS)}.",
        )
    build_config(config_class(command), [Layer("file", f"recipe '{path}'", read_recipe(path))])


def copy_recipe(full_name: str, destination: Path) -> Path:
    """Copy a shipped recipe to a file, or into a folder under its own name; the path written.

    Raises OutputError where that file exists or cannot be written.
    """
    recipe = find_shipped_recipe(full_name)
    target = destination / recipe.path.name if destination.is_dir() else destination
    if os.path.lexists(target):
        raise OutputError(f"'{target}' exists already.", fix="Give another name.")
    try:
        os.stat(target.parent)  # a mistyped folder is not made
        with atomic_path(target) as temporary:
            temporary.write_bytes(recipe.path.read_bytes())
    except OSError as error:
        raise OutputError(f"'{target}' cannot be written ({error.strerror}).") from None
    return target


def dump_config(config: Config) -> str:
    """The whole resolved configuration as YAML; it loads back to an equal configuration."""
    return to_yaml(config.model_dump(mode="json"))


def save_config(config: Config, path: Path) -> None:
    """Write `dump_config` to a file, atomically; raises OutputError where that is not possible."""
    with atomic_path(path) as temporary:
        temporary.write_text(dump_config(config), encoding="utf-8")


def _summary(path: Path) -> str:
    first = read_text_file(path, source=f"recipe '{path}'").partition("\n")[0]
    return first.removeprefix("#").strip()


def _merged(weak: dict[str, Any], strong: dict[str, Any]) -> dict[str, Any]:
    merged = dict(weak)
    for key, value in strong.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _subject_among(layers: Sequence[Layer]) -> Subject:
    def subject(path: tuple[str, ...]) -> str:
        if not path:
            return ""
        owner = next((layer for layer in reversed(layers) if _gives(layer.values, path)), None)
        return owner.subject(path) if owner else f"'{'.'.join(path)}'"

    return subject


def _gives(values: Any, path: Sequence[str]) -> bool:
    """Whether `values` decides the setting at `path`, itself or by replacing a group above it."""
    for name in path:
        if not isinstance(values, dict):
            return True
        if name not in values:
            return False
        values = values[name]
    return True
