"""What a signed video says of itself: who made it how, and out of what."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from megactor_core.version import megactor_version

TOOL: Final = "megactor"
DIGITAL_SOURCE_TYPE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for what a trained model made."""
FACTS_LABEL: Final = "megactor.animation"
"""Of our own assertion."""
VIDEO_FORMAT: Final = "video/mp4"
_HASH_PREFIX: Final = "sha256:"

# What the signer may look into for a manifest. Any other file is named with its hash alone.
_FORMATS: Final = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".m4a": "audio/mp4",
    ".avi": "video/avi",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
_UNKNOWN_FORMAT: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A file that the video was made of."""

    path: Path
    sha256: str

    @property
    def name(self) -> str:
        """The file's name alone: where it lies is the user's business."""
        return printable(self.path.name)

    @property
    def format(self) -> str:
        """Its media type, by its name."""
        return _FORMATS.get(self.path.suffix.lower(), _UNKNOWN_FORMAT)

    @property
    def may_carry_manifest(self) -> bool:
        return self.format != _UNKNOWN_FORMAT

    def definition(self) -> dict[str, str]:
        """As c2pa takes it. The instance identifier, which C2PA leaves to the tool, is the file's hash."""
        return {
            "title": self.name,
            "format": self.format,
            "relationship": "inputTo",
            "instance_id": f"{_HASH_PREFIX}{self.sha256}",
        }


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of one video, before it is signed."""

    title: str
    facts: Mapping[str, Any]
    """Plain values: of the assertion `megactor.animation`. Lists of numbers are read back as text."""
    ingredients: tuple[Ingredient, ...]

    def definition(self, ingredients: Sequence[Ingredient]) -> dict[str, Any]:
        """As c2pa's builder takes it, with those ingredients that have no manifest of their own."""
        return {
            "claim_generator_info": [{"name": TOOL, "version": megactor_version()}],
            "title": self.title,
            "ingredients": [ingredient.definition() for ingredient in ingredients],
            "assertions": [{"label": FACTS_LABEL, "data": _assertable(self.facts), "created": True}],
        }


def ingredient_rows(manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The ingredients that a signed manifest names; sha256 is None where another tool left it out."""
    for ingredient in manifest.get("ingredients", ()):
        identifier = str(ingredient.get("instance_id", ""))
        is_hash = identifier.startswith(_HASH_PREFIX)
        yield {
            "name": ingredient.get("title", ""),
            "sha256": identifier.removeprefix(_HASH_PREFIX) if is_hash else None,
            "signed": "active_manifest" in ingredient,
        }


def _assertable(value: Any) -> Any:
    """Plain values with lists of numbers as text: c2pa's reader takes such a list for bytes."""
    match value:
        case Mapping():
            return {key: _assertable(item) for key, item in value.items()}
        case list() | tuple():
            has_numbers = any(isinstance(item, int | float) for item in value)
            return json.dumps(value) if has_numbers else [_assertable(item) for item in value]
    return value


def printable(name: str) -> str:
    """A file name as text: bytes that are no UTF-8 become \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
