"""Small files that unpack, or claim to unpack, to far more than there is, each beside its reader.

They are tried as they are, in children with little memory.
"""

import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from files_parsers import (
    hash_again,
    make_checkpoint,
    read_clips,
    read_curated,
    read_data,
    read_sample,
    read_sources,
    read_weights,
)
from media_parsers import hear, make_sound, make_video, watch
from parsers import Parser

from megactor_core.config.jobs import load_jobs
from megactor_core.config.recipes import check_recipe
from megactor_core.media.image import read_image
from megactor_core.models.checkpoint import load_checkpoint
from megactor_core.synthetic.truth import read_truth

DEEP = 100_000
Read = Callable[[Path], object]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *extra: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes((3 * min(width, 64) + 1) * min(height, 64)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", head), *extra, chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    )


def grey_png(side: int) -> bytes:
    """As it should be: a kilobyte for each 8 million pixels."""
    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg(width: int, height: int) -> bytes:
    frame = struct.pack(">BHHB", 8, height, width, 1) + bytes([1, 0x11, 0])
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", 2 + len(frame)) + frame + b"\xff\xd9"


ZEROS = zlib.compress(bytes(100_000_000), 9)


def wav(claimed: int) -> bytes:
    form = struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
    head = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", claimed)
    return b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + head + bytes(3200)


def flac_of_days(folder: Path) -> None:
    make_sound(folder, kind="flac")
    path = next(folder.iterdir())
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # the upper 4 of 36 bits that count samples
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)


def mp4_of_days(folder: Path) -> None:
    make_video(folder, kind="h264.mp4")
    path = next(folder.iterdir())
    content = bytearray(path.read_bytes())
    at = content.index(b"stts") + 4
    struct.pack_into(">I", content, at + 12, 2**30)  # how long each frame stays
    path.write_bytes(content)


def large_frames(folder: Path) -> None:
    make_video(folder, kind="mjpeg.mov")
    path = next(folder.iterdir())
    content = bytearray(path.read_bytes())
    at = content.find(b"\xff\xc0")
    while at >= 0:
        struct.pack_into(">HH", content, at + 5, 60_000, 60_000)
        at = content.find(b"\xff\xc0", at + 1)
    path.write_bytes(content)


def a_table(folder: Path, *, name: str, long: bool) -> None:
    """Of 20 GB of text, or of a hundred million rows of nothing, in less than a megabyte."""
    if long:
        column = pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(20_000, np.int32)), pa.array(["x" * 1_000_000])
        )
        table = pa.table({"source_uri": column})
        pq.write_table(table, folder / name, compression="zstd")
        return
    nothing = pa.table({"source_uri": pa.nulls(100_000_000)})
    pq.write_table(nothing, folder / name, compression="zstd")


def safetensors(header_bytes: int, content: bytes = b"") -> bytes:
    return struct.pack("<Q", header_bytes) + content


def sparse(folder: Path, *, name: str, start: bytes, size: int) -> None:
    with (folder / name).open("wb") as file:
        file.write(start)
        file.truncate(size)


def tensors(**shapes: tuple[int, ...]) -> bytes:
    header = json.dumps(
        {n: {"dtype": "F32", "shape": s, "data_offsets": [0, 0]} for n, s in shapes.items()}
    ).encode()
    return safetensors(len(header), header)


def packed_pickle(folder: Path) -> None:
    """A weights file of 160 MB of zeros, compressed, which torch.save never does."""
    plain = folder / "plain.pth"
    torch.save({"a": torch.zeros(40_000_000)}, plain)
    with (
        zipfile.ZipFile(plain) as source,
        zipfile.ZipFile(folder / "w.pth", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target,
    ):
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
    plain.unlink()


def repeated_number(folder: Path) -> None:
    """One number in the file, 4 TB as soon as somebody makes it contiguous."""
    torch.save({"a": torch.zeros(1).expand(1_000_000, 1_000_000)}, folder / "w.pth")


def laughs() -> str:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join(lines)


def vast_model(folder: Path, *, key: str, value: int) -> None:
    make_checkpoint(folder)
    path = folder / "checkpoint" / "config.json"
    config = json.loads(path.read_text())
    config["model"][key] = value
    path.write_text(json.dumps(config))


def _file(name: str, content: bytes | str) -> Callable[[Path], None]:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data) and None


