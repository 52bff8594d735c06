"""Ways to spoil a file: its bytes, its length fields, or the values that it states.

A mutation is made by a generator that is keyed by numbers, so that the same numbers give the same file.
"""

import io
import json
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Mutation = Callable[[bytes, bytes, np.random.Generator], bytes]
"""Content, another good file's content, and where the choices come from."""

SIZES = (0, 1, 7, 8, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)
ATOMS = (
    *(b"ftyp moov mvhd trak tkhd edts elst mdia mdhd hdlr minf stbl stsd stts ctts stss stsc stsz".split()),
    *(b"stco co64 avcC esds mdat udta meta ilst free dinf dref moof mfhd traf tfhd trun sidx colr".split()),
)
RIFF_CHUNKS = (b"RIFF", b"fmt ", b"data", b"LIST", b"fact", b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"EXIF")
PNG_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tEXt", b"zTXt", b"iCCP", b"eXIf", b"tRNS", b"acTL")
DEEP = 30_000
"""Levels of nesting: more than any interpreter takes."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 0.5, -0.0, 2**31, 2**63, -(2**63) - 1, 10**30),
    *(float("nan"), float("inf"), float("-inf"), 1e308, 5e-324),
    *(
        "",
        " ",
        "\0",
        "\n",
        "a\nb\r\0c",
        "..",
        "../../../etc/passwd",
        "/etc/passwd",
        "/dev/zero",
        "-rf",
        "--help",
    ),
    *("x" * 300, "é" * 200, "\ud800", "%s%n{0}", "$(touch hacked)", "NaN", "1e400", "\u202e\u2028"),
    *([], {}, [None], [[]], {"": None}, {"__class__": "os.system", "_target_": "os.system"}),
    *([1] * 1000, {"py/object": "os.system"}, "http://127.0.0.1:9/x", "file:///etc/passwd"),
)
TOKENS = (
    *(
        "1e400",
        "-1e400",
        ".nan",
        ".inf",
        "NaN",
        "Infinity",
        "9" * 5000,
        "0x10",
        "&a [*a]",
        "*a",
        "!!python/none",
    ),
    *("!!python/object/apply:os.system ['true']", "{", "[", "]", "}", ":", "- ", "'", '"', "\\", "\t", "\0"),
    *(
        "? ",
        "<<: *a",
        "%YAML 9.9",
        "---",
        "...",
        "null",
        "~",
        "{}",
        "[]",
        "|2",
        ">",
        "\ufeff",
        "\x85",
        "../..",
    ),
    *("[" * DEEP, "{a: " * 400, '{"a":' * DEEP, "- " * 2000, "x" * 5000),
)


# ---------------------------------------------------------------- bytes


def flip_bits(content: bytes, _other: bytes, rng: np.random.Generator) -> bytes:
    spoilt = bytearray(content)
    for place in rng.integers(len(content), size=int(rng.integers(1, 33))):
        spoilt[place] ^= 1 << int(rng.integers(8))
    return bytes(spoilt)


def overwrite_run(content: bytes, _other: bytes, rng: np.random.Generator) -> bytes:
    start, length = _block(content, rng)
    filling = rng.choice([0, 0xFF, -1])
    run = rng.bytes(length) if filling < 0 else bytes([filling]) * length
    return content[:start] + run + content[start + length :]


def truncate(content: bytes, _other: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content)))]


def insert(content: bytes, _other: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(content) + 1))
    return content[:place] + rng.bytes(int(rng.integers(1, 64))) + content[place:]


def remove(content: bytes, _other: bytes, rng: np.random.Generator) -> bytes:
    start, length = _block(content, rng)
    return content[:start] + content[start + length :]


def duplicate_block(content: bytes, _other: bytes, rng: np.random.Generator) -> bytes:
    start, length = _block(content, rng)
    return content[: start + length] + content[start:]


def swap_blocks(content: bytes, _other: bytes, rng: np.random.Generator) -> bytes:
    a, b, c = sorted(int(place) for place in rng.integers(len(content) + 1, size=3))
    return content[:a] + content[b:c] + content[a:b] + content[c:]


def splice(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content) + 1))] + other[int(rng.integers(len(other) + 1)) :]


def edit_length(content: bytes, _other: bytes, rng: np.random.Generator) -> bytes:
    """Another size for an mp4 atom, a RIFF chunk or a PNG chunk; another number anywhere without these."""
    spoilt = bytearray(content)
    fields = [(at - 4, ">I") for atom in (*ATOMS, *PNG_CHUNKS) if (at := content.find(atom)) >= 4]
    fields += [(at + 4, "<I") for chunk in RIFF_CHUNKS if 0 <= (at := content.find(chunk)) < len(content) - 8]
    place, form = fields[rng.integers(len(fields))] if fields else (_number_at(content, rng), "<I")
    if len(content) < place + 4:
        return content[:-1]
    before = struct.unpack_from(form, content, place)[0]
    values = (*SIZES, before + 1, before - 1, before * 2, len(content), before ^ 0x80)
    struct.pack_into(form, spoilt, place, int(values[rng.integers(len(values))]) & 0xFFFFFFFF)
    return bytes(spoilt)


def edit_atom(content: bytes, _other: bytes, rng: np.random.Generator) -> bytes:
    """Another number inside the head of an mp4 atom: counts, durations, scales, sizes of pictures."""
    known = [at for atom in ATOMS if (at := content.find(atom)) >= 4]
    if not known:
        return flip_bits(content, b"", rng)
    place = known[rng.integers(len(known))] + 4 + 4 * int(rng.integers(8))
    number = struct.pack(">I", int(SIZES[rng.integers(len(SIZES))]))
    return content[:place] + number + content[place + 4 :]


def edit_head(content: bytes, _other: bytes, rng: np.random.Generator) -> bytes:
    """Another number in the first bytes, where most formats say how large everything is."""
    place = int(rng.integers(min(64, len(content))))
    width = int(rng.choice([1, 2, 4, 8]))
    number = int(SIZES[rng.integers(len(SIZES))]) & (256**width - 1)
    order = "big" if rng.random() < 0.5 else "little"
    return content[:place] + number.to_bytes(width, order) + content[place + width :]


BYTES: tuple[Mutation, ...] = (
    *(flip_bits, overwrite_run, truncate, insert, remove, duplicate_block, swap_blocks, splice),
    *(edit_length, edit_atom, edit_head),
)


def mend_png(content: bytes) -> bytes:
    """The same chunks with right checksums, so that a decoder looks inside them."""
    if not content.startswith(b"\x89PNG"):
        return content
    mended, at = bytearray(content[:8]), 8
    while at + 12 <= len(content):
        length = struct.unpack_from(">I", content, at)[0]
        end = at + 8 + length
        if end + 4 > len(content):
            break
        mended += content[at:end] + struct.pack(">I", zlib.crc32(content[at + 4 : end]))
        at = end + 4
    return bytes(mended) + content[at:]


def mend_ogg(content: bytes) -> bytes:
    """The same pages with right checksums."""
    if b"OggS" not in content:
        return content
    mended = bytearray(content)
    starts = [at for at in range(len(content) - 27) if content.startswith(b"OggS", at)]
    for start, end in zip(starts, [*starts[1:], len(content)], strict=True):
        mended[start + 22 : start + 26] = bytes(4)
        mended[start + 22 : start + 26] = struct.pack("<I", _ogg_checksum(mended[start:end]))
    return bytes(mended)


def _ogg_checksum(page: bytes) -> int:
    """CRC-32 with the usual polynomial, but most significant bit first and without complements (RFC 3533)."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
    return value


