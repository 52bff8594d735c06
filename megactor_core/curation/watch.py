"""The stage that decodes: gates `shots`, `faces`, `motion`, `quality` and `av_sync` on the same frames."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from megactor_core.config.curate import GateName, MeasureConfig, RulesConfig
from megactor_core.config.media import MediaLimits
from megactor_core.curation import quality
from megactor_core.curation.av_check import follow_face, measure_av_sync, mono_sound
from megactor_core.curation.crops import CROPS, write_crops
from megactor_core.curation.faces import Look, look_at, measure_faces, measure_motion
from megactor_core.curation.footage import VIDEO_FPS, Footage
from megactor_core.curation.gates import SYNC_GATES, GatePlan
from megactor_core.curation.part import Part
from megactor_core.curation.shots import measure_shots
from megactor_core.curation.steps import Taken, spent, take, wants
from megactor_core.engine.stage import Needs, Rejected, Row, WorkerContext
from megactor_core.errors import MediaError, MetricError
from megactor_core.media.scikit_video import NIQE_LEAST_PX

DECODED_GATES: Final[tuple[GateName, ...]] = ("shots", "faces", "motion", "quality", "av_sync")


@dataclass(frozen=True, slots=True)
class Watch:
    """Gates `shots`, `faces`, `motion`, `quality` and `av_sync` on one decode of the clip.

    Leaves the face crops that SyncNet is to see, if it is.
    """

    name: ClassVar[str] = "watch"
    version: ClassVar[str] = "1"
    needs: ClassVar[Needs] = Needs(memory_gb=4.0, timeout_seconds=3600.0)

    measure: MeasureConfig
    rules: RulesConfig
    limits: MediaLimits
    plan: GatePlan
    work: Path

    def setup(self, worker: WorkerContext) -> None:
        """The detectors load themselves, once a process, when they are first asked."""

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        """One row for each clip."""
        for row in batch:
            if wants(row, (*DECODED_GATES, *SYNC_GATES)):
                yield self._watch(row)
            else:
                yield row

    def _watch(self, row: Row) -> Row:
        viewing = _Viewing(Part.of(row, self.limits), self.measure, self.plan)
        decodes = row["decodes"]
        try:
            for gate, measure in viewing.gates():
                row = take(row, gate, measure, rules=self.rules)
        except Rejected as rejected:
            values = {**rejected.values, "decodes": decodes + viewing.footage.decodes}
            raise Rejected(rejected.reason, values=values) from None
        if wants(row, SYNC_GATES):
            row = self._leave_crops(row, viewing)
        return {**row, "decodes": decodes + viewing.footage.decodes}

    def _leave_crops(self, row: Row, viewing: "_Viewing") -> Row:
        start = time.process_time()
        try:
            path = write_crops(self.work, row["row_id"], viewing.footage, viewing.points())
        except MetricError as error:
            return {**row, CROPS: None, "unmeasured": row["unmeasured"] | {"sync_c": error.message}}
        row = spent(row, "sync", time.process_time() - start)
        return {**row, CROPS: str(path), "crop_bytes": path.stat().st_size}


class _Viewing:
    """A clip that is being looked at; what several gates need is made once, when the first one asks."""

    def __init__(self, part: Part, measure: MeasureConfig, plan: GatePlan) -> None:
        self.footage = Footage(
            part, sample_seconds=measure.face_seconds, held_bytes=measure.held_mb * 1_000_000
        )
        self._part = part
        self._measure = measure
        self._plan = plan
        self._looks: list[Look] | None = None
        self._points: np.ndarray | None = None

    def gates(self) -> tuple[tuple[GateName, Callable[[], Taken]], ...]:
        """Gates in their order, and what takes them."""
        return (
            ("shots", self._shots),
            ("faces", self._faces),
            ("motion", self._motion),
            ("quality", self._quality),
            ("av_sync", self._av_sync),
        )

    def points(self) -> np.ndarray:
        """The face followed through all frames, (F, 68, 2)."""
        if self._points is None:
            self._points = follow_face(self.footage, back_end=self._measure.track_landmarks)
        return self._points

    def _shots(self) -> Taken:
        measures = measure_shots(
            self.footage, video_fps=float(VIDEO_FPS), width_px=self._measure.cut_width_px
        )
        damaged = self.footage.damaged_packets / max(1, measures["frames"])
        return Taken(measures | {"damaged_share": min(1.0, damaged)}, {})

    def _faces(self) -> Taken:
        measures = measure_faces(
            self._look(), back_end=self._plan.landmarks, angle_face_px=self._measure.angle_face_px
        )
        return Taken(measures, {} if measures["face_share"] else {"face_width_mean": "no face"})

    def _motion(self) -> Taken:
        measures = measure_motion(self._look())
        return Taken(measures, {} if measures else {"travel": "a face on fewer than two frames"})

    def _quality(self) -> Taken:
        looks = self._look()
        small = min(looks[0].width, looks[0].height) < NIQE_LEAST_PX
        niqe = None if small else quality.measure_niqe(self._niqe_frames(len(looks)))
        why = {"niqe": f"sides below {NIQE_LEAST_PX} px"} if small else {}
        return Taken({"sharpness": quality.measure_sharpness(looks), "niqe": niqe}, why)

    def _av_sync(self) -> Taken:
        try:
            sound = mono_sound(self._part)
        except MediaError:
            sound = None
        measures, why = measure_av_sync(self.points(), sound, lips_face_px=self._measure.lips_face_px)
        return Taken(measures, {} if why is None else {"av_offset_frames": why})

    def _look(self) -> list[Look]:
        if self._looks is None:
            self._looks = look_at(
                self.footage.sampled(),
                back_end=self._plan.landmarks,
                second_face_ratio=self._measure.second_face_ratio,
                crop_side_px=self._measure.sharpness_side_px,
            )
        return self._looks

    def _niqe_frames(self, looks: int) -> Iterator[np.ndarray]:
        wanted = set(quality.spread(looks, self._measure.niqe_frames))
        return (frame for number, (_, frame) in enumerate(self.footage.sampled()) if number in wanted)
