"""Signing a video: a C2PA manifest that any change of the file breaks."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from megactor_core.errors import MediaError, MegActorError, first_line
from megactor_core.provenance.certificates import SigningKey
from megactor_core.provenance.library import context
from megactor_core.provenance.manifest import VIDEO_FORMAT, Ingredient, Manifest
from megactor_core.signals import undisturbed

if TYPE_CHECKING:
    from c2pa import Builder


def sign_video(source: Path, target: Path, *, manifest: Manifest, key: SigningKey) -> None:
    """Write the mp4 file `source` with its signed manifest to `target`.

    An ingredient that carries a manifest keeps it, valid or not. Memory does not grow with the file beyond
    the library's block of a quarter of a gigabyte. Nothing is fetched: there is no time stamp.
    Raises OSError where `target` cannot be written, MediaError where an ingredient cannot be read, and
    MegActorError where signing fails.
    """
    undisturbed(lambda: _sign(source, target, manifest=manifest, key=key))


def _sign(source: Path, target: Path, *, manifest: Manifest, key: SigningKey) -> None:
    from c2pa import C2paError, C2paSignerInfo, Signer

    info = C2paSignerInfo(key.algorithm, key.chain_pem, key.key_pem, None)  # None: no time-stamp authority
    writer: _Remembering | None = None
    try:
        with _builder(manifest) as builder, Signer.from_info(info) as signer, source.open("rb") as unsigned:
            writer = _Remembering(target)
            with io.BufferedRandom(writer) as signed:
                builder.sign(signer, VIDEO_FORMAT, unsigned, signed)
    except C2paError as error:
        if writer is not None and writer.failure is not None:
            raise writer.failure from None
        raise MegActorError(
            f"'{manifest.title}' cannot be signed ({first_line(error)}).",
            fix="Check the certificate, or write it unsigned with --no-provenance.",
        ) from None


def _builder(manifest: Manifest) -> "Builder":
    """The manifest with all ingredients, of a video that a model created."""
    from c2pa import Builder, C2paBuilderIntent, C2paDigitalSourceType

    kept = [ingredient for ingredient in manifest.ingredients if _carries_manifest(ingredient)]
    plain = [ingredient for ingredient in manifest.ingredients if ingredient not in kept]
    builder = Builder(json.dumps(manifest.definition(plain)), context=context())
    builder.set_intent(C2paBuilderIntent.CREATE, C2paDigitalSourceType.TRAINED_ALGORITHMIC_MEDIA)
    for ingredient in kept:
        with _opened(ingredient) as file:
            builder.add_ingredient(json.dumps(ingredient.definition()), ingredient.format, file)
    return builder


def _carries_manifest(ingredient: Ingredient) -> bool:
    """Whether a manifest can be read from the file; one that is too damaged to read cannot be kept either."""
    from c2pa import C2paError, Reader

    if not ingredient.may_carry_manifest:
        return False
    try:
        with _opened(ingredient) as file:
            reader = Reader.try_create(ingredient.format, file, context=context())
            if reader is not None:
                reader.close()
            return reader is not None
    except C2paError:
        return False


def _opened(ingredient: Ingredient) -> BinaryIO:
    try:
        return ingredient.path.open("rb")
    except OSError as error:
        raise MediaError(
            f"Cannot read '{ingredient.path}' ({error.strerror or error}).", fix="Check the path."
        ) from None


class _Remembering(io.FileIO):
    """A file that remembers why a write failed: the library only tells that one did."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self.failure: OSError | None = None

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content) or 0
        except OSError as error:
            self.failure = error
            raise