# ---------------------------------------------------------------- values


def spoil_json(content: bytes, _other: bytes, rng: np.random.Generator) -> bytes:
    """One value replaced, removed, repeated or buried; for JSON lines in one of the lines."""
    lines = content.splitlines() if b"\n{" in content.strip() else [content]
    number = int(rng.integers(len(lines)))
    try:
        value = json.loads(lines[number])
    except ValueError:
        return spoil_text(content, b"", rng)
    lines[number] = _as_json(_with_odd_value(value, rng), rng)
    return b"\n".join(lines)


def spoil_text(content: bytes, _other: bytes, rng: np.random.Generator) -> bytes:
    """A token at the place of a word, a line taken out, or a line given twice."""
    lines = content.decode("utf-8", "replace").splitlines() or [""]
    number = int(rng.integers(len(lines)))
    match int(rng.integers(4)):
        case 0:
            lines.pop(number)
        case 1:
            lines.insert(int(rng.integers(len(lines) + 1)), lines[number])
        case 2:
            head, colon, _ = lines[number].partition(":")
            lines[number] = f"{head}{colon} {_token(rng)}"
        case _:
            place = int(rng.integers(len(lines[number]) + 1))
            lines[number] = lines[number][:place] + _token(rng) + lines[number][place:]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def spoil_table(content: bytes, _other: bytes, rng: np.random.Generator) -> bytes:
    """A whole Parquet file in which one column is another: its values, its type, its name, or missing."""
    try:
        table = pq.read_table(io.BytesIO(content))
    except (OSError, pa.ArrowException):
        return flip_bits(content, b"", rng)
    column = int(rng.integers(table.num_columns))
    name, rows = table.schema.names[column], table.num_rows
    match int(rng.integers(4)):
        case 0:
            table = table.remove_column(column)
        case 1:
            table = table.rename_columns(
                [f"{n}{'?' * (k == column)}" for k, n in enumerate(table.schema.names)]
            )
        case 2:
            table = table.set_column(column, name, pa.nulls(rows, table.schema.types[column]))
        case _:
            values = [_odd_value(rng)] * rows
            table = table.set_column(column, name, _as_column(values))
    sink = io.BytesIO()
    try:
        pq.write_table(table, sink)
    except pa.ArrowException:  # some types of values have no place in Parquet
        return flip_bits(content, b"", rng)
    return sink.getvalue()


