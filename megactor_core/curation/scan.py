"""The stages that hardly decode: gates `probe`, `sound` and `light_faces`."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from megactor_core.config.curate import MeasureConfig, RulesConfig
from megactor_core.config.media import MediaLimits
from megactor_core.curation.light_faces import measure_light_faces
from megactor_core.curation.part import Part
from megactor_core.curation.probe import measure_probe
from megactor_core.curation.sound import measure_sound
from megactor_core.curation.steps import Taken, take
from megactor_core.engine.stage import Needs, Row, WorkerContext
from megactor_core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Probe:
    """Gate `probe`; also the place where a clip fails whose source is no clip at all."""

    name: ClassVar[str] = "probe"
    version: ClassVar[str] = "1"
    needs: ClassVar[Needs] = Needs(timeout_seconds=120.0)

    rules: RulesConfig
    limits: MediaLimits

    def setup(self, worker: WorkerContext) -> None:
        """Nothing to load."""

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        """One row for each clip."""
        for row in batch:
            if row["fault"] is not None:
                raise UsageError(row["fault"])
            yield take(row, "probe", partial(self._probe, row), rules=self.rules)

    def _probe(self, row: Row) -> Taken:
        return Taken(measure_probe(Part.of(row, self.limits)), {})


@dataclass(frozen=True, slots=True)
class Listen:
    """Gate `sound`."""

    name: ClassVar[str] = "sound"
    version: ClassVar[str] = "1"
    needs: ClassVar[Needs] = Needs(timeout_seconds=600.0)

    measure: MeasureConfig
    rules: RulesConfig
    limits: MediaLimits

    def setup(self, worker: WorkerContext) -> None:
        """Nothing to load."""

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        """One row for each clip."""
        for row in batch:
            yield take(row, "sound", partial(self._listen, row), rules=self.rules)

    def _listen(self, row: Row) -> Taken:
        measures = measure_sound(
            Part.of(row, self.limits),
            has_sound=bool(row["measures"]["has_sound"]),
            floor_db=self.measure.floor_db,
        )
        return Taken(measures, {})


@dataclass(frozen=True, slots=True)
class LightFaces:
    """Gate `light_faces`."""

    name: ClassVar[str] = "light_faces"
    version: ClassVar[str] = "1"
    needs: ClassVar[Needs] = Needs(timeout_seconds=600.0)

    measure: MeasureConfig
    rules: RulesConfig
    limits: MediaLimits

    def setup(self, worker: WorkerContext) -> None:
        """The detector loads itself, once a process, when it is first asked."""

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        """One row for each clip."""
        for row in batch:
            yield take(row, "light_faces", partial(self._look, row), rules=self.rules)

    def _look(self, row: Row) -> Taken:
        frames = Part.of(row, self.limits).key_frames(every_seconds=self.measure.light_seconds)
        measures = measure_light_faces(frames, second_face_ratio=self.measure.second_face_ratio)
        return Taken(measures, {} if measures["light_frames"] else {"light_face_px": "no key frame"})