def _bomb(name: str, make: Callable[[Path], object], read: Read, *, is_lawful: bool = False) -> Parser:
    return Parser(name, 0, make, read, never_accepts=not is_lawful)


def _jobs(path: Path) -> object:
    return load_jobs(path, layers=())


def _recipe(path: Path) -> None:
    check_recipe(path, command="animate")


PARSERS = (
    _bomb("png header", _file("x.png", png(60_000, 60_000)), read_image),
    _bomb("png just over the limit", _file("x.png", grey_png(14_000)), read_image),
    _bomb("png that is wide", _file("x.png", png(2**31 - 1, 1)), read_image),
    _bomb("png text", _file("x.png", png(64, 64, chunk(b"zTXt", b"a\0\0" + ZEROS))), read_image),
    _bomb("png profile", _file("x.png", png(64, 64, chunk(b"iCCP", b"a\0\0" + ZEROS))), read_image),
    _bomb(
        "png international text",
        _file("x.png", png(64, 64, chunk(b"iTXt", b"a\0\1\0\0\0" + ZEROS))),
        read_image,
    ),
    _bomb("jpeg header", _file("x.jpg", jpeg(65_500, 65_500)), read_image),
    _bomb("wav that claims 4 GB", _file("x.wav", wav(0xFFFFFFF0)), hear, is_lawful=True),
    _bomb("flac that claims days", flac_of_days, hear),
    _bomb("mp4 that claims days", mp4_of_days, watch),
    _bomb("mov of large frames", large_frames, watch),
    *(
        _bomb(
            f"parquet of {'text' if long else 'rows'} as {name}", partial(a_table, name=name, long=long), read
        )
        for long in (True, False)
        for name, read in (
            ("manifest.parquet", read_sources),
            ("clips.parquet", read_clips),
            ("index.parquet", read_data),
            ("truth.parquet", read_truth),
        )
    ),
    _bomb(
        "safetensors header of 200 MB",
        partial(sparse, name="x.safetensors", start=safetensors(200_000_000), size=200_000_100),
        read_weights,
    ),
    _bomb("safetensors header of an exabyte", _file("x.safetensors", safetensors(2**60)), read_weights),
    _bomb(
        "safetensors of a vast shape",
        _file("x.safetensors", tensors(a=(0, 2**62))),
        read_weights,
        is_lawful=True,
    ),
    _bomb("pth that is compressed", packed_pickle, read_weights),
    _bomb("pth of one number", repeated_number, read_weights),
    _bomb("yaml aliases", _file("x.yaml", laughs()), _recipe),
    _bomb("yaml lists in lists", _file("x.yaml", "a: " + "[" * DEEP), _recipe),
    _bomb("yaml maps in maps", _file("x.yaml", "{a: " * DEEP), _recipe),
    _bomb("yaml blocks in blocks", _file("x.yaml", "- " * DEEP), _recipe),
    _bomb("yaml number", _file("x.yaml", "seed: " + "9" * 100_000), _recipe),
    _bomb("yaml infinity", _file("x.yaml", "alpha: .inf"), _recipe),
    _bomb("yaml of 100 MB", partial(sparse, name="x.yaml", start=b"seed: 1\n#", size=100_000_000), _recipe),
    _bomb("json lists in lists", _file("x.json", "[" * DEEP), _jobs),
    _bomb("json number", _file("x.json", '[{"seed": ' + "9" * 100_000 + "}]"), _jobs),
    _bomb("json infinity", _file("x.json", '[{"alpha": 1e400}]'), _jobs),
    _bomb("json NaN", _file("x.json", '[{"alpha": NaN}]'), _jobs),
    _bomb("sample.json in itself", _file("sample.json", '{"format":' * DEEP), read_sample),
    _bomb("jsonl in itself", _file("clips.jsonl", '{"source_uri":' * DEEP), read_clips),
    _bomb("run.json in itself", _file("run.json", "[" * DEEP), read_curated),
    *(
        Parser(
            f"model of vast {key}",
            0,
            partial(vast_model, key=key, value=value),
            lambda path: load_checkpoint(path.parent),
            spoils=("config.json",),
            is_folder=True,
            mend=hash_again,
            never_accepts=True,
        )
        for key, value in (("depth", 10**8), ("hidden", 2**40), ("mlp_ratio", 2**40), ("native_px", 2**40))
    ),
)
