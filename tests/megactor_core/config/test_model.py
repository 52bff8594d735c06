"""The model's configuration: presets, what must divide what, and errors in the user's words."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from megactor_core.config.model import ModelConfig
from megactor_core.errors import ConfigError, UsageError

PRESETS = ("nano", "tiny", "small", "paper")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_a_round_trip(name: str) -> None:
    config = ModelConfig.preset(name)
    assert ModelConfig.build(config.model_dump(), source="dump") == config
    assert ModelConfig.build(config.model_dump(mode="json"), source="json") == config
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config


def test_defaults_are_the_paper() -> None:
    paper = ModelConfig.preset("paper")
    assert paper == ModelConfig.build({}, source="defaults")
    assert (paper.depth, paper.hidden, paper.heads) == (28, 1152, 16)
    assert (paper.native_px, paper.base_tokens, paper.latent_channels, paper.out_channels) == (512, 32, 4, 8)
    assert (paper.audio.encoder, paper.audio.width, paper.audio.tokens) == ("whisper", 384, 50)
    assert (paper.sampling.steps, paper.sampling.guidance) == (20, 4.5)
    assert paper.temporal_blocks == tuple(range(1, 28, 2))


def test_small_presets_predict_one_thing() -> None:
    for name in ("tiny", "small"):
        config = ModelConfig.preset(name)
        assert config.out_channels == config.latent_channels == 8
        assert config.diffusion.prediction == "v"


@given(depth=st.integers(2, 64))
def test_reference_starts_at_the_papers_share(depth: int) -> None:
    """The paper's last 16 of 28 blocks, rounded so that never more than that share reads the reference."""
    start = ModelConfig.build({"depth": depth}, source="test").reference_start
    assert start == math.ceil(12 / 28 * depth)
    assert 0 <= start < depth
    assert (depth - start) * 28 <= 16 * depth


@pytest.mark.parametrize(("depth", "start"), [(28, 12), (14, 6), (12, 6), (8, 4), (6, 3), (4, 2)])
def test_reference_start_at_known_depths(depth: int, start: int) -> None:
    assert ModelConfig.build({"depth": depth}, source="test").reference_start == start


def test_reference_start_can_be_chosen() -> None:
    config = ModelConfig.preset("nano").updated(reference={"start_block": 0})
    assert config.reference_start == 0


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        ({"hidden": 40}, ("40", "32")),
        ({"hidden": 96, "heads": 5}, ("96", "5")),
        ({"temporal": {"heads": 7}}, ("64", "7")),
        ({"native_px": 80}, ("80", "32")),
        ({"reference": {"start_block": 4}}, ("4", "depth = 4")),
        ({"audio": {"encoder": "whisper", "tokens": 12}}, ("12", "50")),
        ({"audio": {"encoder": "log-mel", "inner_width": 30}}, ("30", "4")),
        ({"autoencoder": {"kind": "patch", "latent_channels": 17}}, ("17", "16")),
    ],
)
def test_sizes_that_do_not_fit_name_both_numbers(
    changes: dict[str, object], numbers: tuple[str, str]
) -> None:
    values = {**ModelConfig.preset("nano").model_dump(), **changes}
    with pytest.raises(ConfigError) as caught:
        ModelConfig.build(values, source="recipe.yaml")
    for number in numbers:
        assert number in caught.value.message
    assert "recipe.yaml" in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("changes", "offered"),
    [
        ({"dept": 4}, "'depth'"),
        ({"temporal": {"gird": 1}}, "'temporal.grid'"),
        ({"audio": {"edge": "clamp"}}, "'audio.edges'"),
        ({"autoencoder": {"latent_channel": 8}}, "'autoencoder.latent_channels'"),
    ],
)
def test_unknown_keys_offer_the_nearest(changes: dict[str, object], offered: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean {offered}"):
        ModelConfig.build(changes, source="recipe.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"depth": 1}, "at least 2"),
        ({"depth": "many"}, "a whole number"),
        ({"temporal": {"grid": 3}}, "1 or 2"),
        ({"mask": {"form": "soft"}}, "'exclude' or 'literal'"),
        ({"diffusion": {"beta_end": 1.0}}, "less than 1"),
        ({"diffusion": {"beta_start": float("nan")}}, "finite|more than"),
        ({"autoencoder": {"scaling_factor": 0}}, "more than 0"),
        ({"audio": 5}, "a group of settings"),
    ],
)
def test_values_out_of_range_say_what_is_allowed(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ModelConfig.build(changes, source="recipe.yaml")


def test_unknown_preset_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no preset 'papper'; did you mean 'paper'\?") as caught:
        ModelConfig.preset("papper")
    assert isinstance(caught.value, UsageError)
    assert caught.value.exit_code == 2


def test_unlike_any_preset_lists_them_all() -> None:
    with pytest.raises(ConfigError, match="nano, paper, small, tiny"):
        ModelConfig.preset("xxxxxxx")


def test_configurations_are_frozen() -> None:
    config = ModelConfig.preset("nano")
    with pytest.raises(ValidationError):
        config.depth = 8  # type: ignore[misc]
    assert config.updated(depth=8).depth == 8
    assert config.depth == 4


def test_updated_validates() -> None:
    with pytest.raises(ConfigError, match=r"65.*32"):
        ModelConfig.preset("nano").updated(hidden=65)
