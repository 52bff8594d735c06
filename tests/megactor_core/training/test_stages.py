"""What each stage trains: exact counts at the paper's size, exact sets of modules at a small one."""

from collections.abc import Iterable

import pytest
import torch
from torch import nn

from megactor_core.config.model import ModelConfig
from megactor_core.errors import ConfigError
from megactor_core.models.checkpoint import draw_parts
from megactor_core.models.sigma import Sigma
from megactor_core.training.network import TrainedNetwork
from megactor_core.training.stages import STAGES, Stage, trainable_parameters


@pytest.fixture(scope="module")
def paper() -> Sigma:
    with torch.device("meta"):
        return Sigma(ModelConfig())


@pytest.fixture(scope="module")
def nano() -> Sigma:
    return Sigma(ModelConfig.preset("nano"))


def count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


@pytest.mark.parametrize(("number", "numbers"), [(1, 896_295_256), (2, 995_514_712), (3, 409_086_720)])
def test_counts_at_the_papers_size(paper: Sigma, number: int, numbers: int) -> None:
    assert STAGES[number].number == number
    assert count(trainable_parameters(paper, STAGES[number]).values()) == numbers


def test_stages_and_dead_parameters_make_up_the_whole_model(paper: Sigma) -> None:
    second, third = (trainable_parameters(paper, STAGES[number]) for number in (2, 3))
    assert not second.keys() & third.keys()
    dead = paper.reference.dead_parameters()
    assert count(dead) == 15_974_816
    assert count([*second.values(), *third.values(), *dead]) == 1_420_576_248


def test_second_stage_adds_exactly_the_audio_attention(nano: Sigma) -> None:
    first, second = (trainable_parameters(nano, STAGES[number]) for number in (1, 2))
    assert first.keys() < second.keys()
    audio = {name for name, _ in nano.named_parameters() if ".audio_attention." in name}
    assert second.keys() - first.keys() == audio != set()


def test_third_stage_is_exactly_the_temporal_modules(nano: Sigma) -> None:
    third = trainable_parameters(nano, STAGES[3])
    assert set(third) == {name for name, _ in nano.named_parameters() if ".temporal." in name}
    assert {name.split(".")[2] for name in third} == {"1", "3"}


def test_names_are_the_models_in_its_order(nano: Sigma) -> None:
    own = dict(nano.named_parameters())
    for stage in STAGES.values():
        chosen = trainable_parameters(nano, stage)
        assert all(own[name] is parameter for name, parameter in chosen.items())
        assert list(chosen) == [name for name in own if name in chosen]


@pytest.mark.parametrize("number", STAGES)
def test_everything_chosen_gets_a_gradient(number: int) -> None:
    """No parameter waits for a gradient that never comes."""
    config = ModelConfig.preset("nano")
    torch.manual_seed(0)
    sigma = Sigma(config)
    with torch.no_grad():
        for parameter in sigma.parameters():
            parameter.normal_(std=0.05)
    out = sigma(
        torch.randn(1, 2, config.latent_channels, 8, 8),
        torch.tensor([437]),
        reference_latent=torch.randn(1, config.latent_channels, 8, 8),
        driving=torch.rand(1, 2, 3, 64, 64),
        audio=torch.randn(1, 2, config.audio.tokens, config.audio.width),
    )
    out.square().mean().backward()
    chosen = trainable_parameters(sigma, STAGES[number])
    assert [name for name, parameter in chosen.items() if parameter.grad is None] == []


@pytest.mark.parametrize(
    "stage",
    [
        Stage(9, trains=("denoiser", "referense")),
        Stage(9, trains=("denoiser",), freezes=("denoiser.blocks.*.tempral",)),
        Stage(9, trains=("denoiser.blocks.*.*.*.to_qq",)),
        Stage(9, trains=("*.temporal",)),
        Stage(9, trains=("",)),
    ],
    ids=lambda stage: (stage.freezes or stage.trains)[-1],
)
def test_patterns_without_a_module_are_refused(nano: Sigma, stage: Stage) -> None:
    pattern = (stage.freezes or stage.trains)[-1]
    with pytest.raises(ConfigError) as caught:
        trainable_parameters(nano, stage)
    assert f"no module '{pattern}'" in str(caught.value)


def test_refusal_offers_the_nearest_module(nano: Sigma) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'denoiser.blocks.\*.temporal'"):
        trainable_parameters(nano, Stage(9, trains=("denoiser.blocks.*.tempral",)))


def test_a_star_is_one_part_of_a_name(nano: Sigma) -> None:
    chosen = trainable_parameters(nano, Stage(9, trains=("denoiser.blocks.*.mlp",)))
    assert len(chosen) == 4 * nano.config.depth
    assert all(name.split(".")[3] == "mlp" for name in chosen)


def test_the_second_stage_trains_the_audio_encoder_too() -> None:
    parts = draw_parts(ModelConfig.preset("nano"), seed=0)
    for number, stage in STAGES.items():
        network = TrainedNetwork(parts.sigma, parts.audio_encoder, stage=stage)
        chosen = network.freeze_the_rest()
        outside = {name for name in chosen if not name.startswith("sigma.")}
        own = {f"audio_encoder.{name}" for name, _ in parts.audio_encoder.named_parameters()}
        assert outside == (own if number == 2 else set())
        free = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
        assert free == chosen.keys()
