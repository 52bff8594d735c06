"""`megactor weights`, on an empty cache and with a tampered one."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from megactor_core import weights as core_weights
from megactor_core.errors import WeightsError
from megactor_core.weights_registry import REGISTRY


def test_list_names_licence_and_how_to_get_each(megactor) -> None:
    result = megactor("weights", "list")
    assert result.exit_code == 0
    for entry in REGISTRY.values():
        assert entry.licence in result.out
        assert f"megactor weights pull {entry.name}" in result.out
    rows = json.loads(megactor("weights", "list", "--json").out)["weights"]
    assert {row["name"] for row in rows} == set(REGISTRY)
    assert not any(row["found"] for row in rows)


def test_verify_of_an_empty_cache_is_no_failure_unless_named(megactor) -> None:
    assert megactor("weights", "verify").exit_code == 0
    named = megactor("weights", "verify", "mediapipe-face")
    assert named.exit_code == 1
    assert "missing" in named.out
    assert "megactor weights pull mediapipe-face" in named.err


def test_verify_finds_damage(megactor, tmp_path) -> None:
    entry = REGISTRY["mediapipe-face"]
    damaged = core_weights.cache_folder() / entry.name / entry.files[0].name
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"not it")
    result = megactor("weights", "verify", "--json")
    assert result.exit_code == 1
    states = {Path(file["file"]): file["state"] for file in json.loads(result.out)["files"]}
    assert states[damaged] == "damaged"


def test_unknown_weights_offer_the_known_ones(megactor) -> None:
    result = megactor("weights", "pull", "whisper-tinny")
    assert result.exit_code == 2
    assert "whisper-tiny" in result.err


def test_pull_passes_the_path_on_and_tells_the_folder(megactor, monkeypatch, tmp_path) -> None:
    asked = []

    def pull_all(names, *, from_path, on_progress):
        asked.append((names, from_path))
        on_progress(10, 10)
        return {name: tmp_path / name for name in names}

    monkeypatch.setattr("megactor_cli.weights.pull_all", pull_all)
    result = megactor("weights", "pull", "whisper-tiny", "--from", "here", "--json")
    assert asked == [(["whisper-tiny"], Path("here"))]
    assert json.loads(result.out) == {"whisper-tiny": str(tmp_path / "whisper-tiny")}
    assert "pulling whisper-tiny: 10/10" in result.err
    assert "is under" not in result.err


def test_a_restrictive_licence_is_told_before_the_file_is_fetched(megactor, monkeypatch, tmp_path) -> None:
    def pull_all(names, *, from_path, on_progress):
        raise WeightsError("nothing was fetched")

    monkeypatch.setattr("megactor_cli.weights.pull_all", pull_all)
    said = megactor("weights", "pull", "whisper-tiny", "pixart-alpha-512").err
    assert said.index("pixart-alpha-512 is under CreativeML Open RAIL++-M") < said.index(
        "nothing was fetched"
    )
    assert "whisper-tiny is under" not in said


def test_init_passes_preset_and_seed_on(megactor, monkeypatch) -> None:
    module = ModuleType("megactor_core.models.checkpoint")
    module.init_checkpoint = lambda folder, *, preset, seed: {
        "checkpoint": folder,
        "preset": preset,
        "seed": seed,
    }
    monkeypatch.setitem(sys.modules, module.__name__, module)
    result = megactor("weights", "init", "--preset", "nano", "--seed", "3", "there", "--json")
    assert json.loads(result.out) == {"checkpoint": "there", "preset": "nano", "seed": 3}


@pytest.mark.parametrize(
    "arguments", [["there"], ["--preset", "nano"], ["--preset", "nano", "--seed", "x", "d"]]
)
def test_init_needs_a_preset_and_a_folder(megactor, arguments) -> None:
    assert megactor("weights", "init", *arguments).exit_code == 2


@pytest.fixture
def converted(monkeypatch) -> list[tuple]:
    """What the command asked the core for; the core itself stays out."""
    asked = []
    start = {"loaded": {"tensors": 3, "parameters": 1234567}, "dropped": {}, "notes": ["mind the gap"]}

    def from_pixart(source, folder, **options):
        asked.append((source, folder, options))
        drawn = {"driven encoder": {"tensors": 18, "parameters": 164792}}
        return {"checkpoint": str(folder), "pixart": start | {"own_init": drawn}, "easyanimate": None}

    def to_pixart(source, folder, **options):
        asked.append((source, folder, options))
        return {"file": str(folder / "x.safetensors")}

    module = ModuleType("megactor_core.models.convert")
    module.checkpoint_from_pixart, module.pixart_from_checkpoint = from_pixart, to_pixart
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return asked


def test_convert_to_a_checkpoint_passes_everything_on(megactor, converted) -> None:
    options = ["--preset", "nano", "--seed", "3", "--text-queries", "--easyanimate", "mm.safetensors"]
    result = megactor("weights", "convert", "a.pth", "new", "--to", "megactor", *options, "--json")
    assert converted == [
        (
            Path("a.pth"),
            Path("new"),
            {"preset": "nano", "seed": 3, "text_queries": True, "easyanimate": Path("mm.safetensors")},
        )
    ]
    assert json.loads(result.out)["pixart"]["loaded"]["parameters"] == 1234567
    assert "mind the gap" in result.err


def test_convert_shows_what_became_of_the_weights(megactor, converted) -> None:
    result = megactor("weights", "convert", "a.pth", "new", "--to", "megactor")
    assert converted[0][2] == {"preset": "paper", "seed": 0, "text_queries": False, "easyanimate": None}
    assert "3 tensors, 1,234,567 numbers" in result.out
    assert "as drawn: driven encoder" in result.out


@pytest.mark.parametrize("form", ["diffusers", "original"])
def test_convert_to_pixarts_form_passes_everything_on(megactor, converted, form) -> None:
    result = megactor("weights", "convert", "there", "new", "--to", form, "--part", "reference", "--json")
    assert converted == [(Path("there"), Path("new"), {"layout": form, "part": "reference"})]
    assert json.loads(result.out) == {"file": str(Path("new/x.safetensors"))}


@pytest.mark.parametrize(
    ("to", "options", "said"),
    [
        ("megactor", ["--part", "denoiser"], "--part does nothing with --to megactor"),
        ("diffusers", ["--preset", "paper"], "--preset does nothing with --to diffusers"),
        ("original", ["--seed", "0"], "--seed does nothing"),
        ("original", ["--text-queries"], "--text-queries does nothing"),
        ("original", ["--easyanimate", "x"], "--easyanimate does nothing"),
        ("onnx", [], "'onnx' is not one of"),
    ],
)
def test_convert_refuses_what_it_would_ignore(megactor, converted, to, options, said) -> None:
    result = megactor("weights", "convert", "a", "b", "--to", to, *options)
    assert result.exit_code == 2
    assert said in result.err
    assert converted == []


def test_convert_of_nothing_is_one_error(megactor) -> None:
    result = megactor("weights", "convert", "nowhere.pth", "new", "--to", "megactor")
    assert result.exit_code == 2
    assert result.err == "Error: There is no weights file 'nowhere.pth'. Check the path.\n"
    assert not Path("new").exists()
