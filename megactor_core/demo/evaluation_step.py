"""The default checkpoint measured on people whom no training has seen, against the true clips."""

from collections.abc import Iterator
from typing import Final

from megactor_core.config.evaluate import EvaluateConfig
from megactor_core.demo.bricks import video
from megactor_core.demo.command import Command
from megactor_core.demo.montage import Montage, Tile
from megactor_core.demo.step import Shown, Step
from megactor_core.demo.workplace import IN_PROCESS, Workplace
from megactor_core.engine.stage import Row
from megactor_core.evaluation.catalogue import BY_NAME
from megactor_core.evaluation.clip import read_arrays
from megactor_core.evaluation.pairing import pair_of
from megactor_core.evaluation.report import REPORT
from megactor_core.evaluation.result import EvaluateResult, SetResult
from megactor_core.evaluation.run import evaluate
from megactor_core.evaluation.strips import Strip
from megactor_core.listener import Listener
from megactor_core.pages.page import Markup, jpeg, note, paragraph, table, tag

CAPTIONS: Final = {"A": "A: its sound", "V": "V: its video", "A+V": "A+V: its sound, head and eyes"}
MODES: Final = tuple(CAPTIONS)
SHOWN_CLIPS: Final = 2
EXPLAINED: Final = {
    "mouth_open_correlation": "does the mouth open when it should? 1 is always, 0 is chance",
    "eyes_open_correlation": "do the eyes open and close when they should?",
    "yaw_correlation": "does the head turn as it should?",
    "mouth_amplitude_ratio": "how far the mouth moves; 1 is as far as the true one",
    "face_distance": "how far the points of the face are from the true ones",
    "psnr": "how close the pixels are; about 30 is close",
    "ssim": "how close the picture is in structure; 1 is equal",
    "flicker": "how restless the picture is from frame to frame, in grey levels",
    "flicker_real": "the same of the true clips",
    "face_share": "in how many frames a face detector finds a face",
}
"""Numbers of the table, and what they mean in plain words."""


def evaluate_model(workplace: Workplace) -> Step:
    """By the protocol `quick`, whose measures need no networks."""
    command = Command(
        "evaluate",
        recipe="quick",
        options={
            "checkpoint": workplace.model.folder,
            "data": workplace.samples,
            "modes": MODES,
            "clips": workplace.scale.held_out_clips,
            "output": workplace.evaluation,
            **IN_PROCESS,
        },
    )

    def work(listener: Listener) -> Shown:
        result = evaluate(command.config(EvaluateConfig), listener.progress, listener.note)
        return Shown(tuple(_of_result(result, workplace)))

    return Step("evaluation", "How good is it?", (command,), work)


def _of_result(result: EvaluateResult, workplace: Workplace) -> Iterator[Markup]:
    measured = [row for row in result.rows if row["status"] == "ok"]
    names = sorted({row["name"] for row in measured})
    yield paragraph(
        f"Clips of people who are in no training set are animated: {len(names)} of them. Each person is the "
        "portrait and the driver at once, so the true video is known. What comes out is compared with it, "
        "frame by frame."
    )
    for name in names[:SHOWN_CLIPS]:
        yield from _clip(name, [row for row in measured if row["name"] == name], workplace)
    yield from _table(result)
    yield note(
        "So few clips say little; a real evaluation takes many more. All numbers, and curves over time, are "
        f"in {workplace.evaluation / REPORT}."
    )


def _clip(name: str, rows: list[Row], workplace: Workplace) -> Iterator[Markup]:
    """The true clip beside the generated ones, as a video and as strips."""
    pairs = sorted(map(pair_of, rows), key=lambda pair: MODES.index(pair.mode or ""))
    montage = Montage(
        output=workplace.videos / "side-by-side" / f"{name}.mp4",
        tiles=(Tile("true", pairs[0].real), *(Tile(CAPTIONS[str(p.mode)], p.generated) for p in pairs)),
        sound=pairs[0].sound,
        video_fps=EvaluateConfig().fps,
    )
    yield tag("h3", {}, f"A held-out person: {name}")
    yield video(montage.make(), montage.captions)
    kept = {str(p.mode): Strip.of_arrays(read_arrays(workplace.evaluation, p.row_id)) for p in pairs}
    shown = {mode: strip for mode, strip in kept.items() if strip is not None}
    truth = [("true", strip.real) for strip in list(shown.values())[:1]]
    made = [(CAPTIONS[mode], strip.generated) for mode, strip in shown.items()]
    yield tag("div", {"class": "rows"}, *(_strip(caption, coded) for caption, coded in truth + made))


def _strip(caption: str, coded: bytes) -> Markup:
    return tag("figure", {}, tag("figcaption", {}, caption), jpeg(coded, shows=f"frames: {caption}"))


def _table(result: EvaluateResult) -> Iterator[Markup]:
    """A row a number, a column a mode; numbers that could not be taken are dashes."""
    rows = [
        [f"{BY_NAME[name].title} {BY_NAME[name].arrow}".strip(), *_values(name, result), meaning]
        for name, meaning in EXPLAINED.items()
    ]
    yield tag("h3", {}, "In numbers")
    yield paragraph("↑ more is better, ↓ less is better. A dash: no face was found, or nothing moved.")
    yield table(["", *result.sets, ""], rows, numbers=frozenset(range(1, 1 + len(result.sets))))


def _values(name: str, result: EvaluateResult) -> list[str]:
    return [_value(one, name) for one in result.sets.values()]


def _value(one: SetResult, name: str) -> str:
    found = one.metrics.get(name)
    return "-" if found is None else f"{found.value:.3g}"
