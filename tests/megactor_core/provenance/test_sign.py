"""Signed and read back: by this tool, by c2pa's own reader in a fresh process, and after every change."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from megactor_core.errors import MediaError
from megactor_core.files import sha256_of
from megactor_core.provenance import sign as sign_module
from megactor_core.provenance.certificates import SigningKey, make_key_pair
from megactor_core.provenance.manifest import Ingredient, Manifest
from megactor_core.provenance.read import read_credential
from megactor_core.provenance.sign import sign_video

Sign = Callable[..., Path]

THEIR_READER = """
import json, sys
from c2pa import Context, Reader
anchors = open(sys.argv[2]).read() if len(sys.argv) > 2 else None
settings = {"trust": {"user_anchors": anchors}} if anchors else {}
with Reader(sys.argv[1], context=Context.from_dict(settings)) as reader:
    print(json.dumps({"state": reader.get_validation_state(), **json.loads(reader.json())}))
"""


def boxes(content: bytes) -> Iterator[tuple[str, int, int]]:
    """The outermost boxes: kind, first byte, byte after the last."""
    begin = 0
    while begin < len(content):
        size = int.from_bytes(content[begin : begin + 4], "big")
        yield content[begin + 4 : begin + 8].decode(), begin, begin + size
        begin += size


def flipped(path: Path, offset: int) -> Path:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    changed = path.with_name("changed.mp4")
    changed.write_bytes(content)
    return changed


def test_what_is_signed_is_read_back(
    sign: Sign, picture: Path, video: Path, pair: tuple[SigningKey, bytes], facts: dict[str, Any]
) -> None:
    signed = sign(picture, video)
    found = read_credential(signed, anchors_pem=pair[1])
    assert (found.state, found.problems) == ("trusted", ())
    assert found.facts == facts
    assert found.made_by is not None
    assert found.made_by.startswith("megactor ")
    assert found.source_type == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert [(row["name"], row["sha256"], row["signed"]) for row in found.ingredients] == [
        ("portrait.png", sha256_of(picture), False),
        ("plain.mp4", sha256_of(video), False),
    ]


def test_lists_of_numbers_become_text(video: Path, pair: tuple[SigningKey, bytes], tmp_path: Path) -> None:
    """c2pa's reader would give them back as bytes."""
    manifest = Manifest(title="x", facts={"a": {"b": [0.5, 1]}, "c": (1, 2)}, ingredients=())
    sign_video(video, tmp_path / "x.mp4", manifest=manifest, key=pair[0])
    assert read_credential(tmp_path / "x.mp4").facts == {"a": {"b": "[0.5, 1]"}, "c": "[1, 2]"}


def test_an_unknown_key_is_valid_and_untrusted(sign: Sign) -> None:
    assert read_credential(sign()).state == "valid"
    assert read_credential(sign(), anchors_pem=make_key_pair().authority_pem).state == "valid"


def test_their_own_reader_agrees_in_a_fresh_process_parity(
    sign: Sign, picture: Path, pair: tuple[SigningKey, bytes], tmp_path: Path
) -> None:
    signed, anchor = sign(picture), tmp_path / "anchor.pem"
    anchor.write_bytes(pair[1])

    def read(*arguments: Path) -> dict:
        command = [sys.executable, "-c", THEIR_READER, *map(str, arguments)]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    trusted, alone = read(signed, anchor), read(signed)
    assert (trusted["state"], alone["state"]) == ("Trusted", "Valid")
    assert "validation_status" not in trusted
    assert [status["code"] for status in alone["validation_status"]] == ["signingCredential.untrusted"]
    manifest = trusted["manifests"][trusted["active_manifest"]]
    labels = [assertion["label"] for assertion in manifest["assertions"]]
    assert labels == ["megactor.animation", "c2pa.actions.v2", "c2pa.hash.bmff.v3"]
    assert manifest["ingredients"][0]["instance_id"] == f"sha256:{sha256_of(picture)}"
    assert "thumbnail" not in json.dumps(trusted)


def test_streams_and_tags_are_untouched(sign: Sign, video: Path) -> None:
    def content(path: Path) -> tuple:
        with av.open(str(path)) as container:
            packets = [(p.stream.index, p.pts, p.dts, bytes(p)) for p in container.demux() if p.size]
            return packets, dict(container.metadata)

    assert content(sign()) == content(video)


