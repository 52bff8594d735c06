"""Filming a planned clip: the script of its motion and sound, its shots, the mp4 file and the truth.

Shape legend:
    F frames   S side of the picture in pixels
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np

from megactor_core.config.splits import split_of
from megactor_core.config.synth import SynthConfig
from megactor_core.files import atomic_path
from megactor_core.media.audio import Sound
from megactor_core.media.video_writer import VideoWriter
from megactor_core.synthetic.face import ZOOM, FaceRenderer
from megactor_core.synthetic.faults import (
    behind_desk,
    beside,
    faulty_performance,
    halves,
    poor_picture,
    spliced,
)
from megactor_core.synthetic.identity import Identity, draw_identity, identity_numbers
from megactor_core.synthetic.motion import act
from megactor_core.synthetic.plan import ClipPlan, clip_facts
from megactor_core.synthetic.scene import paint_backdrop
from megactor_core.synthetic.speech import Speech, say_nothing, speak
from megactor_core.synthetic.state import Performance
from megactor_core.synthetic.truth import Truth, write_truth

_DESK_HEAD_UNITS = 2.7
"""From the middle of the head down to the desk of a person far away."""


def film_clip(plan: ClipPlan, config: SynthConfig, *, folder: Path) -> None:
    """Write a clip, its twin and their truth into the corpus `folder`, each file whole or not at all.

    The twin shows and says the same as another person. Of the clip's fault it has what lies in motion and
    sound, not what lies in the picture or the file. Raises OutputError.
    """
    script = _write_script(plan, config)
    if config.twins:
        _film_twin(plan, script, config, folder=folder)
    person = draw_identity(plan.identity_seed, plain=config.plain)
    shots = _faulty_shots(plan, person, script, config)
    kept = plan.fault_size("truncated")
    if kept is None:
        points = _film(folder / plan.files.video, shots, script, config)
    else:
        points = _film_cut_off(folder / plan.files.video, shots, script, config, kept=kept)
    facts = clip_facts(plan, config) | _who(person)
    if plan.fault_kind in ("two_faces", "scene_cut"):
        facts["other_identity_numbers"] = identity_numbers(_other(plan, config))
    write_truth(folder / plan.files.truth, Truth(script.performance, *points, facts))


def _film_twin(plan: ClipPlan, script: "_Script", config: SynthConfig, *, folder: Path) -> None:
    twin = draw_identity(plan.twin_seed, plain=config.plain)
    points = _film(folder / plan.twin_files.video, _shots(twin, script.performance, config), script, config)
    facts = clip_facts(plan, config) | _who(twin)
    facts |= {
        "clip_id": plan.twin_id,
        "identity": plan.twin_identity,
        "split": split_of(plan.twin_identity),
        "fault": None,
        "fault_size": None,
    }
    write_truth(folder / plan.twin_files.truth, Truth(script.performance, *points, facts))


@dataclass(frozen=True, slots=True)
class _Script:
    """What happens in a clip. sound None: no sound track. second: what a second person does."""

    performance: Performance
    sound: Sound | None
    second: Performance | None = None


@dataclass(frozen=True, slots=True)
class _Shot:
    """A frame: image (S, S, 3) uint8, points (68, 2), and those of a second person."""

    image: np.ndarray
    points: np.ndarray
    second_points: np.ndarray | None = None


def _write_script(plan: ClipPlan, config: SynthConfig) -> _Script:
    offset_seconds = (plan.fault_size("av_offset") or 0.0) / float(config.fps)
    seconds = float(config.frames / config.fps)
    speech = _speech(plan, seconds=seconds + abs(offset_seconds))
    # Picture and sound are cut from a longer speech at two places, so that neither begins or ends in a gap.
    picture_starts, sound_starts = max(0.0, -offset_seconds), max(0.0, offset_seconds)
    first = round(sound_starts * speech.audio_hz)
    heard = speech.samples[first : first + round(seconds * speech.audio_hz)]

    def perform(seed: int) -> Performance:
        return act(
            speech,
            frames=config.frames,
            video_fps=config.fps,
            seed=seed,
            motion_scale=config.motion_scale,
            brow_follows_speech=config.brow_follows_speech,
            speech_starts_seconds=picture_starts,
        )

    script = _Script(
        performance=faulty_performance(perform(plan.seed), plan.fault),
        sound=None if plan.fault_kind == "no_sound" else Sound(heard[:, np.newaxis], speech.audio_hz),
    )
    match plan.fault_kind:
        case "two_faces":
            return replace(script, second=beside(perform(plan.other_seed), side=1))
        case "scene_cut":
            after = perform(plan.other_seed)
            return replace(script, performance=spliced(script.performance, after, frame=_cut_frame(plan)))
        case _:
            return script


def _speech(plan: ClipPlan, *, seconds: float) -> Speech:
    if plan.fault_kind == "silence":
        return say_nothing(seconds=seconds, seed=plan.seed)
    return speak(draw_identity(plan.identity_seed).voice, seconds=seconds, seed=plan.seed)


def _faulty_shots(plan: ClipPlan, person: Identity, script: _Script, config: SynthConfig) -> Iterator[_Shot]:
    """The clip's frames with what is wrong in the picture."""
    shots = _shots(person, script.performance, config)
    other = _other(plan, config)
    match plan.fault_kind:
        case "two_faces" if script.second is not None:
            return _two_faces(shots, _shots(other, script.second, config))
        case "no_face":
            return _without_face(person, config)
        case "scene_cut":
            cut = _cut_frame(plan)
            before = replace(script.performance, tracks=script.performance.tracks[:cut])
            after = replace(script.performance, tracks=script.performance.tracks[cut:])
            return chain(_shots(person, before, config), _shots(other, after, config))
        case "small_face":
            return (replace(shot, image=behind_desk(shot.image, top=_desk_top(plan))) for shot in shots)
        case "low_quality":
            shrink = plan.fault_size("low_quality") or 1.0
            return (replace(shot, image=poor_picture(shot.image, shrink=shrink)) for shot in shots)
        case _:
            return shots


