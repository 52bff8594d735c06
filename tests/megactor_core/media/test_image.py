import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from megactor_core.config.media import MediaLimits
from megactor_core.errors import MediaError, OutputError
from megactor_core.media.image import contact_sheet, read_image, side_by_side, write_image

ORIENTATION_TAG = 0x0112


def picture(width: int = 32, height: int = 24) -> np.ndarray:
    """Red, green in the upper half; blue, white in the lower."""
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    return pixels


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("format_", "tolerance"), [("PNG", 0), ("BMP", 0), ("TIFF", 0), ("WEBP", 0), ("GIF", 0), ("JPEG", 4)]
)
def test_formats_are_read_by_content_not_name(tmp_path: Path, format_: str, tolerance: int) -> None:
    lossy: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}
    options = lossy.get(format_, {})
    path = saved(tmp_path / "portrait.txt", Image.fromarray(picture()), format=format_, **options)
    image = read_image(path)
    assert (image.dtype, image.shape) == (np.dtype(np.uint8), (24, 32, 3))
    assert np.abs(image.astype(int) - picture()).max() <= tolerance
    assert image.flags.writeable


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
def test_colour_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    chequered = np.kron(np.array([[0, 255], [255, 0]], np.uint8), np.ones((8, 8), np.uint8))
    pixels = np.stack([chequered] * 3, axis=2)
    path = saved(tmp_path / "x.tif", Image.fromarray(pixels).convert(mode))
    assert np.abs(read_image(path).astype(int) - pixels).max() <= 2


@pytest.mark.parametrize("byte_order", ["<u2", ">u2"])
def test_16_bit_grey_keeps_its_range(tmp_path: Path, byte_order: str) -> None:
    levels = np.linspace(0, 65535, 256).round().astype(byte_order).reshape(16, 16)
    for name in ("x.png", "x.tif"):
        Image.fromarray(levels.astype("<u2") if name == "x.png" else levels).save(tmp_path / name)
        image = read_image(tmp_path / name)
        assert np.array_equal(image[..., 0].ravel(), np.arange(256))
        assert (image[..., 0] == image[..., 2]).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_over_white(tmp_path: Path, mode: str) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, 4:, 3] = 255
    pixels[0, 0] = (0, 0, 0, 128)
    image = Image.fromarray(pixels)
    path = saved(tmp_path / "x.png", image.convert(mode))
    read = read_image(path)
    assert (read[1:, :4] == 255).all()
    assert (read[:, 4:] == 0).all()
    assert read[0, 0, 0] == pytest.approx(127, abs=1)


def test_a_transparent_palette_lies_over_white(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putpixel((3, 3), 1)
    read = read_image(saved(tmp_path / "x.png", image, transparency=0))
    assert read[0, 0].tolist() == [255, 255, 255]
    assert read[3, 3].tolist() == [0, 0, 200]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, format_: str) -> None:
    upright = Image.fromarray(picture())
    # The transpositions that a camera held this way would have recorded (Exif 2.32, 4.6.4).
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(turn[orientation]) if orientation in turn else upright
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    read = read_image(saved(tmp_path / "x", stored, format=format_, exif=exif))
    assert read.shape == (24, 32, 3)
    assert np.abs(read[3::6, 4::8].astype(int) - picture()[3::6, 4::8]).max() < 30


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation(tmp_path: Path, format_: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "green")]
    path = saved(tmp_path / "x", frames[0], format=format_, save_all=True, append_images=frames[1:])
    assert np.abs(read_image(path).astype(int) - [255, 0, 0]).max() <= 4


