"""YAML that means what it says: no duplicate keys, no aliases, and only `true` and `false` are booleans.

YAML 1.1, which PyYAML reads, takes `off` for false, `1:30` for ninety and `1e-5` for text. The plain values
here are those of YAML 1.2's core schema instead, for reading and for writing alike.
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from megactor_core.errors import ConfigError, first_line
from megactor_core.files import read_bytes

MAX_YAML_BYTES = 1_000_000
"""Recipes are a page long; a larger file is not a recipe (ours)."""

_PLAIN_VALUES = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),
)
_UNICODE_BREAKS = frozenset("\x85\u2028\u2029")


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def compose_node(self, parent: Any, index: Any) -> Any:
        # An alias can make a short file expand without end, a tag can name any type; nothing here needs them.
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise _unsupported("aliases (*name)", event)
        if getattr(event, "tag", None) is not None:
            raise _unsupported("tags (!name)", event)
        return super().compose_node(parent, index)

    def construct_yaml_int(self, node: Any) -> int:
        # PyYAML would read a leading zero as octal.
        return int(self.construct_scalar(node))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key '{key.value}' is given twice", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def represent_text(self, text: str) -> yaml.Node:
        # Unquoted, PyYAML would write these line breaks as they are and read them back as spaces.
        style = '"' if _UNICODE_BREAKS.intersection(text) else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


_Dumper.add_representer(str, _Dumper.represent_text)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
for _tag, _pattern, _first in _PLAIN_VALUES:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first)


def parse_yaml(text: str, *, source: str) -> Any:
    """The value of a YAML text. `source` names it in messages: `recipe 'paper'`, `--set steps=4`.

    Raises ConfigError with line and column.
    """
    try:
        # _Loader is a SafeLoader: it builds plain values only, never objects.
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{source}{_place(error)}: {error.problem or error.context}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: {first_line(error)}.") from None
    except ValueError:  # Python refuses to read thousands of digits
        raise ConfigError(f"{source}: a number has too many digits.") from None
    except RecursionError:
        raise ConfigError(f"{source}: values are nested too deeply.") from None


def to_yaml(value: Any) -> str:
    """`value` as YAML that `parse_yaml` reads back to an equal value; keys keep their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def read_text_file(path: Path, *, source: str, max_bytes: int = MAX_YAML_BYTES) -> str:
    """The text of a small UTF-8 file; raises ConfigError where it is missing, too large or not text."""
    try:
        return read_bytes(path, max_bytes=max_bytes).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{source} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source} is not a text file (byte {error.start} is not UTF-8).") from None
    except ValueError as error:
        raise ConfigError(f"{source} cannot be read: {error}.", fix="Is it the right file?") from None


def _unsupported(what: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, f"{what} are not supported", event.start_mark)


def _place(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
