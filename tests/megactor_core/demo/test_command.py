"""Commands as text: what is typed means what was said, whatever the names of files."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.config.animate import AnimateConfig
from megactor_core.config.synth import SynthConfig
from megactor_core.demo.command import Command
from megactor_core.errors import ConfigError


def test_a_command_is_its_parts_in_order() -> None:
    command = Command(
        "evaluate",
        source=Path("a b"),
        recipe="quick",
        options={"modes": ("A", "V"), "clips": 3, "alpha": 1.0, "resume": True},
        overrides=("seed=1",),
    )
    assert command.text() == (
        "megactor evaluate 'a b' --recipe quick --modes A,V --clips 3 --alpha 1 --resume --set seed=1"
    )


def test_recipe_options_and_overrides_make_the_configuration() -> None:
    command = Command("synth", recipe="tiny", options={"clips": 5}, overrides=("seconds=2",))
    config = command.config(SynthConfig)
    assert (config.clips, config.seconds, config.size, config.twins) == (5, 2, 128, True)


def test_a_wrong_setting_is_an_error_of_the_option() -> None:
    with pytest.raises(ConfigError, match="--alpha"):
        Command("animate", options={"alpha": 11.0}).config(AnimateConfig)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), max_size=8))
def test_the_shell_reads_back_every_word(words: list[str]) -> None:
    command = Command("synth", options={f"option{k}": word for k, word in enumerate(words)})
    expected = [part for k, word in enumerate(words) for part in (f"--option{k}", word)]
    assert shlex.split(command.text().replace(" \\\n", " ")) == ["megactor", "synth", *expected]


def test_long_commands_go_on_in_an_indented_line() -> None:
    first, *rest = Command("synth", options={f"o{k}": "x" * 30 for k in range(5)}).text().splitlines()
    assert len(first) <= 102
    assert rest
    assert first.endswith(" \\")
    assert all(line.startswith("    --") for line in rest)
