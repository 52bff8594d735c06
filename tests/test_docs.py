"""The documents say what the code does: fields, defaults, counts and commands are read back from them."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel
from torch import nn

from megactor_core.config.animate import AnimateConfig
from megactor_core.config.model import ModelConfig
from megactor_core.config.preprocess import PreprocessConfig
from megactor_core.config.train import TrainConfig
from megactor_core.faces.amplitude import scale_motion
from megactor_core.models.sigma import Sigma

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "tests/benchmarks/README.md"]
PAPER = (ROOT / "docs/paper.md").read_text(encoding="utf-8")
PERFORMANCE = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
SECTIONS = {
    "Model": ModelConfig,
    "Animation": AnimateConfig,
    "Samples": PreprocessConfig,
    "Training": TrainConfig,
}
CHOICES = ("window", "crop", "box", "amplitude")
"""Groups of AnimateConfig that decide the picture; its other fields name files, devices and limits."""
TRAINING_CHOICES = ("draw", "optimiser", "ema", "loss")
"""Groups of TrainConfig that decide what is learned."""


@pytest.fixture
def script(load_module: Callable[..., ModuleType]) -> Callable[[str], ModuleType]:
    """script(name): a benchmark script as a module."""
    return lambda name: load_module(ROOT / "tests/benchmarks" / f"{name}.py", name=name)


def defaults(config: type[BaseModel], group: str = "") -> Iterator[tuple[str, str]]:
    """Dotted name of every field and its default as the page writes it."""
    for name, field in config.model_fields.items():
        value = field.get_default(call_default_factory=True)
        if isinstance(value, BaseModel):
            yield from defaults(type(value), f"{group}{name}.")
        else:
            yield group + name, ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def rows(page: str, *, section: str) -> list[list[str]]:
    """Cells of the table rows of a section, without heads and rules."""
    text = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
    table = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in cells] for cells in table[2:]]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_exists_with_this_default(section: str) -> None:
    known = dict(defaults(SECTIONS[section]))
    named = {cells[0].strip("`"): cells[1] for cells in rows(PAPER, section=section)}
    assert named == {name: known.get(name, "no such field") for name in named}


def test_no_choice_is_left_out() -> None:
    model = [cells[0].strip("`") for cells in rows(PAPER, section="Model")]
    assert model == [name for name, _ in defaults(ModelConfig)]
    animation = {cells[0].strip("`") for cells in rows(PAPER, section="Animation")}
    wanted = {name for name, _ in defaults(AnimateConfig) if name.split(".")[0] in CHOICES}
    assert wanted <= animation
    training = {cells[0].strip("`") for cells in rows(PAPER, section="Training")}
    assert {name for name, _ in defaults(TrainConfig) if name.split(".")[0] in TRAINING_CHOICES} <= training


def test_settings_in_the_text_exist() -> None:
    """`group.field = value` anywhere on the page."""
    known = {name for config in SECTIONS.values() for name, _ in defaults(config)}
    for page in (PAPER, PERFORMANCE):
        found = set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)?) = [^`]+`", page))
        assert found
        assert found <= known


def test_parameter_counts() -> None:
    with torch.device("meta"):
        sigma = Sigma(ModelConfig())
        inner = Sigma(ModelConfig().updated(audio={"inner_width": 384}))
    blocks: list[Any] = list(sigma.denoiser.blocks)
    audio = sum(numbers(block.audio_attention) for block in blocks)
    temporal = sum(numbers(block.temporal) for block in blocks if block.temporal is not None)
    dead = sum(parameter.numel() for parameter in sigma.reference.dead_parameters())
    text = 28 * 4 * (1152**2 + 1152)  # PixArt-alpha's cross-attention
    caption = 4096 * 1152 + 1152**2 + 2 * 1152
    total = numbers(sigma)
    wider = {width: total + 28 * 2 * 1152 * (width - 384) for width in (512, 768, 1024, 1280)}
    counts = [
        *(total, *wider.values(), numbers(inner), total - dead, total + text + caption, total + audio),
        *(total + temporal, total + 83_653_863),
        *(numbers(sigma.denoiser), audio, temporal, numbers(sigma.reference)),
        *(numbers(sigma.driven_encoder), dead),
    ]
    assert [count for count in counts if f"{count:,}" not in PAPER] == []


def numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_equation_4_as_printed() -> None:
    table = rows(PAPER, section="Equation 4 shears")
    assert len(table) == 4
    for alpha, row, determinant, centred in table:
        printed = scale_motion(np.eye(2, 3), float(alpha), np.zeros(2), formula="printed")
        assert row == "({:.3f}, {:.3f})".format(*(printed[1, :2] + 0.0))
        assert determinant == f"{abs(np.linalg.det(printed[:, :2])):.3f}"
        ours = scale_motion(np.eye(2, 3), float(alpha), np.zeros(2))
        np.testing.assert_allclose(ours, np.eye(2, 3), atol=1e-12)
        assert centred == "(0, 1)"


def test_leaks_have_the_rows_of_the_script(script: Callable[[str], ModuleType]) -> None:
    leaks = script("leaks")
    for title, cases in leaks.TABLES.items():
        assert f"| {title} | off | paper | strict |" in PAPER
        for name in cases:
            assert f"| {name} |" in PAPER


def test_counted_work_is_what_the_script_prints(
    script: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    script("flops").main()
    assert capsys.readouterr().out in PERFORMANCE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_scripts_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    scripts = [*re.findall(r"python (tests/\S+\.py)", text), *re.findall(r"`(megactor_core/\S+\.py)`", text)]
    named_tests = re.findall(r"`(test_\w+\.py)`", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
    assert [path for path in scripts if not (ROOT / path).exists()] == []
    assert [name for name in named_tests if not list((ROOT / "tests").rglob(name))] == []
