"""Parts that lie in the CPU's memory while they do not work: where each is when; no number changes."""

import pytest
import torch
from torch import Tensor, nn

from megactor_core.config.model import ModelConfig
from megactor_core.models.offload import Workbench
from megactor_core.models.sigma import Sigma

CPU, META = torch.device("cpu"), torch.device("meta")


def drawn_sigma() -> Sigma:
    torch.manual_seed(0)
    sigma = Sigma(ModelConfig.preset("nano")).eval()
    with torch.no_grad():
        for parameter in sigma.parameters():
            parameter.normal_(std=0.05)
    return sigma


@torch.no_grad()
def output_of(sigma: Sigma) -> Tensor:
    config, frames, side = sigma.config, 2, 8
    generator = torch.Generator().manual_seed(1)
    return sigma(
        torch.randn(1, frames, config.latent_channels, side, side, generator=generator),
        torch.tensor([300]),
        reference_latent=torch.randn(1, config.latent_channels, side, side, generator=generator),
        driving=torch.rand(1, frames, 3, 8 * side, 8 * side, generator=generator),
        audio=torch.randn(1, frames, config.audio.tokens, config.audio.width, generator=generator),
    )


@pytest.mark.parametrize("offload", ["off", "parts", "blocks"])
def test_no_number_changes(offload: str) -> None:
    sigma = drawn_sigma()
    plain = output_of(sigma)
    with Workbench(CPU, offload).holding(sigma):
        held = output_of(sigma)
    assert plain.abs().max() > 0.1
    assert torch.equal(held, plain)
    assert torch.equal(output_of(sigma), plain), "and the weights are whole afterwards"


def test_weights_of_blocks_are_there_only_while_they_run() -> None:
    """accelerate keeps a streamed layer's weights on `meta`, which has none, until it runs."""
    sigma = drawn_sigma()
    with Workbench(CPU, "blocks").holding(sigma):
        blocks = [*sigma.denoiser.blocks, *sigma.reference.blocks]
        layers = [layer for block in blocks for layer in block.children()]
        for _ in range(2):
            assert {weight.device for layer in layers for weight in layer.parameters()} == {META}
            output_of(sigma)
        assert sigma.denoiser.patch_embed.weight.device == CPU
        streamed = sum(weight.numel() for layer in layers for weight in layer.parameters())
        assert streamed > 0.8 * sum(weight.numel() for weight in sigma.parameters())
    assert {weight.device for weight in sigma.parameters()} == {CPU}


def test_parts_come_and_go_home_even_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """`meta` plays the device, whose numbers nobody can bring home."""
    went_home: list[nn.Module] = []
    monkeypatch.setattr(nn.Linear, "to", lambda part, _device: went_home.append(part))
    here, there = nn.Linear(1, 1), nn.Linear(1, 1)

    def work() -> None:
        with Workbench(META, "parts").holding(here):
            assert {weight.device for weight in here.parameters()} == {META}
            assert {weight.device for weight in there.parameters()} == {CPU}
            raise MemoryError

    with pytest.raises(MemoryError):
        work()
    assert went_home == [here]


def test_where_parts_are_loaded() -> None:
    assert Workbench(META, "off").home == META
    assert Workbench(META, "parts").home == Workbench(META, "blocks").home == CPU
