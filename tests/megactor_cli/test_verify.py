"""megactor verify: exit codes, one message for each bad input, and many files at once."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from megactor_core.media.video_writer import VideoWriter
from megactor_core.provenance.certificates import make_key_pair
from megactor_core.provenance.keys import local_key
from megactor_core.provenance.manifest import Manifest
from megactor_core.provenance.sign import sign_video

Megactor = Callable[..., object]
FACTS = {
    "tool": "megactor 0.1.0",
    "checkpoint": "tiny",
    "seed": 7,
    "badge": {"placement": "start", "text": "AI GENERATED", "frames": 5, "until_seconds": 0.2},
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A video signed by this user, one by somebody else, one altered, one unsigned."""
    paths = {name: tmp_path / f"{name}.mp4" for name in ("unsigned", "ours", "theirs", "altered")}
    tags = {"comment": json.dumps(FACTS)}
    with VideoWriter(paths["unsigned"], video_fps=Fraction(25), width=32, height=32, tags=tags) as writer:
        for _ in range(10):
            writer.write(np.zeros((32, 32, 3), dtype=np.uint8))
    other = make_key_pair()
    (tmp_path / "anchor.pem").write_bytes(other.authority_pem)
    manifest = Manifest(title="x", facts=FACTS, ingredients=())
    sign_video(paths["unsigned"], paths["ours"], manifest=manifest, key=local_key())
    sign_video(paths["unsigned"], paths["theirs"], manifest=manifest, key=other.key)
    content = bytearray(paths["ours"].read_bytes())
    content[-20] ^= 1
    paths["altered"].write_bytes(content)
    return paths


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("ours", 0, "trusted: unchanged"),
        ("theirs", 0, "valid, by an unknown key"),
        ("altered", 1, "altered: changed since it was signed (assertion.bmffHash.mismatch)"),
        ("unsigned", 3, "none: unsigned, or removed by a copy"),
    ],
)
def test_what_is_said_and_the_exit_code(
    megactor: Megactor, files: dict[str, Path], name: str, code: int, words: str
) -> None:
    result = megactor("verify", str(files[name]))
    assert result.exit_code == code
    assert words in result.out
    assert "made by megactor 0.1.0" in result.out
    assert "'AI GENERATED' in the first 0.2 s" in result.out
    assert result.err == ""
    told = megactor("verify", str(files[name]), "--json")
    assert told.exit_code == code
    assert json.loads(told.out)["verdict"] == {0: "valid", 1: "altered", 3: "unsigned"}[code]
    assert json.loads(told.out)["badge"] == FACTS["badge"]


def test_an_anchor_is_trusted(megactor: Megactor, files: dict[str, Path]) -> None:
    result = megactor("verify", str(files["theirs"]), "--anchor", "anchor.pem", "--json")
    assert json.loads(result.out)["c2pa"]["state"] == "trusted"
    assert result.exit_code == 0
    refused = megactor("verify", str(files["theirs"]), "--anchor", str(files["ours"]))
    assert refused.exit_code == 2
    assert "holds no PEM certificate" in refused.err


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["ours", "theirs"], 0),
        (["ours", "unsigned"], 3),
        (["unsigned", "missing", "ours"], 2),
        (["unsigned", "missing", "altered"], 1),
    ],
)
def test_of_several_the_worst_counts(
    megactor: Megactor, files: dict[str, Path], tmp_path: Path, names: list[str], code: int
) -> None:
    paths = [str(files.get(name, tmp_path / "missing.mp4")) for name in names]
    result = megactor("verify", *paths)
    assert result.exit_code == code
    assert len(result.out.splitlines()) == 2 + len(names)
    told = json.loads(megactor("verify", *paths, "--json").out)
    assert [row["file"] for row in told["files"]] == paths
    assert [("error" in row) for row in told["files"]] == [name == "missing" for name in names]


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "nothing", "option"])
def test_bad_input_is_one_message(megactor: Megactor, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.mp4"
    match kind:
        case "folder":
            path.mkdir()
        case "empty":
            path.touch()
        case "text":
            path.write_text("no video")
    arguments = {"nothing": [], "option": ["--nonsense"]}.get(kind, [str(path)])
    result = megactor("verify", *arguments)
    assert result.exit_code == 2
    assert result.out == ""
    assert result.err.startswith("Error: ")
    assert "Traceback" not in result.err
    assert "bug" not in result.err


def test_a_strange_name(megactor: Megactor, files: dict[str, Path], tmp_path: Path) -> None:
    strange = tmp_path / "[red]$(ä) '.mp4"
    strange.write_bytes(files["ours"].read_bytes())
    assert megactor("verify", str(strange), "--json").exit_code == 0
    assert megactor("verify", str(strange)).exit_code == 0