def spoil_tensors(content: bytes, _other: bytes, rng: np.random.Generator) -> bytes:
    """A safetensors file with an odd value in its header, whose length is right."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
    except ValueError:
        return flip_bits(content, b"", rng)
    text = _as_json(_with_odd_value(header, rng), rng)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


VALUE_MUTATIONS: dict[str, Mutation] = {
    ".json": spoil_json,
    ".jsonl": spoil_json,
    ".yaml": spoil_text,
    ".csv": spoil_text,
    ".parquet": spoil_table,
    ".safetensors": spoil_tensors,
}


def mutate(name: str, content: bytes, others: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """A spoilt file of that name: one to three mutations of its bytes, or one of what it states."""
    of_values = VALUE_MUTATIONS.get(Path(name).suffix)
    if of_values is not None and content and rng.random() < 0.6:
        return of_values(content, b"", rng)
    other = others[rng.integers(len(others))]
    for _ in range(int(rng.integers(1, 4))):
        if content:
            content = BYTES[rng.integers(len(BYTES))](content, other, rng)
    return mend_ogg(mend_png(content)) if rng.random() < 0.7 else content


# ---------------------------------------------------------------- pieces


def _block(content: bytes, rng: np.random.Generator) -> tuple[int, int]:
    start = int(rng.integers(len(content)))
    return start, int(rng.integers(1, max(2, min(256, len(content) - start + 1))))


def _number_at(content: bytes, rng: np.random.Generator) -> int:
    return int(rng.integers(max(1, len(content) - 3)))


def _token(rng: np.random.Generator) -> str:
    return TOKENS[rng.integers(len(TOKENS))]


def _odd_value(rng: np.random.Generator) -> Any:
    return VALUES[rng.integers(len(VALUES))]


def _with_odd_value(value: Any, rng: np.random.Generator) -> Any:
    """A copy in which one place, found by walking down at random, holds something else."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = list(value)[rng.integers(len(value))]
        if rng.random() < 0.1:
            return {name: item for name, item in value.items() if name != key}
        if rng.random() < 0.1:
            return {f"{name}x" if name == key else name: item for name, item in value.items()}
        return {**value, key: _with_odd_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        number = int(rng.integers(len(value)))
        return [*value[:number], _with_odd_value(value[number], rng), *value[number + 1 :]]
    return _odd_value(rng)


def _as_json(value: Any, rng: np.random.Generator) -> bytes:
    """The value as text; now and then with a number that is too long, or buried too deep."""
    text = json.dumps(value)
    chance = rng.random()
    if chance < 0.04:
        text = "[" * DEEP + text + "]" * DEEP
    elif chance < 0.08:
        text = text.replace("0", "9" * 5000, 1)
    elif chance < 0.12:
        text = text.replace("1", "1e400", 1)
    return text.encode()


def _as_column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        return pa.array([b"\xff\xfe"] * len(values), pa.binary()).view(pa.string())
