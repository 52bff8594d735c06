"""PixArt-alpha's weights in Sigma: every tensor accounted for, bit for bit; refusals name the misfit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import PixArtTransformer2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from megactor_core.config.model import ModelConfig
from megactor_core.errors import WeightsError
from megactor_core.models import checkpoint
from megactor_core.models.pixart import LAYOUTS, fill_from_pixart, load_pixart, to_pixart
from megactor_core.models.sigma import Sigma

Randomise = Callable[[nn.Module], Any]
LAYOUT_NAMES = sorted(LAYOUTS)


@pytest.fixture
def theirs(nano: ModelConfig, pixart: Any) -> dict[str, Tensor]:
    """Random weights of a nano PixArt-alpha, in diffusers' layout."""
    return pixart(nano).state_dict()


@pytest.fixture
def sigma(nano: ModelConfig, randomised: Randomise) -> Sigma:
    """Every weight drawn, so that a forgotten one shows."""
    return randomised(Sigma(nano))


@pytest.fixture
def by_layout(theirs: dict[str, Tensor], as_original: Any) -> dict[str, dict[str, Tensor]]:
    return {"diffusers": theirs, "original": as_original(theirs)}


def is_kept(name: str) -> bool:
    return "attn2" not in name and "caption_projection" not in name


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def refusal(sigma: Sigma, path: Path, **choices: Any) -> str:
    """What loading says, after a check that it changed nothing."""
    before = snapshot(sigma)
    with pytest.raises(WeightsError) as caught:
        load_pixart(sigma, path, **choices)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in sigma.state_dict().items())
    return str(caught.value)


# Files


def as_pth(folder: Path, tensors: dict[str, Tensor]) -> Path:
    torch.save({"state_dict": tensors, "epoch": 1}, folder / "weights.pth")
    return folder / "weights.pth"


def as_bare_pth(folder: Path, tensors: dict[str, Tensor]) -> Path:
    torch.save(tensors, folder / "weights.pth")
    return folder / "weights.pth"


def as_safetensors(folder: Path, tensors: dict[str, Tensor]) -> Path:
    save_file(tensors, folder / "weights.safetensors")
    return folder / "weights.safetensors"


@pytest.mark.parametrize("write", [as_pth, as_bare_pth, as_safetensors])
@pytest.mark.parametrize("layout", LAYOUT_NAMES)
def test_both_layouts_in_every_file_fill_the_model_alike(
    theirs: dict[str, Tensor],
    sigma: Sigma,
    tmp_path: Path,
    layout: str,
    write: Any,
    by_layout: dict[str, dict[str, Tensor]],
) -> None:
    report = load_pixart(sigma, write(tmp_path, by_layout[layout]))
    assert report.layout == layout
    kept = {name: value for name, value in theirs.items() if is_kept(name)}
    for part in ("denoiser", "reference"):
        back = to_pixart(sigma, part=part)
        assert back.keys() == kept.keys()
        assert all(torch.equal(back[name], value) for name, value in kept.items())


@pytest.mark.parametrize("nested", [True, False])
def test_folder_that_diffusers_wrote(
    nano: ModelConfig, sigma: Sigma, tmp_path: Path, nested: bool, pixart: Any
) -> None:
    network = pixart(nano)
    network.save_pretrained(tmp_path / "transformer")
    load_pixart(sigma, tmp_path if nested else tmp_path / "transformer")
    assert torch.equal(sigma.reference.head.weight, network.proj_out.weight)


