"""megactor train: what the command line hands to the core, and what it says."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from megactor_core.config.train import TrainConfig
from megactor_core.errors import Terminated, WeightsError


@pytest.fixture
def trained(monkeypatch) -> list[TrainConfig]:
    """The configurations that reach the core, which does nothing."""
    configs: list[TrainConfig] = []

    def train(config: TrainConfig, *, on_progress: Callable, on_note: Callable) -> SimpleNamespace:
        configs.append(config)
        on_note("a note from the core")
        on_progress("training", 2, 2)
        return SimpleNamespace(to_json=lambda: {"step": 2, "checkpoint": "runs/stage1/final"})

    module = ModuleType("megactor_core.training.train")
    vars(module).update(train=train)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return configs


def test_options_reach_the_core(trained, megactor) -> None:
    result = megactor(
        *("train", "--stage", "2", "--data", "d", "--output", "o", "--init", "i", "--resume", "--json"),
        *("--steps", "7", "--batch-size", "3", "--set", "optimiser.clip_norm=2", "--set", "seed=5"),
    )
    assert json.loads(result.out) == {"step": 2, "checkpoint": "runs/stage1/final"}
    assert (result.exit_code, "a note from the core" in result.err) == (0, True)
    (config,) = trained
    assert (config.stage, config.steps, config.batch_size, config.resume) == (2, 7, 3, True)
    assert (config.data, config.output, config.init) == (Path("d"), Path("o"), Path("i"))
    assert (config.optimiser.clip_norm, config.seed) == (2.0, 5)


def test_a_bare_stage_is_the_papers(trained, megactor) -> None:
    assert megactor("train", "--stage", "1").exit_code == 0
    (config,) = trained
    assert (config.steps, config.learning_rate, config.model.depth) == (30_000, 1e-5, 28)
    assert (config.data, config.folder) == (Path("data/processed"), Path("runs/stage1"))


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("name", ["stage{}", "tiny-stage{}"])
def test_shipped_recipes(stage, name, trained, megactor) -> None:
    result = megactor("train", "--recipe", name.format(stage))
    assert (result.exit_code, "Error" in result.err) == (0, False)
    (config,) = trained
    assert config.stage == stage
    assert config.draw.clip_frames == ({"stage{}": 16, "tiny-stage{}": 8}[name] if stage == 3 else 1)


def test_a_stage_is_needed(trained, megactor) -> None:
    result = megactor("train")
    assert result.exit_code == 2
    assert result.err == (
        "Error: --stage is missing. Give --stage 1, 2 or 3, or a recipe: see `megactor recipes list`.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stage", "4"], "--stage is '4', but must be 1, 2, 3 or 'autoencoder'."),
        (["--stage", "1", "--steps", "0"], "--steps is '0', but must be at least 1."),
        (
            ["--stage", "1", "--set", "optimiser.clipnorm=1"],
            "'optimiser.clipnorm' is not a known key; did you mean",
        ),
        (["--recipe", "tiny-stage4"], "There is no recipe 'tiny-stage4' for train; did you mean"),
    ],
)
def test_wrong_settings_are_refused(arguments, message, trained, megactor) -> None:
    result = megactor("train", *arguments)
    assert result.exit_code == 2
    assert message in result.err.replace("--set optimiser.clipnorm", "'optimiser.clipnorm'")
    assert trained == []


def test_a_terminated_run_exits_with_143(megactor, trained, monkeypatch) -> None:
    def train(*_arguments, **_named):
        raise Terminated("Stopped after step 3 of 6.", fix="Add --resume.")

    monkeypatch.setattr(sys.modules["megactor_core.training.train"], "train", train)
    result = megactor("train", "--stage", "1")
    assert (result.exit_code, result.err) == (143, "Error: Stopped after step 3 of 6. Add --resume.\n")


@pytest.mark.parametrize(("rank", "said"), [("0", True), ("1", False)])
def test_one_process_of_many_speaks(rank, said, trained, megactor, monkeypatch) -> None:
    monkeypatch.setenv("RANK", rank)
    result = megactor("train", "--stage", "1", "--json")
    assert (bool(result.out), bool(result.err)) == (said, said)

    def train(*_arguments, **_named):
        raise WeightsError("There is no checkpoint.")

    monkeypatch.setattr(sys.modules["megactor_core.training.train"], "train", train)
    result = megactor("train", "--stage", "2")
    assert (result.exit_code, bool(result.err)) == (2, said)
