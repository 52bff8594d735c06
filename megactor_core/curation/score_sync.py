"""The stage that runs SyncNet: gates `sync_screen` and `sync`."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from megactor_core.config.curate import GateName, MeasureConfig, RulesConfig
from megactor_core.config.media import MediaLimits
from megactor_core.curation.av_check import mono_sound
from megactor_core.curation.crops import CROPS, read_crops
from megactor_core.curation.gates import SYNC_GATES
from megactor_core.curation.part import Part
from megactor_core.curation.rules import broken_rules
from megactor_core.curation.steps import Taken, spent, take, wants
from megactor_core.curation.sync import Windows, embed, full_measures, screen_measures
from megactor_core.engine.stage import Needs, Row, WorkerContext
from megactor_core.errors import MediaError, MetricError
from megactor_core.metrics.syncnet import SyncNet, load_syncnet


@dataclass(slots=True)
class _Heard:
    """A clip and what SyncNet found of it, until its row is due."""

    row: Row
    clip: Windows | None = None
    measures: dict[GateName, dict[str, Any]] = field(default_factory=dict)
    unmeasured: dict[str, str] = field(default_factory=dict)
    seconds: dict[GateName, float] = field(default_factory=dict)
    gpu_seconds: dict[GateName, float] = field(default_factory=dict)
    error: Exception | None = None
    """This clip's own, raised when its row is due."""

    def taken(self, gate: GateName) -> Taken:
        return Taken(self.measures.get(gate, {}), {})

    def wants(self, gate: GateName) -> bool:
        return self.error is None and self.clip is not None and gate in self.row["todo"]


@dataclass(slots=True)
class Sync:
    """Gates `sync_screen` and `sync`: a batch of clips passes SyncNet together, each window once."""

    name: ClassVar[str] = "sync"
    version: ClassVar[str] = "1"

    measure: MeasureConfig
    rules: RulesConfig
    limits: MediaLimits
    weights: Path | None
    """None: nothing is measured, rows only pass."""
    _network: SyncNet | None = field(default=None, init=False, repr=False)
    _on_gpu: bool = field(default=False, init=False, repr=False)
    _ahead: dict[str, _Heard] = field(default_factory=dict, init=False, repr=False)
    """Clips of the batch that were embedded with others and are not due yet."""

    @property
    def needs(self) -> Needs:
        if self.weights is None:
            return Needs()
        return Needs(gpus=1, memory_gb=2.0, batch_rows=8, timeout_seconds=7200.0)

    def setup(self, worker: WorkerContext) -> None:
        """Load SyncNet; raises WeightsError."""
        if self.weights is not None:
            self._network = load_syncnet(self.weights).to(worker.device)
            self._on_gpu = worker.device != WorkerContext().device

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        """One row for each clip."""
        new = [row for row in batch if wants(row, SYNC_GATES) and row["row_id"] not in self._ahead]
        self._ahead |= {heard.row["row_id"]: heard for heard in self._hear(new)}
        for row in batch:
            heard = self._ahead.pop(row["row_id"], None)
            yield row if heard is None else self._judged(heard)

    def _judged(self, heard: _Heard) -> Row:
        """The clip's row with its measures; raises Rejected, or the clip's own error."""
        row, path = heard.row, heard.row.get(CROPS)
        try:
            if heard.error is not None:
                raise heard.error
            row = {**row, CROPS: None, "unmeasured": row["unmeasured"] | heard.unmeasured}
            if self._on_gpu:
                row["gpu_seconds"] = heard.gpu_seconds
            for gate in SYNC_GATES:
                if gate in row["todo"]:
                    row = spent(row, gate, heard.seconds.get(gate, 0.0))
                row = take(row, gate, partial(heard.taken, gate), rules=self.rules)
            return row
        finally:
            if path is not None:
                Path(path).unlink(missing_ok=True)

    def _hear(self, rows: list[Row]) -> list[_Heard]:
        """Measure clips that nothing is known of yet: all their screens, then the rest of those that pass."""
        batch = [self._opened(row) for row in rows]
        screened = [heard for heard in batch if heard.wants("sync_screen")]
        self._embed(screened, "sync_screen", share=self.measure.screen_share)
        rest = [heard for heard in batch if heard.wants("sync") and self._goes_on(heard)]
        self._embed(rest, "sync", share=1.0)
        return batch

    def _opened(self, row: Row) -> _Heard:
        """The clip's windows, where it has crops and sound."""
        heard = _Heard(row)
        try:
            if row.get(CROPS) is not None:
                sound = mono_sound(Part.of(row, self.limits))
                heard.clip = Windows.of(read_crops(Path(row[CROPS])), sound)
        except (MetricError, MediaError) as error:
            heard.unmeasured = {"sync_c": error.message}
        except Exception as error:
            heard.error = error
        return heard

    def _embed(self, batch: list[_Heard], gate: GateName, *, share: float) -> None:
        """Embed a share of the windows of each clip, and take the gate's measures."""
        clips = [heard.clip for heard in batch if heard.clip is not None]
        if not clips:
            return
        assert self._network is not None, "without weights no row wants these gates"
        start, wall_start = time.process_time(), time.perf_counter()
        parts = [clip.screened(share) for clip in clips]
        embed(self._network, clips, parts)
        windows = sum(len(part) for part in parts)
        each, each_wall = (
            (time.process_time() - start) / windows,
            (time.perf_counter() - wall_start) / windows,
        )
        for heard, clip, part in zip(batch, clips, parts, strict=True):
            heard.seconds[gate] = each * len(part)
            heard.gpu_seconds[gate] = each_wall * len(part)  # the GPU is this worker's alone
            try:
                heard.measures[gate] = full_measures(clip) if gate == "sync" else screen_measures(clip, part)
            except Exception as error:
                heard.error = error

    def _goes_on(self, heard: _Heard) -> bool:
        """Whether the screen lets the clip pass."""
        screen = heard.measures.get("sync_screen", {})
        return bool(heard.row["audited"]) or not broken_rules(screen, self.rules, gates=["sync_screen"])
