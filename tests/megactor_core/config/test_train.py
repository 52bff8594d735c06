"""What a training configuration fills in by itself, and what it refuses."""

from pathlib import Path

import pytest

from megactor_core.config.data import DataConfig
from megactor_core.config.model import ModelConfig
from megactor_core.config.recipes import dump_config
from megactor_core.config.train import CADENCE, TrainConfig
from megactor_core.config.yaml_text import parse_yaml
from megactor_core.errors import ConfigError


def build(**values) -> TrainConfig:
    return TrainConfig.build(values, source="recipe 'x'")


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_samples_are_drawn_as_the_stage_wants_them(stage) -> None:
    assert build(stage=stage).draw == DataConfig.for_stage(stage)
    assert build(stage=str(stage)).draw == DataConfig.for_stage(stage)  # options are text


def test_a_group_given_in_part_keeps_the_rest_of_the_stages_and_the_presets() -> None:
    config = build(
        stage=3, preset="tiny", draw={"clip_frames": 8}, model={"mask": {"form": "literal"}}, steps=5
    )
    assert config.draw == DataConfig.for_stage(3).updated(clip_frames=8)
    assert config.model == ModelConfig.preset("tiny").updated(mask={"form": "literal"})


def test_the_defaults_are_the_papers() -> None:
    config = build(stage=1)
    assert (config.steps, config.learning_rate, config.model) == (30_000, 1e-5, ModelConfig())
    assert config.loss.min_snr_gamma is None
    assert (config.loss.mouth_weight, config.loss.eyes_weight) == (1, 1)


def test_folders() -> None:
    assert build(stage=2).folder == Path("runs/stage2")
    assert build(stage="autoencoder", preset="tiny").folder == Path("runs/autoencoder")
    assert build(stage=2, output="here").folder == Path("here")


def test_a_resolved_configuration_comes_back_from_its_file() -> None:
    config = build(stage=3, preset="small", draw={"null_rate": 0.2}, data="d", init="i")
    assert TrainConfig.build(parse_yaml(dump_config(config), source="file"), source="file") == config


def test_cadence_names_real_settings() -> None:
    assert TrainConfig.model_fields.keys() >= CADENCE


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stage": 4}, r"'stage' is 4, but must be 1, 2, 3 or 'autoencoder'"),
        ({"stage": 1, "learing_rate": 1}, "'learing_rate' is not a known key; did you mean 'learning_rate'"),
        ({"stage": 1, "ema": {"decai": 1}}, r"'ema\.decai' is not a known key; did you mean 'ema.decay'"),
        (
            {"stage": 1, "draw": {"clip_frames": 4}},
            r"draw\.clip_frames = 4, but only stage 3 trains on clips",
        ),
        (
            {"stage": 3, "draw": {"clip_frames": 1, "frames_per_reference": 4}},
            r"draw\.frames_per_reference = 4, but stage 3 trains on clips",
        ),
        (
            {"stage": 2, "draw": {"clip_frames": 4, "frames_per_reference": 4}},
            "a sample is a clip or frames apart, not both",
        ),
        (
            {"stage": 1, "steps": 5, "optimiser": {"warmup_steps": 5}},
            "warmup_steps = 5 is not below steps = 5",
        ),
        ({"stage": 1, "preset": "tony"}, "'preset' is 'tony', but must be"),
        ({"stage": 1, "model": {"hidden": 100}}, "hidden = 100 is not a multiple of"),
        ({"stage": 2, "draw": {"mix": {"visual": 0.5}}}, "sum to 1.4, but must sum to 1"),
    ],
)
def test_what_is_refused(values, message) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**values)
