"""Messages about configurations say which setting, which value and what is allowed."""

import pytest

from megactor_core.config.animate import AnimateConfig
from megactor_core.config.base import nearest
from megactor_core.config.model import ModelConfig
from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.errors import ConfigError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"alpha": 11}, "here: 'alpha' is 11, but must be at most 10.0."),
        ({"alpha": "loud"}, "here: 'alpha' is 'loud', but must be a number."),
        ({"seconds": float("inf")}, "here: 'seconds' is inf, but must be a finite number."),
        ({"steps": 1.5}, "here: 'steps' is 1.5, but must be a whole number."),
        ({"mask_mode": "of"}, "here: 'mask_mode' is 'of', but must be 'paper', 'strict' or 'off'."),
        ({"window": 3}, "here: 'window' is 3, but must be a group of settings."),
        ({"window": {"frames": 0}}, "here: 'window.frames' is 0, but must be at least 1."),
        ({"regions": ["eye"]}, "here: 'regions' is 'eye', but must be 'eyes' or 'mouth'."),
        ({"reference": 3}, "here: 'reference' is 3, but must be a path."),
        ({"face": "smallest"}, "here: 'face' is 'smallest', but must be 'largest' or a whole number."),
        ({"face": -1}, "here: 'face' is -1, but must be 'largest' or at least 0."),
        ({"alpa": 1}, "here: 'alpa' is not a known key; did you mean 'alpha'?"),
        ({"window": {"frame": 3}}, "here: 'window.frame' is not a known key; did you mean 'window.frames'?"),
        ({"size": 100}, "here: size = 100 is not a multiple of 32; use 96 or 128."),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AnimateConfig.build(values, source="here")
    assert caught.value.message == message


def test_several_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"'audio_scale' is 12.*; here: 'alpha' is 11"):
        AnimateConfig.build({"alpha": 11, "audio_scale": 12}, source="here")


def test_a_long_value_is_cut() -> None:
    with pytest.raises(ConfigError) as caught:
        AnimateConfig.build({"alpha": "x" * 10_000}, source="here")
    assert len(caught.value.message) < 200


def test_a_number_that_python_refuses_to_print_is_an_error_like_any_other() -> None:
    with pytest.raises(ConfigError, match="too many digits"):
        AnimateConfig.build({"alpha": [10**5000]}, source="here")


def test_an_empty_path_is_none() -> None:
    for name in ("source", "output"):
        with pytest.raises(ConfigError, match=f"here: '{name}' is '', but must be a path"):
            PreprocessConfig.build({name: ""}, source="here")
    assert PreprocessConfig.build({"source": None, "whisper": ""}, source="here").source is None


def test_updated_validates_and_leaves_the_original_alone() -> None:
    config = AnimateConfig()
    assert config.updated(alpha=2).alpha == 2
    assert config.alpha == 1
    with pytest.raises(ConfigError, match="alpha"):
        config.updated(alpha=-1)


def test_nearest_offers_one_name_or_all() -> None:
    assert nearest("papr", ["paper", "preview"]) == "did you mean 'paper'?"
    assert nearest("zzz", ["paper", "preview"]) == "valid names: paper, preview"


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'tiny'"):
        ModelConfig.preset("tin")
