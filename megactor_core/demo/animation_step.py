"""The built-in example, animated by each driver alone and together, and at three strengths of either."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from megactor_core.animation.animate import animate_jobs
from megactor_core.animation.report import AnimateReport
from megactor_core.config.animate import AnimateConfig
from megactor_core.demo.bricks import strips, video
from megactor_core.demo.command import Command, Given
from megactor_core.demo.example import example
from megactor_core.demo.montage import Montage, Tile, moments
from megactor_core.demo.step import Shown, Step
from megactor_core.demo.workplace import Workplace
from megactor_core.errors import MegActorError
from megactor_core.faces.landmarks import detect_landmarks
from megactor_core.files import read_json, sha256_of, write_json
from megactor_core.listener import Listener
from megactor_core.media.video import read_video
from megactor_core.metrics.geometry import FaceMeasures
from megactor_core.metrics.motion import head_shift, mouth_amplitude
from megactor_core.pages.page import Markup, note, paragraph, table, tag

FPS: Final = AnimateConfig().fps
STRIP_FRAMES: Final = 6
MEASURES: Final = "measures.json"


@dataclass(frozen=True, slots=True)
class Take:
    """One clip of the example."""

    name: str
    drivers: tuple[str, ...]
    """Of `audio` and `driving`."""
    strength: dict[str, float] = field(default_factory=dict)

    def path(self, workplace: Workplace) -> Path:
        return workplace.videos / f"{self.name}.mp4"

    def command(self, workplace: Workplace) -> Command:
        files = {"audio": workplace.example.audio, "driving": workplace.example.driving}
        options: dict[str, Given] = {
            "reference": workplace.example.reference,
            **{driver: files[driver] for driver in self.drivers},
            **self.strength,
            "seconds": workplace.scale.seconds,
            "badge": "off",  # their movement is measured
            "output": self.path(workplace),
            "resume": True,
        }
        return Command("animate", options=options)


A: Final = Take("A", ("audio",))
V: Final = Take("V", ("driving",))
AV: Final = Take("A+V", ("driving", "audio"))
UNHEARD: Final = Take("audio-scale-0", A.drivers, {"audio_scale": 0.0})
LOUD: Final = Take("audio-scale-1.5", A.drivers, {"audio_scale": 1.5})
STILL: Final = Take("alpha-0", V.drivers, {"alpha": 0.0})
LIVELY: Final = Take("alpha-2", V.drivers, {"alpha": 2.0})
TAKES: Final = (A, V, AV, UNHEARD, LOUD, STILL, LIVELY)

WHO_DRIVES: Final = {"A: the speech alone": A, "V: the video alone": V, "A+V: speech and video": AV}
AUDIO_SCALES: Final = {"audio scale 0": UNHEARD, "audio scale 1": A, "audio scale 1.5": LOUD}
ALPHAS: Final = {"alpha 0": STILL, "alpha 1": V, "alpha 2": LIVELY}
"""What is shown side by side, by caption."""


def animate_example(workplace: Workplace) -> Step:
    """All takes, with the default checkpoint."""
    commands = tuple(take.command(workplace) for take in TAKES)

    def work(listener: Listener) -> Shown:
        _copy_example(workplace)
        reports = _animate([command.config(AnimateConfig) for command in commands], listener)
        measures = _measure(workplace, listener)
        montage = _who_drives(workplace).make()
        return Shown(
            parts=tuple(_of_takes(workplace, measures, frames=reports[0].frames)),
            head=(video(montage, _who_drives(workplace).captions),),
            videos=tuple(report.output for report in reports),
        )

    return Step("animation", "A portrait comes alive", commands, work)


def _copy_example(workplace: Workplace) -> None:
    inside, copies = example(), workplace.example
    copies.reference.parent.mkdir(parents=True, exist_ok=True)
    for source, copy in (
        (inside.reference, copies.reference),
        (inside.driving, copies.driving),
        (inside.audio, copies.audio),
    ):
        if not copy.is_file() or sha256_of(copy) != sha256_of(source):
            shutil.copyfile(source, copy)


def _animate(configs: Sequence[AnimateConfig], listener: Listener) -> list[AnimateReport]:
    """Raises the first error."""
    done = 0

    def progress(phase: str, so_far: int, total: int) -> None:
        listener.progress(f"clip {done + 1} of {len(configs)}: {phase}", so_far, total)

    def on_done(result: AnimateReport | MegActorError) -> None:
        nonlocal done
        if isinstance(result, MegActorError):
            raise result
        done += 1

    results = animate_jobs(configs, on_progress=progress, on_note=listener.note, on_done=on_done)
    return [result for result in results if isinstance(result, AnimateReport)]


# ---------------------------------------------------------------- measures


@dataclass(frozen=True, slots=True)
class Movement:
    """Of a take, in outer eye distances; None where no face was found."""

    mouth_amplitude: float | None
    head_shift: float | None


def _measure(workplace: Workplace, listener: Listener) -> dict[str, Movement]:
    """By take; those of files that were measured before are read."""
    path = workplace.videos / MEASURES
    known = _known(path)
    found: dict[str, Movement] = {}
    rows = {}
    for number, take in enumerate(TAKES, start=1):
        digest = sha256_of(take.path(workplace))
        row = known.get(take.name, {})
        if row.get("sha256") != digest:
            row = {"sha256": digest, **_movement(take.path(workplace))}
        rows[take.name] = row
        found[take.name] = Movement(row["mouth_amplitude"], row["head_shift"])
        listener.progress("measuring movement", number, len(TAKES))
    write_json(path, rows)
    return found


def _known(path: Path) -> dict[str, Any]:
    """What an earlier run measured; nothing where that cannot be read."""
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError):
        return {}


def _movement(path: Path) -> dict[str, float | None]:
    faces = FaceMeasures.of_track(detect_landmarks(read_video(path)))
    values = {"mouth_amplitude": mouth_amplitude(faces), "head_shift": head_shift(faces)}
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


# ---------------------------------------------------------------- the page


def _who_drives(workplace: Workplace) -> Montage:
    given = workplace.example
    tiles = [Tile("portrait", given.reference), Tile("driver", given.driving)]
    return _montage("who-drives", workplace, [*tiles, *_tiles(workplace, WHO_DRIVES)])


def _montage(name: str, workplace: Workplace, tiles: Sequence[Tile]) -> Montage:
    return Montage(
        output=workplace.videos / "side-by-side" / f"{name}.mp4",
        tiles=tuple(tiles),
        sound=workplace.example.audio,
        video_fps=FPS,
    )


def _tiles(workplace: Workplace, takes: Mapping[str, Take]) -> list[Tile]:
    return [Tile(caption, take.path(workplace)) for caption, take in takes.items()]


def _of_takes(workplace: Workplace, measures: dict[str, Movement], *, frames: int) -> Iterator[Markup]:
    yield paragraph(
        "The portrait, the driving video and the speech are of three people whom the model has never met. "
        "The same portrait is animated three times: by the speech alone (A), by the video alone (V), and by "
        "both (A+V). With both, the speech moves the mouth, and the video moves the head and the eyes."
    )
    shown = [Tile("driver", workplace.example.driving), *_tiles(workplace, WHO_DRIVES)]
    yield strips([(tile.caption, _moments(tile.source, frames)) for tile in shown])
    yield note(
        "The clip at the top of this page has sound: turn it on in the player. All files are in "
        f"{workplace.videos}."
    )
    yield tag("h3", {}, "How much the speech says: audio scale")
    yield paragraph(
        "The speech alone drives, with the same random numbers each time. At 0 it is not heard. 1 is as the "
        "model was trained. More than 1 exaggerates."
    )
    yield from _strengths("audio-scales", AUDIO_SCALES, workplace, measures)
    yield tag("h3", {}, "How far the head follows: alpha")
    yield paragraph(
        "The video alone drives. At 0 the head is to keep its place in the picture, while eyes and mouth "
        "follow the driver. At 1 it is to move as far as the driver's, at 2 twice as far."
    )
    yield from _strengths("alphas", ALPHAS, workplace, measures)


def _strengths(
    name: str, takes: Mapping[str, Take], workplace: Workplace, measures: dict[str, Movement]
) -> Iterator[Markup]:
    """Three takes side by side, each with how much it moves."""
    montage = _montage(name, workplace, _tiles(workplace, takes))
    yield video(montage.make(), montage.captions)
    found = [measures[take.name] for take in takes.values()]
    rows = [
        ["movement of the mouth", *(_value(one.mouth_amplitude) for one in found)],
        ["movement of the head", *(_value(one.head_shift) for one in found)],
    ]
    yield table(["measured", *takes], rows, numbers=frozenset({1, 2, 3}))
    yield note("Standard deviations over time, in distances between the outer corners of the eyes.")


def _value(value: float | None) -> str:
    return "no face found" if value is None else f"{value:.4f}"


def _moments(path: Path, frames: int) -> list[np.ndarray]:
    return moments(path, video_fps=FPS, count=STRIP_FRAMES, last=frames)
