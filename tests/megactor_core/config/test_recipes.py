"""Recipes: what wins over what, that nothing is lost in a file, and every message a wrong one gives."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.config.animate import AnimateConfig
from megactor_core.config.recipes import (
    check_recipe,
    config_class,
    copy_recipe,
    dump_config,
    find_recipe,
    find_shipped_recipe,
    list_recipes,
    load_config,
    parse_override,
    recipes_folder,
    save_config,
)
from megactor_core.config.yaml_text import parse_yaml, to_yaml
from megactor_core.errors import ConfigError, OutputError

PATHS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).map(Path)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "reference": PATHS,
    "audio_scale": st.floats(0, 10),
    "regions": st.sampled_from([("eyes",), ("mouth",), ("eyes", "mouth")]),
    "mask_mode": st.sampled_from(["paper", "strict", "off"]),
    "steps": st.integers(1, 1000),
    "seed": st.integers(0, 2**63 - 1),
    "fps": st.fractions(Fraction(1, 1000), 240, max_denominator=1001),
    "face": st.just("largest") | st.integers(0, 9),
    "overwrite": st.booleans(),
    "device": st.sampled_from(["auto", "cuda:1"]),
    "window": st.fixed_dictionaries({}, optional={"frames": st.integers(1, 64), "shift": st.integers(0, 64)}),
    "crop": st.fixed_dictionaries({}, optional={"left": st.floats(0.01, 10), "mode": st.just("square")}),
}
CONFIG_VALUES = st.fixed_dictionaries({}, optional=FIELDS)


def load(
    *, recipe: str | None = None, overrides: tuple[str, ...] = (), options: dict[str, Any] | None = None
) -> AnimateConfig:
    return load_config(
        AnimateConfig, command="animate", recipe=recipe, overrides=overrides, options=options or {}
    )


@given(CONFIG_VALUES)
def test_a_dumped_configuration_loads_back_equal(values: dict[str, Any]) -> None:
    config = AnimateConfig.build(values, source="test")
    again = AnimateConfig.build(parse_yaml(dump_config(config), source="dump"), source="dump")
    assert again == config


def test_a_dump_names_every_setting() -> None:
    dumped = parse_yaml(dump_config(AnimateConfig()), source="dump")
    assert set(dumped) == set(AnimateConfig.model_fields)


def test_a_saved_configuration_is_a_recipe(tmp_path: Path) -> None:
    config = load(overrides=("window.frames=8", "fps=29.97"))
    save_config(config, tmp_path / "new" / "config.yaml")
    assert load(recipe=str(tmp_path / "new" / "config.yaml")) == config


@given(
    values=st.fixed_dictionaries(
        {}, optional={place: st.integers(1, 1000) for place in ("recipe", "set", "option")}
    )
)
def test_option_wins_over_set_over_recipe_over_default(
    values: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    recipe = tmp_path_factory.mktemp("recipe") / "r.yaml"
    recipe.write_text(to_yaml({"steps": values.get("recipe"), "alpha": 3}))
    config = load(
        recipe=str(recipe),
        overrides=(f"steps={values['set']}",) if "set" in values else (),
        options={"steps": values.get("option")},
    )
    strongest = next((values[place] for place in ("option", "set", "recipe") if place in values), None)
    assert config.steps == (AnimateConfig().steps if strongest is None else strongest)
    assert config.alpha == 3, "a setting that only the recipe gives stays"


def test_the_last_set_wins_and_groups_are_merged_not_replaced(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("window: {frames: 8, shift: 3}\n")
    config = load(recipe=str(recipe), overrides=("window.frames=4", "window.frames=5", "crop={left: 2}"))
    assert (config.window.frames, config.window.shift, config.crop.left) == (5, 3, 2)
    assert config.crop.right == AnimateConfig().crop.right


def test_a_rate_keeps_its_exact_value_from_option_set_and_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("fps: 29.97\n")
    assert load(recipe=str(recipe)).fps == Fraction(2997, 100)
    assert load(overrides=("fps=29.97",)).fps == Fraction(2997, 100)
    assert load(options={"fps": "30000/1001"}).fps == Fraction(30000, 1001)


@pytest.mark.parametrize("rate", ["0", "-25", "1/0", "241", "1e999999999", "fast", "25/", "nan", True])
def test_a_rate_that_is_none_is_refused_at_once(rate: object) -> None:
    with pytest.raises(ConfigError, match="--fps"):
        load(options={"fps": rate})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("alpha",), "--set 'alpha' is not of the form key=value."),
        (("=3",), "--set '=3' is not of the form key=value."),
        (("a..b=3",), "--set 'a..b=3' is not of the form key=value."),
        (("alpha=[1",), "--set alpha, line 1, column 3: "),
        (("alpha=11",), "--set alpha is 11, but must be at most 10.0."),
        (("crop.lef=1",), "--set crop.lef is not a known key; did you mean 'crop.left'?"),
        (("crop=3",), "--set crop is 3, but must be a group of settings."),
        (("crop.left.x=3",), "--set crop.left is {'x': 3}, but must be a number."),
    ],
)
def test_a_wrong_override_is_named(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(overrides=overrides)
    assert caught.value.message.startswith(message)


def test_a_wrong_setting_is_blamed_on_the_place_that_gave_it(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("alpha: 11\nwindow: {frames: 0}\n")
    with pytest.raises(ConfigError, match=r"recipe '.*r.yaml': 'alpha' is 11.*'window.frames' is 0"):
        load(recipe=str(recipe))
    with pytest.raises(ConfigError) as caught:
        load(recipe=str(recipe), overrides=("window.frames=-1",), options={"alpha": 12})
    assert caught.value.message == (
        "--alpha is 12, but must be at most 10.0; --set window.frames is -1, but must be at least 1."
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"# only a comment\n", "is empty"),
        (b"- 1\n", "holds a list"),
        (b"hello\n", "holds a str"),
        (b"1: 2\n", "the key 1 is not a name"),
        (b"alpha: 1\nalpha: 2\n", "line 2, column 1: the key 'alpha' is given twice"),
        (b"alpha: [\n", "line 2, column 1"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"#" * 1_000_001, "more than 1000000 bytes"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(recipe=str(path))
    assert message in caught.value.message
    assert str(path) in caught.value.message


def test_recipes_are_found_by_name_full_name_and_path(tmp_path: Path) -> None:
    shipped = recipes_folder() / "animate" / "paper.yaml"
    assert find_recipe("animate", "paper") == shipped
    assert find_recipe("animate", "animate/paper") == shipped
    own = tmp_path / "own.yaml"
    own.touch()
    assert find_recipe("animate", str(own)) == own
    with pytest.raises(ConfigError, match="did you mean 'paper'"):
        find_recipe("animate", "papr")
    with pytest.raises(ConfigError, match="no recipe file"):
        find_recipe("animate", str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match="no recipe file"):
        find_recipe("animate", str(tmp_path))


@pytest.mark.parametrize("recipe", list_recipes(), ids=lambda recipe: recipe.full_name)
def test_every_shipped_recipe_is_valid_and_says_what_it_does(recipe: Any) -> None:
    check_recipe(recipe.path)
    assert 20 < len(recipe.summary) < 110
    assert recipe.path.read_text().startswith("# ")


@pytest.mark.parametrize("recipe", list_recipes(), ids=lambda recipe: recipe.full_name)
def test_every_shipped_recipe_states_differences_only(recipe: Any) -> None:
    default = parse_yaml(dump_config(config_class(recipe.command)()), source="default")
    for key, value in parse_yaml(recipe.path.read_text(), source=recipe.full_name).items():
        names_itself = (recipe.command, key) == ("evaluate", "protocol")
        assert value != default[key] or names_itself, f"{recipe.full_name} repeats the default of {key}"


def test_every_file_among_the_recipes_is_listed() -> None:
    scripts = recipes_folder() / "scripts"  # for other programs: shells, accelerate
    files = {path for path in recipes_folder().rglob("*") if path.is_file() and scripts not in path.parents}
    assert files == {recipe.path for recipe in list_recipes()}


def test_check_needs_to_know_the_command(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("alpha: 2\n")
    with pytest.raises(ConfigError, match="--for"):
        check_recipe(path)
    check_recipe(path, command="animate")
    path.write_text("alpa: 2\n")
    with pytest.raises(ConfigError, match="alpa"):
        check_recipe(path, command="animate")


def test_copy_never_overwrites(tmp_path: Path) -> None:
    written = copy_recipe("animate/paper", tmp_path)
    assert written == tmp_path / "paper.yaml"
    assert written.read_bytes() == find_recipe("animate", "paper").read_bytes()
    written.write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        copy_recipe("animate/paper", tmp_path)
    assert written.read_text() == "mine"
    with pytest.raises(OutputError, match="cannot be written"):
        copy_recipe("animate/paper", tmp_path / "none" / "x.yaml")
    with pytest.raises(ConfigError, match="did you mean 'animate/paper'"):
        copy_recipe("animate/papr", tmp_path)


def test_an_override_is_a_nested_layer() -> None:
    assert parse_override("a.b.c=[1, two]").values == {"a": {"b": {"c": [1, "two"]}}}
    assert parse_override("reference=a=b.png").values == {"reference": "a=b.png"}


def test_a_short_name_is_enough_where_one_command_has_it() -> None:
    assert find_shipped_recipe("preview") == find_shipped_recipe("animate/preview")
    with pytest.raises(ConfigError, match=r"'animate/paper' or .*'preprocess/paper'"):
        find_shipped_recipe("paper")


def test_a_recipe_for_another_command_is_named_as_such() -> None:
    with pytest.raises(ConfigError, match="for `megactor preprocess`, not for synth"):
        find_recipe("synth", "preprocess/tiny")