def test_too_many_pixels_are_refused_from_the_header(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", Image.new("L", (3000, 1000)))
    with pytest.raises(MediaError, match="3000 x 1000 pixels; the limit is 2999999"):
        read_image(path, limits=MediaLimits(max_image_pixels=2_999_999))
    assert read_image(path).shape == (1000, 3000, 3)


@pytest.mark.parametrize("side", [10_100, 20_000])
def test_a_small_file_of_enormous_size_is_refused_unread(tmp_path: Path, side: int) -> None:
    path = saved(tmp_path / "x.png", Image.new("1", (16, 16)))
    content = bytearray(path.read_bytes())
    content[16:24] = side.to_bytes(4, "big") * 2
    # The header's checksum follows its 13 bytes.
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MediaError, match="pixels"):
            read_image(path)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_a_truncated_image_is_damaged(tmp_path: Path, format_: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path / "x", Image.fromarray(noise), format=format_)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(MediaError, match=r"damaged|no image"):
        read_image(path)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_damage_anywhere_never_leaks_another_error(tmp_path: Path, format_: str) -> None:
    path = saved(tmp_path / "x", Image.fromarray(picture()), format=format_)
    good = path.read_bytes()
    noise = np.random.default_rng(4)
    for _ in range(150):
        content = bytearray(good)
        for place in noise.integers(0, len(content), 5):
            content[place] ^= int(noise.integers(1, 256))
        path.write_bytes(content)
        try:
            image = read_image(path, limits=MediaLimits(max_image_pixels=1_000_000))
        except MediaError as error:
            message = str(error)
            assert str(path) in message
        else:
            assert image.ndim == 3
            assert image.dtype == np.uint8


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.tif", Image.fromarray(np.zeros((4, 4), np.float32)))
    with pytest.raises(MediaError, match="floating-point"):
        read_image(path)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("image") / "x.png"
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    write_image(path, pixels[:, ::-1])
    assert np.array_equal(read_image(path), pixels[:, ::-1])
    assert list(path.parent.iterdir()) == [path]


def test_write_image_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"ends in '\.jpg'"):
        write_image(tmp_path / "x.jpg", picture())
    for wrong in (picture()[..., 0], picture().astype(np.float32), np.zeros((4, 4, 4), np.uint8)):
        with pytest.raises(ValueError, match="uint8, not"):
            write_image(tmp_path / "x.png", wrong)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_image(tmp_path / "file" / "x.png", picture())
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError):
        write_image(tmp_path / "folder.png", picture())


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=4), st.integers(1, 64)
)
def test_side_by_side_has_the_height_asked_for_and_an_even_width(
    sizes: list[tuple[int, int]], height: int
) -> None:
    row = side_by_side([np.zeros((h, w, 3), np.uint8) for w, h in sizes], height=height)
    widths = [max(1, round(w * height / h)) for w, h in sizes]
    assert row.shape == (height, sum(widths) + sum(widths) % 2, 3)
    assert row.dtype == np.uint8


def test_side_by_side_keeps_order_and_content() -> None:
    left, right = picture(), picture()[:, ::-1]
    assert np.array_equal(side_by_side([left, right], height=24), np.concatenate([left, right], axis=1))
    with pytest.raises(ValueError, match="at least one"):
        side_by_side([], height=24)


def test_contact_sheet_places_and_labels_every_tile() -> None:
    red, blue = (np.full((40, 20, 3), c, np.uint8) for c in ((255, 0, 0), (0, 0, 255)))
    rows = [[red, blue], [blue]]
    sheet = contact_sheet(rows, row_labels=["first", "second"], column_labels=["a", "b"], tile_px=64)
    is_red = (sheet == [255, 0, 0]).all(axis=2)
    is_blue = (sheet == [0, 0, 255]).all(axis=2)
    # Tall pictures fill the height of their tiles in their own proportions.
    assert is_red.sum() == 64 * 32
    assert is_blue.sum() == 2 * 64 * 32
    top, left = (int(axis.min()) for axis in np.nonzero(is_red | is_blue))
    assert (sheet[:, : left - 16] < 100).all(axis=2).any()
    assert (sheet[:top] < 100).all(axis=2).any()
    bare = contact_sheet(rows, row_labels=["", ""], tile_px=64)
    assert bare.shape[0] < sheet.shape[0]
    assert bare.shape[1] < sheet.shape[1]


def test_contact_sheet_checks_its_labels() -> None:
    with pytest.raises(ValueError, match="1 rows of 1 columns have 2 row labels"):
        contact_sheet([[picture()]], row_labels=["a", "b"])
    with pytest.raises(ValueError, match="2 column labels"):
        contact_sheet([[picture()]], row_labels=["a"], column_labels=["a", "b"])


@pytest.mark.real
def test_real_portraits(real_data: Path) -> None:
    sizes = {
        "facerec_obama.jpg": (1137, 910),
        "hallo_3.jpg": (979, 979),
        "megactor_source_4.png": (1792, 1630),
    }
    for name, size in sizes.items():
        assert read_image(real_data / "portraits" / name).shape == (*size, 3)