def _other(plan: ClipPlan, config: SynthConfig) -> Identity:
    """The second person, or the one after the cut."""
    return draw_identity(plan.other_seed, plain=config.plain)


def _desk_top(plan: ClipPlan) -> float:
    """Where a desk hides that the painted body ends, as a share of the picture's height."""
    return 0.5 + _DESK_HEAD_UNITS * ZOOM * (plan.fault_size("small_face") or 1.0)


def _cut_frame(plan: ClipPlan) -> int:
    return int(plan.fault_size("scene_cut") or 0)


def _shots(person: Identity, performance: Performance, config: SynthConfig) -> Iterator[_Shot]:
    renderer = FaceRenderer(person, size_px=config.size)
    for frame in range(len(performance)):
        rendered = renderer.render(performance.state(frame))
        yield _Shot(rendered.image, rendered.points)


def _two_faces(left: Iterable[_Shot], right: Iterable[_Shot]) -> Iterator[_Shot]:
    for first, second in zip(left, right, strict=True):
        yield _Shot(halves(first.image, second.image), first.points, second.points)


def _without_face(person: Identity, config: SynthConfig) -> Iterator[_Shot]:
    empty = np.ascontiguousarray(paint_backdrop(person, size_px=config.size)[..., :3])
    nowhere = np.full((68, 2), np.nan, np.float32)
    return repeat(_Shot(empty, nowhere), config.frames)


def _film(
    path: Path, shots: Iterable[_Shot], script: _Script, config: SynthConfig
) -> tuple[np.ndarray, np.ndarray | None]:
    """Write the mp4 file; returns the points (F, 68, 2) and those of a second person."""
    points: list[np.ndarray] = []
    second_points: list[np.ndarray] = []
    tags = {"comment": "synthetic, made by megactor synth"}
    with VideoWriter(
        path,
        video_fps=config.fps,
        width=config.size,
        height=config.size,
        sound=script.sound,
        tags=tags,
        threads=1,  # the same bytes on every machine, and the other cores have clips of their own
    ) as writer:
        for shot in shots:
            writer.write(shot.image)
            points.append(shot.points)
            if shot.second_points is not None:
                second_points.append(shot.second_points)
    return np.stack(points), np.stack(second_points) if second_points else None


def _film_cut_off(
    path: Path, shots: Iterable[_Shot], script: _Script, config: SynthConfig, *, kept: float
) -> tuple[np.ndarray, np.ndarray | None]:
    """As `_film`, then leave only a share of the file's bytes; its index at the front stays whole."""
    whole = path.with_name(f".{path.stem}.partial-whole{path.suffix}")
    try:
        points = _film(whole, shots, script, config)
        content = whole.read_bytes()
        with atomic_path(path) as temporary:
            temporary.write_bytes(content[: int(kept * len(content))])
    finally:
        whole.unlink(missing_ok=True)
    return points


def _who(person: Identity) -> dict[str, Any]:
    return {"identity_numbers": identity_numbers(person)}
