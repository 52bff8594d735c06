"""One `megactor` command as people type it, and the configuration that it means.

The demo takes its settings from the very commands that its page shows, so that the two cannot disagree.
"""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from megactor_core.config.base import Config
from megactor_core.config.recipes import load_config, option_name

AnyConfig = TypeVar("AnyConfig", bound=Config)
Given = str | int | float | Path | Literal[True] | tuple[str, ...]
"""Of an option: True is a switch, several texts are a list with commas."""

_WIDTH: Final = 100
"""Characters of a line."""


@dataclass(frozen=True, slots=True)
class Command:
    """`megactor NAME SOURCE --recipe RECIPE --OPTION VALUE ... --set KEY=VALUE ...`"""

    name: str
    source: Path | None = None
    recipe: str | None = None
    options: Mapping[str, Given] = field(default_factory=dict)
    """By field of the configuration."""
    overrides: tuple[str, ...] = ()

    def config(self, kind: type[AnyConfig]) -> AnyConfig:
        """The configuration, of the command's own class `kind`."""
        given: dict[str, Any] = dict(self.options)
        if self.source is not None:
            takes_many = "sources" in kind.model_fields
            given |= {"sources": (self.source,)} if takes_many else {"source": self.source}
        return load_config(
            kind, command=self.name, recipe=self.recipe, overrides=self.overrides, options=given
        )

    def text(self) -> str:
        """What to type into a shell; long commands go over several lines."""
        first, *rest = self._parts()
        lines = [first]
        for part in rest:
            if len(lines[-1]) + 1 + len(part) > _WIDTH:
                lines.append(f"    {part}")
            else:
                lines[-1] += f" {part}"
        return " \\\n".join(lines)

    def _parts(self) -> Iterator[str]:
        """What must not be torn apart."""
        yield f"megactor {self.name}"
        if self.source is not None:
            yield shlex.quote(str(self.source))
        if self.recipe is not None:
            yield f"--recipe {shlex.quote(self.recipe)}"
        for name, value in self.options.items():
            yield option_name(name) if value is True else f"{option_name(name)} {shlex.quote(_plain(value))}"
        for override in self.overrides:
            yield f"--set {shlex.quote(override)}"


def _plain(value: Given) -> str:
    match value:
        case tuple():
            return ",".join(value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)
