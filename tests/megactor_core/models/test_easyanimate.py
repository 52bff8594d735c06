"""EasyAnimate V1's motion weights in the temporal modules of the odd blocks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from einops import rearrange
from safetensors.torch import save_file
from torch import Tensor, nn

from megactor_core.config.model import ModelConfig
from megactor_core.errors import WeightsError
from megactor_core.models.easyanimate import fill_from_easyanimate, load_easyanimate
from megactor_core.models.sigma import Sigma

FRAMES, GRID, MAX_FRAMES = 5, (4, 6), 32
# In a block: EasyAnimate's layer -> the layer of diffusers' BasicTransformerBlock of the same meaning.
INNER = {
    "norms.0": "norm1",
    "norms.1": "norm2",
    "ff_norm": "norm3",
    "ff.net.0.proj": "ff.net.0.proj",
    "ff.net.2": "ff.net.2",
} | {
    f"attention_blocks.{k}.{layer}": f"attn{k + 1}.{layer}"
    for k in (0, 1)
    for layer in ("to_q", "to_k", "to_v", "to_out.0")
}


class Module(nn.Module):
    """EasyAnimate V1's temporal module, from PyTorch's GroupNorm and diffusers' block, for cells of 1 x 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.proj_in = nn.Linear(width, width)
        self.block = BasicTransformerBlock(
            width,
            8,
            width // 8,
            activation_fn="geglu",
            double_self_attention=True,
            positional_embeddings="sinusoidal",
            num_positional_embeddings=MAX_FRAMES,
        )
        self.proj_out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(F, N, D) -> (F, N, D)."""
        s = self.proj_in(self.norm(x.transpose(1, 2)).transpose(1, 2))
        s = rearrange(self.block(rearrange(s, "f n d -> n f d")), "n f d -> f n d")
        return x + self.proj_out(s)

    def published(self, block: int) -> dict[str, Tensor]:
        """Its tensors as the published file names them, position tables and all."""
        own = self.state_dict()
        names = {name: name for name in ("norm", "proj_in", "proj_out")}
        names |= {f"transformer_blocks.0.{theirs}": f"block.{ours}" for theirs, ours in INNER.items()}
        tensors = {
            f"{theirs}.{kind}": own[f"{ours}.{kind}"]
            for theirs, ours in names.items()
            for kind in ("weight", "bias")
            if f"{ours}.{kind}" in own
        }
        for k in (0, 1):
            table = f"transformer_blocks.0.attention_blocks.{k}.pos_encoder.pe"
            tensors[table] = self.block.pos_embed.pe.clone()
        root = f"transformer_blocks.{block}.attn_temporal.temporal_transformer"
        return {f"{root}.{name}": value for name, value in tensors.items()}


Randomise = Callable[[nn.Module], Any]


@pytest.fixture
def config(nano: ModelConfig) -> ModelConfig:
    return nano.updated(temporal={"grid": 1})


@pytest.fixture
def modules(nano: ModelConfig, randomised: Randomise) -> list[Module]:
    """One module a block, the even blocks too, as in the published file."""
    return [randomised(Module(nano.hidden)) for _ in range(nano.depth)]


@pytest.fixture
def theirs(modules: list[Module]) -> dict[str, Tensor]:
    return {name: value for i, module in enumerate(modules) for name, value in module.published(i).items()}


def write(tensors: dict[str, Tensor], folder: Path) -> Path:
    save_file(tensors, folder / "easyanimate_v1_mm.safetensors")
    return folder / "easyanimate_v1_mm.safetensors"


@torch.no_grad()
def test_loaded_modules_parity_with_diffusers(
    config: ModelConfig, modules: list[Module], theirs: dict[str, Tensor], tmp_path: Path
) -> None:
    sigma = Sigma(config).eval()
    load_easyanimate(sigma, write(theirs, tmp_path))
    x = torch.randn(FRAMES, GRID[0] * GRID[1], config.hidden)
    for i in config.temporal_blocks:
        ours = sigma.denoiser.blocks[i].temporal(x, frames=FRAMES, grid=GRID)
        assert (ours - x).std() > 0.1
        torch.testing.assert_close(ours, modules[i](x), rtol=0, atol=1e-5)


def test_every_tensor_is_taken_or_named(nano: ModelConfig, theirs: dict[str, Tensor]) -> None:
    sigma = Sigma(nano)
    before = {name: value.clone() for name, value in sigma.state_dict().items()}
    report = fill_from_easyanimate(sigma, theirs, source=Path("x"))
    groups = [report.loaded, *report.dropped.values()]
    assert sorted(name for group in groups for name in group.names) == sorted(theirs)
    assert report.blocks == (1, 3)
    assert len(report.dropped["fixed positions"].names) == 2 * nano.depth
    even = report.dropped["blocks without a temporal module"].names
    assert {name.split(".")[1] for name in even} == {"0", "2"}
    changed = {name for name, value in sigma.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if ".temporal." in name}
    assert report.to_json()["loaded"] == {
        "tensors": len(changed),
        "parameters": sum(before[name].numel() for name in changed),
    }


def test_full_size_fills_half_of_the_published_modules() -> None:
    with torch.device("meta"):
        sigma = Sigma(ModelConfig())
    module = Module(1152)
    theirs = {name: value for block in range(28) for name, value in module.published(block).items()}
    report = fill_from_easyanimate(sigma, theirs, source=Path("x"))
    assert report.blocks == tuple(range(1, 28, 2))
    assert report.loaded.parameters == 14 * 29_220_480 == 409_086_720
    assert report.dropped["blocks without a temporal module"].parameters == 409_086_720


def test_the_identity_at_the_start_is_lost_and_said(nano: ModelConfig, theirs: dict[str, Tensor]) -> None:
    report = fill_from_easyanimate(Sigma(nano), theirs, source=Path("x"))
    assert not report.starts_as_identity
    assert any("do not start as the identity" in note for note in report.notes)
    silent = {name: value * 0 if ".proj_out." in name else value for name, value in theirs.items()}
    report = fill_from_easyanimate(Sigma(nano), silent, source=Path("x"))
    assert report.starts_as_identity
    assert report.notes == ()


def test_other_choices_than_easyanimates_are_said(nano: ModelConfig, theirs: dict[str, Tensor]) -> None:
    other = nano.updated(temporal={"grid": 1, "place": "after-block"})
    notes = " ".join(fill_from_easyanimate(Sigma(other), theirs, source=Path("x")).notes)
    assert "2 x 2 tokens, temporal.grid is 1" in notes
    assert "after the self-attention" in notes


def test_positions_may_be_rounded_to_half_precision(nano: ModelConfig, theirs: dict[str, Tensor]) -> None:
    half = {name: value.half() for name, value in theirs.items()}
    assert fill_from_easyanimate(Sigma(nano), half, source=Path("x")).loaded.parameters > 0


ROOT = "transformer_blocks.1.attn_temporal.temporal_transformer"
TABLE = f"{ROOT}.transformer_blocks.0.attention_blocks.1.pos_encoder.pe"


def refusal(sigma: Sigma, theirs: dict[str, Tensor], folder: Path) -> str:
    """What loading says, after a check that it changed nothing."""
    before = {name: value.clone() for name, value in sigma.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_easyanimate(sigma, write(theirs, folder))
    assert all(torch.equal(before[name], value) for name, value in sigma.state_dict().items())
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (f"{ROOT}.proj_in.weight", None, "is missing, the model asks for (64, 64)"),
        (f"{ROOT}.proj_in.weight", lambda v: v[:7], "is (7, 64), the model asks for (64, 64)"),
        (TABLE, lambda v: v + 0.1, "differs from our frame positions by 0.1"),
        (TABLE, lambda v: v.roll(1, dims=1), "differs from our frame positions"),
        (TABLE, lambda v: v * torch.nan, "differs from our frame positions by nan"),
        (TABLE, lambda v: v[0], "is (32, 64), our frame positions are (1, 4096, 64)"),
        (TABLE, lambda v: v[:, :0], "is (1, 0, 64), our"),
        (TABLE, lambda v: torch.zeros(1, 5000, 64), "is (1, 5000, 64), our frame positions are"),
    ],
    ids=["missing", "shape", "other", "shifted", "nan", "2d", "empty", "long"],
)
def test_misfits_are_named(
    nano: ModelConfig, theirs: dict[str, Tensor], tmp_path: Path, name: str, change: Any, said: str
) -> None:
    value = theirs.pop(name)
    if change is not None:
        theirs[name] = change(value).contiguous()
    message = refusal(Sigma(nano), theirs, tmp_path)
    assert f"'{name}' {said}" in message


def test_unknown_tensors_and_more_blocks_are_refused(
    nano: ModelConfig, theirs: dict[str, Tensor], tmp_path: Path
) -> None:
    message = refusal(Sigma(nano), theirs | Module(nano.hidden).published(4), tmp_path)
    assert "transformer_blocks.4." in message
    assert "no such tensor" in message
    assert "'lora.up' is (2,), the model asks for no such tensor" in refusal(
        Sigma(nano), theirs | {"lora.up": torch.ones(2)}, tmp_path
    )


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"norm": "layer"}, "temporal.norm is layer, EasyAnimate V1 has group"),
        ({"attentions": 1}, "temporal.attentions is 1, EasyAnimate V1 has 2"),
        ({"heads": 4}, "temporal.heads is 4, EasyAnimate V1 has 8"),
    ],
)
def test_modules_of_another_form_are_refused(
    nano: ModelConfig, theirs: dict[str, Tensor], tmp_path: Path, choice: dict[str, Any], said: str
) -> None:
    assert said in refusal(Sigma(nano.updated(temporal=choice)), theirs, tmp_path)
