"""Checkpoints from PixArt-alpha's weights, and PixArt-alpha's form from checkpoints, through real files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from megactor_core.config.model import ModelConfig
from megactor_core.errors import ConfigError, OutputError, WeightsError
from megactor_core.models.checkpoint import init_checkpoint, load_checkpoint, load_sigma
from megactor_core.models.convert import checkpoint_from_pixart, pixart_from_checkpoint
from megactor_core.models.pixart import load_pixart
from megactor_core.models.sigma import Sigma

DEFAULTS: dict[str, Any] = {"preset": "nano", "seed": 0, "text_queries": False, "easyanimate": None}


@pytest.fixture
def source(nano: ModelConfig, pixart: Any, tmp_path: Path) -> Path:
    pixart(nano).save_pretrained(tmp_path / "pixart")
    return tmp_path / "pixart"


@pytest.fixture
def motion(nano: ModelConfig, tmp_path: Path) -> Path:
    """A file of motion weights, made of a drawn model's under EasyAnimate's names."""
    names = {
        "attention_norms.": "transformer_blocks.0.norms.",
        "attentions.": "transformer_blocks.0.attention_blocks.",
        "mlp_norm.": "transformer_blocks.0.ff_norm.",
        "mlp.fc_in.": "transformer_blocks.0.ff.net.0.proj.",
        "mlp.fc_out.": "transformer_blocks.0.ff.net.2.",
        "to_out.": "to_out.0.",
    }
    out: dict[str, Tensor] = {}
    for block in nano.temporal_blocks:
        for name, value in Sigma(nano).denoiser.blocks[block].temporal.state_dict().items():
            for ours, theirs in names.items():
                name = name.replace(ours, theirs)
            key = f"transformer_blocks.{block}.attn_temporal.temporal_transformer.{name}"
            out[key] = torch.randn_like(value)
    save_file(out, tmp_path / "motion.safetensors")
    return tmp_path / "motion.safetensors"


def test_checkpoint_from_pixart_is_untrained_and_says_so(source: Path, tmp_path: Path) -> None:
    report = checkpoint_from_pixart(source, tmp_path / "new", **DEFAULTS)
    loaded = load_checkpoint(tmp_path / "new")
    assert loaded.info.name == report["name"] == "nano-from-pixart-alpha"
    assert loaded.info.trained is report["trained"] is False
    assert loaded.info.domain == ""
    assert report["parameters"] == sum(p.numel() for p in loaded.sigma.parameters())
    assert report["bytes"] == sum(path.stat().st_size for path in (tmp_path / "new").iterdir())
    card = (tmp_path / "new" / "README.md").read_text()
    assert "untrained" in card
    assert "`pixart`" in card
    assert str(tmp_path) not in card
    json.dumps(report)


def test_checkpoint_holds_pixart_and_beyond_it_what_init_draws(
    source: Path, nano: ModelConfig, tmp_path: Path
) -> None:
    checkpoint_from_pixart(source, tmp_path / "new", **{**DEFAULTS, "seed": 3})
    init_checkpoint(tmp_path / "drawn", preset="nano", seed=3)
    _, expected = load_sigma(tmp_path / "drawn")
    load_pixart(expected, source)
    new = load_checkpoint(tmp_path / "new")
    for name, value in expected.state_dict().items():
        assert torch.equal(new.sigma.state_dict()[name], value), name
    for name in ("autoencoder.safetensors", "audio_encoder.safetensors"):
        assert (tmp_path / "new" / name).read_bytes() == (tmp_path / "drawn" / name).read_bytes()


def test_options_reach_the_model(source: Path, motion: Path, tmp_path: Path) -> None:
    plain = checkpoint_from_pixart(source, tmp_path / "plain", **DEFAULTS)
    full = {**DEFAULTS, "text_queries": True, "easyanimate": motion}
    report = checkpoint_from_pixart(source, tmp_path / "full", **full)
    assert report["name"] == "nano-from-pixart-alpha-and-easyanimate-v1"
    assert plain["easyanimate"] is None
    assert report["easyanimate"]["starts_as_identity"] is False
    _, one = load_sigma(tmp_path / "plain")
    _, two = load_sigma(tmp_path / "full")
    other = {
        name for name, value in one.state_dict().items() if not torch.equal(two.state_dict()[name], value)
    }
    assert other == {
        name
        for name in one.state_dict()
        if ".temporal." in name or ".audio_attention.attention.to_q." in name
    }
    assert "`motion.safetensors`" in (tmp_path / "full" / "README.md").read_text()


@pytest.mark.parametrize("part", ["denoiser", "reference"])
@pytest.mark.parametrize("layout", ["diffusers", "original"])
def test_there_and_back(source: Path, tmp_path: Path, layout: Any, part: Any) -> None:
    checkpoint_from_pixart(source, tmp_path / "checkpoint", **DEFAULTS)
    report = pixart_from_checkpoint(tmp_path / "checkpoint", tmp_path / "back", layout=layout, part=part)
    written = load_file(report["file"])
    assert report["tensors"] == len(written)
    assert report["parameters"] == sum(value.numel() for value in written.values())
    checkpoint_from_pixart(Path(report["file"]), tmp_path / "again", **DEFAULTS)
    first, second = (tmp_path / name / "sigma.safetensors" for name in ("checkpoint", "again"))
    assert first.read_bytes() == second.read_bytes()
    if layout == "diffusers":
        theirs = load_file(source / "diffusion_pytorch_model.safetensors")
        assert all(torch.equal(theirs[name], value) for name, value in written.items())
        load_pixart(Sigma(ModelConfig.preset("nano")), tmp_path / "back")


def test_bad_weights_leave_nothing_behind(source: Path, tmp_path: Path) -> None:
    (source / "diffusion_pytorch_model.safetensors").write_bytes(b"broken")
    with pytest.raises(WeightsError, match="Cannot read"):
        checkpoint_from_pixart(source, tmp_path / "new", **DEFAULTS)
    with pytest.raises(WeightsError, match="no checkpoint folder"):
        pixart_from_checkpoint(tmp_path / "nowhere", tmp_path / "new", layout="diffusers", part="denoiser")
    assert {path.name for path in tmp_path.iterdir()} == {"pixart"}


def test_weights_are_checked_before_any_are_drawn(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(*_args: object, **_options: object) -> None:
        raise AssertionError("drawn")

    monkeypatch.setattr("megactor_core.models.convert.draw_parts", draw)
    with pytest.raises(WeightsError, match="latent_channels is 8"):
        checkpoint_from_pixart(source, tmp_path / "new", **{**DEFAULTS, "preset": "tiny"})
    with pytest.raises(WeightsError, match="no weights file"):
        checkpoint_from_pixart(source, tmp_path / "new", **{**DEFAULTS, "easyanimate": tmp_path / "none.pt"})


def test_existing_folders_and_unknown_presets_are_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for convert in (
        lambda: checkpoint_from_pixart(source, tmp_path / "mine", **DEFAULTS),
        lambda: pixart_from_checkpoint(source, tmp_path / "mine", layout="original", part="denoiser"),
    ):
        with pytest.raises(OutputError, match="exists already"):
            convert()
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    with pytest.raises(ConfigError, match="did you mean 'nano'"):
        checkpoint_from_pixart(source, tmp_path / "new", **{**DEFAULTS, "preset": "nan"})


def test_a_model_of_another_form_has_no_pixart_form(tmp_path: Path) -> None:
    init_checkpoint(tmp_path / "tiny", preset="tiny", seed=0)
    with pytest.raises(WeightsError, match="not of PixArt-alpha's form"):
        pixart_from_checkpoint(tmp_path / "tiny", tmp_path / "new", layout="diffusers", part="denoiser")
    assert not (tmp_path / "new").exists()


def test_converting_leaves_the_global_generator_alone(source: Path, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    checkpoint_from_pixart(source, tmp_path / "new", **DEFAULTS)
    assert torch.equal(torch.get_rng_state(), before)
