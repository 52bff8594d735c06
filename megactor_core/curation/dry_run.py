"""megactor curate --dry-run: what the run will cost and give, from a sample that is measured truly.

The sample's clips go through the real gates in the real order, on as many workers as the run would have, in a
temporary folder; neither the sources nor the output are written to, and nothing of it is kept.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Final

import numpy as np

from megactor_core.config.animate import LandmarkBackEnd
from megactor_core.config.curate import CurateConfig
from megactor_core.curation.curate import announce, stages_of
from megactor_core.curation.gates import GatePlan, plan_gates
from megactor_core.curation.manifest import Judged, judge, write_manifest
from megactor_core.curation.output import JOURNAL, WORK
from megactor_core.curation.projection import Bytes, DryRunReport, Machine, Measured, project
from megactor_core.curation.rows import Rows
from megactor_core.curation.sources import Sources, find_sources
from megactor_core.curation.strata import Stratum, draw_strata
from megactor_core.curation.trial import trial_of
from megactor_core.engine.job import run_job
from megactor_core.engine.journal import ROWS_PER_FILE, Journal
from megactor_core.engine.local import worker_count
from megactor_core.engine.parts import SCHEMA, merge_parts, part_paths, write_table
from megactor_core.engine.stage import Needs, Row, Stage, WorkerContext
from megactor_core.errors import Interrupted
from megactor_core.faces.landmarks import detect_faces
from megactor_core.listener import Listener, OnNote, OnProgress

_GREY: Final = np.full((256, 256, 3), 127, np.uint8)


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Loads what the gates load when they are first asked: of a long run that is no part of a clip's cost."""

    name: ClassVar[str] = "warm_up"
    version: ClassVar[str] = "1"
    needs: ClassVar[Needs] = Needs(memory_gb=0.0)

    back_ends: tuple[LandmarkBackEnd, ...]

    def setup(self, worker: WorkerContext) -> None:  # noqa: ARG002 - its device is not for faces
        """Look for a face where there is none."""
        for back_end in self.back_ends:
            detect_faces(_GREY, back_end=back_end)

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        """The rows as they are."""
        yield from batch


def dry_run(
    config: CurateConfig, on_progress: OnProgress | None = None, on_note: OnNote | None = None
) -> DryRunReport:
    """Measure a sample of the clips and project it to all of them, and to `config.hours` where given.

    Raises what `curate` raises of sources and weights; Interrupted on Ctrl-C (nothing is left of it).
    """
    listener = Listener.of(on_progress, on_note)
    sources = find_sources(config)
    plan = plan_gates(config.measure, on_progress=listener.phase("getting the face models"))
    announce(listener, sources, plan)
    strata = draw_strata(sources.clips, config.forecast)
    with tempfile.TemporaryDirectory(prefix="megactor-dry-run-") as name:
        folder = Path(name)
        stages = stages_of(config, plan, folder / WORK)
        try:
            measured = _measure(strata, [_warm_up(config, plan), *stages], plan, config, folder, listener)
        except (KeyboardInterrupt, Interrupted) as stop:
            kind = type(stop) if isinstance(stop, Interrupted) else Interrupted
            raise kind("Interrupted; of a dry run nothing is kept.", fix="Run it again.") from None
    return project(
        measured,
        config,
        machine=_machine(stages, plan, config, used_gpu=any(trial.gpu_seconds for trial in measured.trials)),
        not_measured=[asdict(missing) for missing in plan.missing],
    )


def _warm_up(config: CurateConfig, plan: GatePlan) -> WarmUp:
    return WarmUp(tuple(dict.fromkeys(("mediapipe", plan.landmarks, config.measure.track_landmarks))))


def _measure(
    strata: Sequence[Stratum],
    stages: Sequence[Stage],
    plan: GatePlan,
    config: CurateConfig,
    folder: Path,
    listener: Listener,
) -> Measured:
    drawn = {clip.clip_id: number for number, stratum in enumerate(strata) for clip in stratum.drawn}
    clips = sorted((clip for stratum in strata for clip in stratum.drawn), key=lambda clip: clip.clip_id)
    journal = Journal(folder / JOURNAL)
    job = run_job(
        stages,
        Rows(Sources(tuple(clips)), {}, plan=plan, config=config),
        journal=journal,
        config=config.updated(engine="local", ray_address=None),  # the folder is this machine's
        phase="measuring a sample",
        on_progress=listener.progress,
    )
    # Copies are known of the whole input alone.
    rules = config.rules.model_copy(update={"duplicates": "keep"})
    judged = judge(journal.results(), rules, gates=plan.gates, versions=plan.versions)
    return Measured(
        strata=strata,
        trials=[trial_of(clip, rules, stratum=drawn[clip.clip_id]) for clip in judged],
        row_bytes=_row_bytes(judged, journal, config, folder),
        gates=plan.gates,
        wall_seconds=job.wall_seconds,
        worker_cpu_seconds=job.worker_cpu_seconds,
    )


def _row_bytes(judged: Sequence[Judged], journal: Journal, config: CurateConfig, folder: Path) -> Bytes:
    """What a clip adds to the manifest and to the journal: files less what such a file takes without rows."""

    def manifest_bytes(name: str, clips: Sequence[Judged]) -> int:
        (folder / name).mkdir()
        return write_manifest(folder / name, clips, config.rules).stat().st_size

    (folder / "empty").mkdir()
    empty = write_table(folder / "empty", SCHEMA.empty_table()).stat().st_size
    merge_parts(part_paths(journal.parts), rows_per_file=ROWS_PER_FILE)
    parts = part_paths(journal.parts)
    return Bytes(
        manifest=(manifest_bytes("full", judged) - manifest_bytes("none", ())) / len(judged),
        journal=sum(path.stat().st_size - empty for path in parts) / len(judged),
        crops=0.0,
    )


def _machine(stages: Sequence[Stage], plan: GatePlan, config: CurateConfig, *, used_gpu: bool) -> Machine:
    cores = config.forecast.cores or max(1, worker_count(stages, config))
    if used_gpu:
        return Machine(cores, config.forecast.gpus or _gpus_here(config), "")
    if plan.syncnet is None:
        note = "no gate that is taken would use one"
    else:
        note = "SyncNet ran on the CPU, and its cost is in the core-hours"
    return Machine(cores, 0, note)


def _gpus_here(config: CurateConfig) -> int:
    if config.devices is not None:
        return len(config.devices)
    import torch

    return torch.cuda.device_count()
