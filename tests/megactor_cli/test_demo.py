"""`megactor demo`: what it says, and that the commands on its page are the ones that it runs."""

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from megactor_core.config.model import ModelConfig
from megactor_core.config.recipes import config_class
from megactor_core.demo.chain import steps_of
from megactor_core.demo.command import Command
from megactor_core.demo.workplace import FAST, FULL, DefaultModel, Workplace
from megactor_core.errors import MegActorError
from megactor_core.models.checkpoint import CheckpointInfo

ENTRIES = {
    "synth": "megactor_core.synthetic.corpus.make_corpus",
    "curate": "megactor_core.curation.curate.curate",
    "preprocess": "megactor_core.preprocessing.preprocess.preprocess",
    "train": "megactor_core.training.train.train",
    "animate": "megactor_core.animation.animate.animate",
    "evaluate": "megactor_core.evaluation.run.evaluate",
}


def commands_of(*, trained: bool, fast: bool) -> list[Command]:
    info = CheckpointInfo(name="x", trained=trained, model=ModelConfig.preset("tiny"))
    model = DefaultModel(Path("/models/it's mine"), info, "0" * 64)
    workplace = Workplace(Path("my demo"), FAST if fast else FULL, model)
    return [command for step in steps_of(workplace) for command in step.commands]


def test_options_arrive_and_the_paths_are_told(core, megactor) -> None:
    assert megactor("demo", "--output", "there", "--fast").exit_code == 0
    shown = megactor("demo")
    assert shown.exit_code == 0
    assert "demo/videos/A.mp4" in shown.out
    assert shown.out.splitlines()[-1].split() == ["report", "demo/report.html"]
    assert "12.3 s" in shown.out
    assert "Step 1 of 1: corpus." in shown.err
    assert core.demo_arguments == [(Path("there"), True), (Path("demo"), False)]


def test_json_is_one_object(core, megactor) -> None:
    result = megactor("demo", "--json")
    assert json.loads(result.out) == {"report": "demo/report.html", "steps": ["corpus"]}


def test_an_empty_output_is_refused(core, megactor) -> None:
    assert megactor("demo", "--output", "").exit_code == 2
    assert core.demo_arguments == []


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("fast", [True, False])
def test_a_command_typed_by_hand_has_the_settings_of_the_step(megactor, monkeypatch, trained, fast) -> None:
    typed: list[Any] = []

    def stop(config: Any, *_: Any, **__: Any) -> None:
        typed.append(config)
        raise MegActorError("No work is done here.")

    for entry in ENTRIES.values():
        monkeypatch.setattr(entry, stop)
    commands = commands_of(trained=trained, fast=fast)
    assert {command.name for command in commands} == set(ENTRIES)
    for command in commands:
        program, *arguments = shlex.split(command.text().replace(" \\\n", " "))
        assert program == "megactor"
        assert megactor(*arguments).err == "Error: No work is done here.\n"
        assert typed.pop() == command.config(config_class(command.name))


def test_training_starts_from_the_defaults_autoencoder() -> None:
    (command,) = (one for one in commands_of(trained=True, fast=True) if one.name == "train")
    assert command.recipe == "tiny-stage1"
    assert command.options["init"] == Path("/models/it's mine")


def test_what_animates_is_named_nowhere() -> None:
    """So that it is the default checkpoint, whatever that is."""
    takes = [command for command in commands_of(trained=True, fast=False) if command.name == "animate"]
    assert len(takes) == 7
    assert all("checkpoint" not in command.options for command in takes)


def test_scales_differ_in_amounts_alone() -> None:
    full, fast = (SimpleNamespace(c=commands_of(trained=True, fast=fast)) for fast in (False, True))
    assert [command.name for command in full.c] == [command.name for command in fast.c]
    assert FAST.clips < FULL.clips
    assert FAST.training_steps < FULL.training_steps