@pytest.mark.parametrize("part", ["picture", "sound", "index", "facts", "ingredient", "signature"])
def test_a_flipped_byte_is_altered(sign: Sign, picture: Path, part: str) -> None:
    signed = sign(picture)
    content = signed.read_bytes()
    begin = {kind: first for kind, first, _ in boxes(content)}
    end = {kind: last for kind, _, last in boxes(content)}
    with av.open(str(signed)) as container:
        places = {p.stream.type: p.pos + p.size // 2 for p in container.demux() if p.size}
    offsets = {
        "picture": [places["video"]],
        "sound": [places["audio"]],
        "index": np.random.default_rng(0).integers(begin["moov"] + 8, end["moov"], 25).tolist(),
        "facts": [content.index(b"strengths") + 2],
        "ingredient": [content.index(b"sha256:" + sha256_of(picture).encode()) + 20],
        "signature": [content.index(b"megactor local signer") + 3],
    }[part]
    for offset in offsets:
        assert read_credential(flipped(signed, offset)).state == "altered", offset


def test_the_rest_of_the_manifest(sign: Sign) -> None:
    """Any byte of the box: labels and padding are not signed, but nothing reads as valid with other facts."""
    signed = sign()
    (begin, end), *_ = [(first, last) for kind, first, last in boxes(signed.read_bytes()) if kind == "uuid"]
    whole = read_credential(signed)
    for offset in np.random.default_rng(1).integers(begin, end, 60).tolist():
        found = read_credential(flipped(signed, offset))
        assert found.state in {"altered", "absent", "invalid"} or found == whole, offset


def test_cut_off_is_altered(sign: Sign) -> None:
    content = sign().read_bytes()
    for length in (1000, 5000, len(content) // 2, len(content) - 1):
        cut = sign(name="cut.mp4")
        cut.write_bytes(content[:length])
        assert read_credential(cut).state == "altered", length


def test_without_a_manifest(video: Path, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    for path in (video, picture, tmp_path / "text.mp4", tmp_path / "empty.mp4"):
        assert read_credential(path).state == "absent"


def test_the_manifest_of_an_input_is_kept(sign: Sign, picture: Path) -> None:
    first = sign(picture, name="first.mp4")
    second = sign(first, picture, name="second.mp4")
    rows = {row["name"]: row for row in read_credential(second).ingredients}
    assert rows["first.mp4"] == {"name": "first.mp4", "sha256": sha256_of(first), "signed": True}
    assert not rows["portrait.png"]["signed"]
    assert sha256_of(picture).encode() in second.read_bytes()  # the first one's manifest is inside


def test_an_altered_input_keeps_its_manifest_and_harms_nothing(sign: Sign) -> None:
    first = sign(name="first.mp4")
    changed = flipped(first, len(first.read_bytes()) - 50)
    assert read_credential(changed).state == "altered"
    second = sign(changed, name="second.mp4")
    found = read_credential(second)
    assert found.state == "valid"
    assert found.ingredients[0]["signed"]


@pytest.mark.parametrize(
    "name", ["noise.png", "noise.mp4", "noise.wav", "noise.xyz", "a\udcffb.png", "x\n.png"]
)
def test_an_input_of_any_content_and_name_is_named_with_its_hash(
    sign: Sign, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(np.random.default_rng(0).bytes(500))
    (row,) = read_credential(sign(path)).ingredients
    assert row["sha256"] == sha256_of(path)
    assert str(tmp_path).encode() not in (tmp_path / "signed.mp4").read_bytes()


def test_an_input_that_went_away_is_one_message(
    sign: Sign, video: Path, pair: tuple[SigningKey, bytes]
) -> None:
    gone = Ingredient(path=Path("gone.png"), sha256="0" * 64)
    manifest = Manifest(title="x", facts={}, ingredients=(gone,))
    with pytest.raises(MediaError, match=r"Cannot read 'gone\.png'"):
        sign_video(video, video.with_name("x.mp4"), manifest=manifest, key=pair[0])


def test_why_it_cannot_be_written_is_said(sign: Sign, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library tells only that a write failed; here there is room again when the file is closed."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    write = sign_module._Remembering.write

    def then_room(file: Any, content: Any) -> int:
        try:
            return write(file, content)
        except OSError:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            raise

    monkeypatch.setattr(sign_module._Remembering, "write", then_room)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            sign()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_signal_while_signing_arrives(sign: Sign, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be lost inside the library's callbacks: it waits for the end of the work.

    Here it comes with every write, so that none may be left over for whatever runs next.
    """
    write = sign_module._Remembering.write

    def interrupt(file: object, content: object) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return write(file, content)

    monkeypatch.setattr(sign_module._Remembering, "write", interrupt)
    # A shell starts what runs in the background with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            sign()
    finally:
        signal.signal(signal.SIGINT, before)