def test_folder_of_shards(nano: ModelConfig, sigma: Sigma, tmp_path: Path, pixart: Any) -> None:
    network = pixart(nano)
    network.save_pretrained(tmp_path, max_shard_size="300KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    load_pixart(sigma, tmp_path)
    assert torch.equal(sigma.reference.head.weight, network.proj_out.weight)


def test_half_precision_files_fill_float32_models(
    theirs: dict[str, Tensor], sigma: Sigma, tmp_path: Path
) -> None:
    half = {name: value.half() for name, value in theirs.items()}
    load_pixart(sigma, as_safetensors(tmp_path, half))
    assert sigma.reference.head.weight.dtype == torch.float32
    assert torch.equal(sigma.reference.head.weight, half["proj_out.weight"].float())


def test_load_pixart_has_its_documented_place() -> None:
    assert checkpoint.load_pixart is load_pixart


# Accounting


@pytest.fixture(scope="module")
def paper() -> Sigma:
    with torch.device("meta"):
        return Sigma(ModelConfig())


def full_size(**choices: Any) -> dict[str, Tensor]:
    with torch.device("meta"):
        return PixArtTransformer2DModel(
            sample_size=64, caption_channels=4096, use_additional_conditions=False, **choices
        ).state_dict()


def test_parity_of_counts_with_the_published_model(paper: Sigma, theirs: dict[str, Tensor]) -> None:
    theirs = full_size()
    assert len(theirs) == 603
    assert sum(value.numel() for value in theirs.values()) == 610_856_096
    report = fill_from_pixart(paper, theirs, source=Path("published"), text_queries=False)
    groups = [report.loaded, *report.dropped.values()]
    assert sorted(name for group in groups for name in group.names) == sorted(theirs)
    assert sum(group.parameters for group in groups) == 610_856_096
    assert report.loaded.parameters == 456_043_424
    assert {name: group.to_json() for name, group in report.dropped.items()} == {
        "text cross-attention": {"tensors": 224, "parameters": 28 * 5_313_024},
        "caption projection": {"tensors": 4, "parameters": 6_048_000},
    }
    assert {name: group.parameters for name, group in report.own_init.items()} == {
        "audio attention": 28 * 3_543_552,
        "temporal modules": 409_086_720,
        "driven encoder": 164_792,
    }


def test_every_parameter_of_ours_is_filled_or_named(theirs: dict[str, Tensor], sigma: Sigma) -> None:
    before = snapshot(sigma)
    report = fill_from_pixart(sigma, theirs, source=Path("x"), text_queries=False)
    named = {name for group in report.own_init.values() for name in group.names}
    changed = {name for name, value in sigma.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == sigma.state_dict().keys() - named


def test_original_file_is_accounted_for(
    nano: ModelConfig, sigma: Sigma, tmp_path: Path, by_layout: dict[str, dict[str, Tensor]]
) -> None:
    tensors = by_layout["original"]
    report = load_pixart(sigma, as_pth(tmp_path, tensors))
    groups = {name: group.names for name, group in report.dropped.items()}
    assert {name: len(names) for name, names in groups.items()} == {
        "text cross-attention": 6 * nano.depth,
        "caption projection": 5,
        "fixed positions": 1,
    }
    named = [*report.loaded.names, *(name for names in groups.values() for name in names)]
    assert sorted(named) == sorted(tensors)


def test_size_conditioning_of_the_1024_px_weights_is_dropped_and_said(
    nano: ModelConfig, theirs: dict[str, Tensor], sigma: Sigma
) -> None:
    third = nano.hidden // 3 + 1
    extra = {
        f"adaln_single.emb.{part}_embedder.linear_1.weight": torch.ones(third, 256)
        for part in ("resolution", "aspect_ratio")
    }
    report = fill_from_pixart(sigma, theirs | extra, source=Path("x"), text_queries=False)
    assert set(report.dropped["size conditioning"].names) == set(extra)
    assert any("1024 px" in note for note in report.notes)
    plain = fill_from_pixart(sigma, theirs, source=Path("x"), text_queries=False)
    assert not any("1024 px" in note for note in plain.notes)


def test_report_as_json_counts_and_does_not_list(theirs: dict[str, Tensor], sigma: Sigma) -> None:
    report = fill_from_pixart(sigma, theirs, source=Path("x"), text_queries=False).to_json()
    assert report["dropped"]["text cross-attention"]["tensors"] == 32
    assert len(json.dumps(report)) < 1500


# Meaning


@torch.no_grad()
def test_widened_input_is_exactly_the_narrow_one_for_any_motion(
    nano: ModelConfig, theirs: dict[str, Tensor], sigma: Sigma
) -> None:
    fill_from_pixart(sigma, theirs, source=Path("x"), text_queries=False)
    latents, motion = torch.randn(2, 4, 8, 8), 1e3 * torch.randn(2, nano.driven.out_channels, 8, 8)
    wide, _ = sigma.denoiser.embed(torch.cat([latents, motion], dim=1))
    narrow, _ = sigma.reference.embed(latents)
    assert torch.equal(wide, narrow)
    assert narrow.std() > 0.1


@torch.no_grad()
def test_text_queries_start_the_audio_attention_only_where_asked(
    theirs: dict[str, Tensor], sigma: Sigma, tmp_path: Path, by_layout: dict[str, dict[str, Tensor]]
) -> None:
    attention = sigma.denoiser.blocks[1].audio_attention.attention
    before = snapshot(attention)
    load_pixart(sigma, as_pth(tmp_path, theirs))
    assert torch.equal(attention.to_q.weight, before["to_q.weight"])
    for layout in LAYOUT_NAMES:
        sigma.denoiser.load_state_dict({k: v * 0 for k, v in sigma.denoiser.state_dict().items()})
        report = load_pixart(sigma, as_pth(tmp_path, by_layout[layout]), text_queries=True)
        assert torch.equal(attention.to_q.weight, theirs["transformer_blocks.1.attn2.to_q.weight"])
        assert torch.equal(attention.to_q.bias, theirs["transformer_blocks.1.attn2.to_q.bias"])
        assert not attention.to_k.weight.any()
        assert "denoiser.blocks.1.audio_attention.attention.to_q.weight" not in (
            report.own_init["audio attention"].names
        )
        assert not any("q_linear" in n or "to_q" in n for n in report.dropped["text cross-attention"].names)


@pytest.mark.parametrize("part", ["denoiser", "reference"])
@pytest.mark.parametrize("layout", LAYOUT_NAMES)
def test_what_is_written_loads_again_bit_for_bit(
    nano: ModelConfig, sigma: Sigma, tmp_path: Path, layout: Any, part: Any
) -> None:
    written = to_pixart(sigma, part=part, layout=layout)
    path = as_safetensors(tmp_path, written)
    assert load_file(path).keys() == written.keys()
    other = Sigma(nano)
    assert load_pixart(other, path).dropped == {}
    again = to_pixart(other, part=part, layout=layout)
    assert all(torch.equal(again[name], value) for name, value in written.items())


def test_what_is_written_is_a_copy(sigma: Sigma) -> None:
    written = to_pixart(sigma, part="reference")
    written["proj_out.weight"].zero_()
    assert sigma.reference.head.weight.any()
    assert not any(value.requires_grad for value in written.values())


# Refusals


def without(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: value for key, value in tensors.items() if key != name}


def reshaped(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return tensors | {name: torch.zeros(7, 5)}


QKV = "blocks.2.attn.qkv.weight"


@pytest.mark.parametrize(
    ("layout", "damage", "said"),
    [
        ("original", lambda t: without(t, QKV), f"'{QKV}' is missing, the model asks for (192, 64)"),
        ("original", lambda t: reshaped(t, QKV), f"'{QKV}' is (7, 5), the model asks for (192, 64)"),
        ("original", lambda t: t | {"extra": torch.ones(3)}, "'extra' is (3,), the model asks for no such"),
        ("diffusers", lambda t: without(t, "proj_out.bias"), "'proj_out.bias' is missing, the model asks"),
        (
            "diffusers",
            lambda t: reshaped(t, "pos_embed.proj.weight"),
            "'pos_embed.proj.weight' is (7, 5), the model asks for (64, 4, 2, 2)",
        ),
        ("diffusers", lambda _: {"conv.weight": torch.ones(3)}, "is not PixArt-alpha"),
    ],
)
def test_misfits_are_named_with_both_shapes(
    sigma: Sigma, tmp_path: Path, layout: str, damage: Any, said: str, by_layout: dict[str, dict[str, Tensor]]
) -> None:
    path = as_safetensors(tmp_path, damage(by_layout[layout]))
    message = refusal(sigma, path)
    assert said in message
    assert str(path) in message


@pytest.mark.parametrize("layout", LAYOUT_NAMES)
@pytest.mark.parametrize(
    "other", [{"depth": 2}, {"depth": 6}, {"hidden": 32}, {"mlp_ratio": 2}], ids=lambda other: str(other)
)
def test_other_depths_and_widths_are_refused(
    nano: ModelConfig,
    tmp_path: Path,
    layout: str,
    other: dict[str, int],
    by_layout: dict[str, dict[str, Tensor]],
) -> None:
    message = refusal(Sigma(nano.updated(**other)), as_safetensors(tmp_path, by_layout[layout]))
    assert "the model asks for" in message
    assert "depth 28 and width 1152" in message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"diffusion": {"learned_variance": False}}, "diffusion.learned_variance is False"),
        ({"diffusion": {"prediction": "v"}}, "diffusion.prediction is v, PixArt-alpha has eps"),
        (
            {"autoencoder": {"kind": "patch", "latent_channels": 8}},
            "latent_channels is 8, PixArt-alpha has 4",
        ),
    ],
)
def test_models_of_another_form_are_refused(
    nano: ModelConfig, theirs: dict[str, Tensor], tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    model = Sigma(nano.updated(**changes))
    assert said in refusal(model, as_safetensors(tmp_path, theirs))
    with pytest.raises(WeightsError, match="not of PixArt-alpha's form"):
        to_pixart(model)


def test_text_queries_need_the_text_attention_and_its_width(
    nano: ModelConfig, theirs: dict[str, Tensor], sigma: Sigma, tmp_path: Path
) -> None:
    stripped = {name: value for name, value in theirs.items() if is_kept(name)}
    assert "attn2.to_q.bias' is missing" in refusal(
        sigma, as_safetensors(tmp_path, stripped), text_queries=True
    )
    narrow = Sigma(nano.updated(audio={**nano.audio.model_dump(), "inner_width": 32}))
    message = refusal(narrow, as_safetensors(tmp_path, theirs), text_queries=True)
    assert "attn2.to_q.bias' is (64,), the model asks for (32,)" in message


def test_other_heads_are_refused_where_a_folder_tells_them(
    nano: ModelConfig, sigma: Sigma, tmp_path: Path, pixart: Any
) -> None:
    other = nano.updated(heads=2)
    pixart(other).save_pretrained(tmp_path)
    assert "num_attention_heads is 2, the model has 4 heads" in refusal(sigma, tmp_path)
    (tmp_path / "config.json").write_text("[]")
    assert "holds a list" in refusal(sigma, tmp_path)
