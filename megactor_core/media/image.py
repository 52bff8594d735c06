"""Still images: reading any ordinary one as RGB, writing PNG, and laying pictures out side by side."""

import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from megactor_core.config.media import DEFAULT_LIMITS, MediaLimits
from megactor_core.errors import MediaError, OutputError
from megactor_core.files import atomic_path
from megactor_core.media.container import content_kind, require_media_file
from megactor_core.terminal import native_log_silenced

_FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
_GIVE_IMAGE: Final = "Give a PNG, JPEG, WebP, BMP, TIFF or GIF file."

# What Pillow's decoders raise on damaged files, as found by feeding them damaged files.
_DECODE_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    NotImplementedError,
    struct.error,
    zlib.error,
)

_16_BIT_MODES: Final = ("I", "I;16", "I;16B", "I;16L", "I;16N")

_PAPER: Final = (255, 255, 255)
_INK: Final = (20, 20, 20)
_GAP_PX: Final = 6
_FONT_PX_PER_TILE: Final = 1 / 11
_FONT_MIN_PX: Final = 12


def read_image(path: Path, *, limits: MediaLimits = DEFAULT_LIMITS) -> np.ndarray:
    """Read an image as (H, W, 3) uint8 RGB, upright by its EXIF orientation.

    Transparency is laid over white, 16-bit grey is reduced to 8 bits, CMYK and palettes are converted, and an
    animation gives its first frame. Colour profiles are not applied. The content decides the format, not the
    name.

    Raises MediaError where the file is missing, no image, damaged, or has more pixels than `limits` allow.
    """
    require_media_file(path, limits=limits)
    with _as_media_error(path), Image.open(path, formats=_FORMATS) as image:
        _require_pixels(path, image.size, limits=limits)
        image.seek(0)
        with native_log_silenced() if image.format == "TIFF" else nullcontext():  # its library is talkative
            image.load()
        return np.array(_as_rgb(path, ImageOps.exif_transpose(image)))


def write_image(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as PNG, whole or not at all.

    Raises OutputError where `path` does not end in .png or cannot be written, ValueError for another array.
    """
    if path.suffix.lower() != ".png":
        raise OutputError(
            f"'{path}' is to be a PNG, but its name ends in '{path.suffix}'.",
            fix="End the name in .png.",
        )
    _require_rgb(image)
    try:
        with atomic_path(path) as temporary:
            Image.fromarray(np.ascontiguousarray(image)).save(temporary, format="PNG")
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(
            f"Cannot write '{path}' ({reason}).", fix="Check the space in its folder."
        ) from None


def side_by_side(images: Sequence[np.ndarray], *, height: int) -> np.ndarray:
    """The images in a row, each scaled to `height` in its own proportions; (height, W, 3) uint8, W even.

    An odd sum of widths gets a last column of white, since video takes even sizes. Raises ValueError without
    images.
    """
    if not images:
        raise ValueError("side_by_side needs at least one image")
    row = np.concatenate([_scaled_to_height(image, height) for image in images], axis=1)
    return np.pad(row, ((0, 0), (0, row.shape[1] % 2), (0, 0)), constant_values=_PAPER[0])


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    *,
    row_labels: Sequence[str],
    column_labels: Sequence[str] = (),
    tile_px: int = 192,
) -> np.ndarray:
    """A labelled grid of pictures, (H, W, 3) uint8: dark text on white, a square tile for each picture.

    Pictures keep their proportions; rows may differ in length. Raises ValueError where the labels do not
    match the rows and columns.
    """
    columns = max((len(row) for row in rows), default=0)
    if len(row_labels) != len(rows) or len(column_labels) not in (0, columns):
        raise ValueError(
            f"{len(rows)} rows of {columns} columns have {len(row_labels)} row labels "
            f"and {len(column_labels)} column labels"
        )
    font = ImageFont.load_default(size=max(_FONT_MIN_PX, tile_px * _FONT_PX_PER_TILE))
    left, top = _label_space(row_labels, column_labels, font=font)
    step = tile_px + _GAP_PX
    sheet = Image.new("RGB", (left + columns * step + _GAP_PX, top + len(rows) * step + _GAP_PX), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for row_index, (label, row) in enumerate(zip(row_labels, rows, strict=True)):
        y = top + _GAP_PX + row_index * step
        draw.text((_GAP_PX, y + tile_px / 2), label, fill=_INK, font=font, anchor="lm")
        for column_index, image in enumerate(row):
            _paste_tile(sheet, image, x=left + _GAP_PX + column_index * step, y=y, tile_px=tile_px)
    for column_index, label in enumerate(column_labels):
        x = left + _GAP_PX + column_index * step + tile_px / 2
        draw.text((x, top), label, fill=_INK, font=font, anchor="md")
    return np.array(sheet)


@contextmanager
def _as_media_error(path: Path) -> Iterator[None]:
    """What Pillow raises or warns of becomes MediaError; sizes are checked by our own limit instead."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UnidentifiedImageError:
        raise MediaError(
            f"'{path}' is no image: it looks like {content_kind(path)}.", fix=_GIVE_IMAGE
        ) from None
    except Image.DecompressionBombError as error:
        raise MediaError(f"'{path}' is too large ({error}).", fix="Scale it down first.") from None
    except _DECODE_ERRORS as error:
        raise MediaError(f"'{path}' is damaged or cut off ({error}).", fix="Export it again.") from None


def _require_pixels(path: Path, size: tuple[int, int], *, limits: MediaLimits) -> None:
    width, height = size
    if width * height > limits.max_image_pixels:
        raise MediaError(
            f"'{path}' has {width} x {height} pixels; the limit is {limits.max_image_pixels} in all.",
            fix="Scale it down first.",
        )


def _as_rgb(path: Path, image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise MediaError(f"'{path}' holds floating-point pixels of unknown range.", fix="Export it as PNG.")
    if image.mode in _16_BIT_MODES:
        levels = np.clip(np.asarray(image), 0, 65535) // 257
        return Image.fromarray(levels.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        over_white = Image.new("RGBA", image.size, (*_PAPER, 255))
        over_white.alpha_composite(image.convert("RGBA"))
        return over_white.convert("RGB")
    return image.convert("RGB")


def _require_rgb(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"an image is (H, W, 3) uint8, not {image.shape} {image.dtype}")


def _scaled_to_height(image: np.ndarray, height: int) -> np.ndarray:
    _require_rgb(image)
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    if image.shape[:2] == (height, width):
        return image
    return np.array(
        Image.fromarray(np.ascontiguousarray(image)).resize((width, height), Image.Resampling.LANCZOS)
    )


def _label_space(
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    *,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> tuple[int, int]:
    """Pixels left of and above the tiles that the labels take."""
    widest = max((font.getbbox(label)[2] for label in row_labels), default=0)
    tallest = max((font.getbbox(label)[3] for label in column_labels), default=0)
    return int(widest) + 2 * _GAP_PX if widest else 0, int(tallest) + 2 * _GAP_PX if tallest else 0


def _paste_tile(sheet: Image.Image, image: np.ndarray, *, x: int, y: int, tile_px: int) -> None:
    _require_rgb(image)
    tile = ImageOps.contain(Image.fromarray(np.ascontiguousarray(image)), (tile_px, tile_px))
    sheet.paste(tile, (x + (tile_px - tile.width) // 2, y + (tile_px - tile.height) // 2))
