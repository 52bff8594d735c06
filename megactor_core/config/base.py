"""The frozen base of every configuration, and errors in the user's words that name the nearest valid name."""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from megactor_core.errors import ConfigError

Subject = Callable[[tuple[str, ...]], str]
"""Names the value at a path of keys in messages: `--alpha`, or `recipe 'fast': 'window.frames'`."""

_SHOWN_CHARACTERS = 80
_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "fraction_parsing": "a number or a fraction",
    "fraction_type": "a number or a fraction",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "model_type": "a group of settings",
    "multiple_of": "a multiple of {multiple_of}",
    "path_type": "a path",
    "string_type": "text",
    "tuple_type": "a list",
}
"""What a value must be, by pydantic's type of error; other errors keep their own message."""


class Config(BaseModel):
    """A frozen configuration: unknown keys are rejected, values are checked, defaults live here only."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )

    @classmethod
    def build(cls, values: dict[str, Any], *, source: str | Subject) -> Self:
        """Validate `values` and name `source` (a file, `--set`, an option) where they do not fit.

        Raises ConfigError with the dotted key, the value and, for an unknown key, the nearest valid one.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(_explain(cls, error.errors(), _subject_of(source))) from None

    @field_validator("*", mode="before")
    @classmethod
    def _require_given_path(cls, value: Any, field: ValidationInfo) -> Any:
        # An empty path would be the folder that the command was started in.
        is_empty = isinstance(value, str) and not value
        if is_empty and is_path(cls.model_fields[str(field.field_name)].annotation):
            raise PydanticCustomError("path_type", "must be a path")
        return value

    def updated(self, label: str = "override", /, **changes: Any) -> Self:
        """A validated copy with some top-level fields replaced."""
        return type(self).build({**self.model_dump(), **changes}, source=label)


def is_path(annotation: Any) -> bool:
    """Whether a field's type is a path, or a path or None."""
    return annotation is Path or Path in get_args(annotation)


def nearest(name: str, valid: Sequence[str]) -> str:
    """A phrase that offers the valid name closest to `name`, or lists the valid names."""
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return "valid names: " + ", ".join(sorted(valid))


def _subject_of(source: str | Subject) -> Subject:
    if not isinstance(source, str):
        return source

    def subject(path: tuple[str, ...]) -> str:
        return f"{source}: '{'.'.join(path)}'" if path else source

    return subject


def _explain(cls: type[Config], errors: list[ErrorDetails], subject: Subject) -> str:
    # A value that fits no branch of a union gives one error a branch: they are one mistake.
    by_path: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for error in errors:
        path = tuple(str(part) for part in error["loc"])
        if error["type"] != "extra_forbidden":
            path = path[: _known_depth(cls, path)]
        by_path.setdefault(path, []).append(error)
    text = "; ".join(_clause(cls, path, group, subject(path)) for path, group in by_path.items())
    return text if text.endswith("?") else f"{text}."


def _clause(cls: type[Config], path: tuple[str, ...], errors: list[ErrorDetails], subject: str) -> str:
    first = errors[0]
    if first["type"] == "extra_forbidden":
        group = "".join(f"{name}." for name in path[:-1])
        known = [f"{group}{name}" for name in _fields_at(cls, path[:-1])]
        return f"{subject} is not a known key; {nearest('.'.join(path), known)}"
    if first["type"] == "missing":
        return f"{subject} is required"
    expected = [_EXPECTED[e["type"]].format(**e.get("ctx", {})) for e in errors if e["type"] in _EXPECTED]
    if expected:
        return f"{subject} is {_shown(first['input'])}, but must be {' or '.join(expected)}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{subject}: {message}" if subject else message


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print numbers of thousands of digits
        return "a number of too many digits"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _known_depth(cls: type[BaseModel], path: tuple[str, ...]) -> int:
    """How many leading parts of a pydantic location are field names; the rest are list indices and types."""
    for depth in range(len(path)):
        if path[depth] not in _fields_at(cls, path[:depth]):
            return depth
    return len(path)


def _fields_at(cls: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The field names of the group at `path`; empty where there is no group."""
    for name in path:
        field = cls.model_fields.get(name)
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        cls = inner
    return list(cls.model_fields)
