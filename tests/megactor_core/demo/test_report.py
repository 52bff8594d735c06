"""The demo's page: every step in order, with its time and its commands, and nothing from elsewhere."""

import base64
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from megactor_core.config.model import ModelConfig
from megactor_core.demo.bricks import picture, shell, strips, video
from megactor_core.demo.command import Command
from megactor_core.demo.record import StepTime
from megactor_core.demo.report import report_page
from megactor_core.demo.step import Shown, Step
from megactor_core.demo.workplace import FAST, DefaultModel, Workplace
from megactor_core.models.checkpoint import CheckpointInfo
from megactor_core.pages.page import paragraph


def workplace(**info: object) -> Workplace:
    known = {"name": "sigma", "trained": True, "model": ModelConfig.preset("nano"), **info}
    return Workplace(Path("demo"), FAST, DefaultModel(Path("x"), CheckpointInfo.build(known, source=""), ""))


def done(name: str, *, seconds: float, text: str = "") -> tuple[Step, Shown, StepTime]:
    command = Command("synth", options={"output": Path(f"{name} & more")})
    shown = Shown((paragraph(text),), head=(paragraph(f"{name} on top"),))
    step = Step(name, f"The {name}", (command,), lambda _listener: shown)
    return step, shown, StepTime(seconds, 2 * seconds, is_done=True)


def test_steps_stand_in_order_with_their_times_and_commands() -> None:
    page = report_page(workplace(), [done("corpus", seconds=1.5), done("end", seconds=2, text="<b>")])
    assert [unescape(title) for title in re.findall(r"<h2>(.*?)</h2>", page)] == [
        "1. The corpus",
        "2. The end",
        "Time",
    ]
    assert page.index("end on top") < page.index("The corpus</h2>")
    assert "&lt;b&gt;" in page
    assert "megactor synth --output 'corpus & more'" in unescape(page)
    cells = re.findall(r'<td class="num">(.*?)</td>', page)
    assert cells == ["1.5 s", "3.0 s", "2.0 s", "4.0 s", "3.5 s", "7.0 s"]


def test_an_untrained_model_is_told_first_and_a_trained_ones_limits_too() -> None:
    untrained = report_page(workplace(trained=False, name="nano-untrained"), [])
    assert "nano-untrained, is untrained" in untrained
    trained = report_page(workplace(domain="synthetic faces"), [])
    assert "is untrained" not in trained
    assert "It was trained on synthetic faces." in trained


def test_pictures_and_videos_lie_within_the_page(tmp_path: Path) -> None:
    file = tmp_path / "a.mp4"
    file.write_bytes(bytes(range(256)))
    shown = video(file, ["A", "<V>"])
    coded = re.search(r'src="data:video/mp4;base64,([^"]*)"', shown)
    assert coded is not None
    assert base64.b64decode(coded[1]) == file.read_bytes()
    assert "<V>" not in shown
    image = np.zeros((16, 24, 3), dtype=np.uint8)
    for part in (picture(image, shows="x"), strips([("row", [image, image])])):
        assert re.findall(r'src="(.{0,23})', part) == ["data:image/jpeg;base64,"]


@pytest.mark.parametrize("length", [10, 2000])
def test_commands_are_whole_however_long(length: int) -> None:
    command = Command("synth", options={"output": Path("<" + "x" * length)})
    assert f"'<{'x' * length}'" in unescape(shell([command, command]))
