"""report.html of the demo: every step with its pictures, its time and its commands, on one page.

One file without addresses or scripts, made of the bricks of the evaluation's pages.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from megactor_core.config.model import ModelConfig
from megactor_core.demo.bricks import shell
from megactor_core.demo.record import StepTime
from megactor_core.demo.step import Shown, Step
from megactor_core.demo.workplace import Workplace
from megactor_core.files import atomic_path
from megactor_core.pages.page import Markup, Page, note, paragraph, table
from megactor_core.version import megactor_version

Done = tuple[Step, Shown, StepTime]
TITLE: Final = "megactor from beginning to end"


def write_report(workplace: Workplace, done: Sequence[Done]) -> None:
    """Write the page; raises OutputError where that cannot be."""
    page = report_page(workplace, done)
    with atomic_path(workplace.report) as temporary:
        temporary.write_text(page, encoding="utf-8")


def report_page(workplace: Workplace, done: Sequence[Done]) -> str:
    """The page as HTML."""
    page = Page(TITLE, made_by="megactor demo")
    page.head(*_head(workplace))
    for _, shown, _ in done:
        page.head(*shown.head)
    for number, (step, shown, time) in enumerate(done, start=1):
        page.section(f"{number}. {step.title}", *shown.parts, *_by_hand(step, time))
    page.section("Time", *_times(done))
    return page.html()


def _head(workplace: Workplace) -> Iterator[Markup]:
    info = workplace.model.info
    yield paragraph(
        "megactor makes a talking head of a portrait. A driving video, speech, or both say how it moves, and "
        "each has a strength of its own. This page shows one run of all its parts: it makes data, trains for "
        "a moment, animates, and measures the result. Every face here was drawn by a program; none of these "
        "people exists."
    )
    if not info.trained:
        yield paragraph(
            f"The checkpoint that animates here, {info.name}, is untrained: its weights are random numbers. "
            "The videos show that every part works, and no talking head.",
            of="warn",
        )
    elif info.domain:
        yield note(f"The checkpoint that animates is {info.name}. It was trained on {info.domain}.")
    yield note(f"{_model_in_words(info.model)} Made by megactor {megactor_version()}.")


def _model_in_words(model: ModelConfig) -> str:
    return (
        f"The model is small: {model.depth} blocks of width {model.hidden}, pictures of "
        f"{model.native_px} x {model.native_px} pixels."
    )


def _by_hand(step: Step, time: StepTime) -> Iterator[Markup]:
    yield note(f"This step took {_seconds(time.wall_seconds)}. By hand:")
    yield shell(step.commands)


def _times(done: Sequence[Done]) -> Iterator[Markup]:
    rows = [(step.name, _seconds(time.wall_seconds), _seconds(time.cpu_seconds)) for step, _, time in done]
    wall = sum(time.wall_seconds for _, _, time in done)
    cpu = sum(time.cpu_seconds for _, _, time in done)
    rows.append(("together", _seconds(wall), _seconds(cpu)))
    yield table(["step", "time", "processor time"], rows, numbers=frozenset({1, 2}))
    yield note(
        "Processor time is of all cores together. A step that was done in an earlier run keeps the time that "
        "it took then. With --workers 0 the commands start no other processes; leave it out where there is "
        "more to do."
    )


def _seconds(value: float) -> str:
    return f"{value:.1f} s"
