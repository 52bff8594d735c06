"""The synthetic corpus: clips of talking heads with sound and exact truth, from a seed.

    config.yaml       the settings, without what has no effect on the files
    manifest.parquet  a row a clip, once all are there
    clips/  truth/    an mp4 and a Parquet file a clip, and those of its twin
    sheet.png         a few clips to look at
    journal/          how the work went; not part of the corpus

A clip depends on the settings and its number alone, and its files are what says that it is done, where they
have the sizes that the journal recorded (or it recorded none). So an
interrupted corpus is completed, and a finished one grows, with the same bytes as if made at once.
"""

import secrets
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import cv2
import pyarrow as pa
import pyarrow.parquet as pq

from megactor_core.config.engine import EngineConfig
from megactor_core.config.recipes import read_recipe, save_config
from megactor_core.config.synth import SynthConfig
from megactor_core.engine.job import run_job
from megactor_core.engine.journal import Journal
from megactor_core.engine.stage import ROW_ID, Needs, Outcome, Row, WorkerContext
from megactor_core.errors import ConfigError, Interrupted, MegActorError, OutputError
from megactor_core.files import atomic_path, require_writable_folder, sole_owner
from megactor_core.listener import OnNote, OnProgress
from megactor_core.synthetic.film import film_clip
from megactor_core.synthetic.plan import DATASET, ClipPlan, clip_facts, plan_clip
from megactor_core.synthetic.sheet import write_sheet

CONFIG_FILE, MANIFEST_FILE, SHEET_FILE, JOURNAL = "config.yaml", "manifest.parquet", "sheet.png", "journal"
LOCK = f"{JOURNAL}/corpus.lock"
"""Held by the run that is at work."""
PHASE = "filming clips"


_FREE_SETTINGS = frozenset({"clips", "output", "workers"})
"""Settings that a folder's later runs may change."""
_GO_ON = "Then run the same command again; the clips that are done stay."
_ROWS_A_WRITE = 10_000
_FILES = "files"
"""The column of a finished clip that holds the bytes of each of its files."""
# No machine is so slow; a clip that takes longer has hung.
_LEAST_LIMIT_SECONDS, _SECONDS_PER_MEGAPIXEL = 120.0, 4.0

MANIFEST_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("dataset", pa.string()),
        ("identity", pa.string()),
        ("split", pa.string()),
        ("source_uri", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("keep", pa.bool_()),
        ("reasons", pa.list_(pa.string())),
        ("status", pa.string()),
        ("error_kind", pa.string()),
        ("error", pa.string()),
        ("driver_path", pa.string()),
        ("driver_identity", pa.string()),
        ("truth_path", pa.string()),
        ("seed", pa.int64()),
        ("fault", pa.string()),
        ("fault_size", pa.float64()),
        ("has_audio", pa.bool_()),
        ("frames", pa.int64()),
        ("video_fps", pa.float64()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("seconds", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class SynthReport:
    """What the corpus holds; `to_json` has the keys of `synth --json`."""

    output: Path
    clips: int
    twins: int
    identities: int
    """People of the clips; every twin is one more."""
    faults: dict[str, int]
    """Clips by kind of fault."""
    frames: int
    """Of the clips, twins not counted."""
    seconds: float
    bytes: int
    """Of all clips and twins."""
    filmed: int
    """Clips that this run made."""
    clips_per_minute: float | None
    """Of this run."""
    manifest: Path
    sheet: Path

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}


def make_corpus(
    config: SynthConfig, *, on_progress: OnProgress | None = None, on_note: OnNote | None = None
) -> SynthReport:
    """Make the corpus, or what is missing of it.

    Raises OutputError where the folder holds something else or cannot be written, Interrupted on Ctrl-C (the
    same call goes on), and MegActorError where clips could not be made.
    """
    _require_own_folder(config)
    require_writable_folder(config.output)
    with sole_owner(config.output / LOCK):
        return _make(config, on_progress or _nobody_listens, on_note)


def _make(config: SynthConfig, on_progress: OnProgress, on_note: OnNote | None) -> SynthReport:
    started = time.monotonic()
    save_config(_as_saved(config), config.output / CONFIG_FILE)
    missing = _missing(config)
    if missing and on_note and len(missing) < config.clips:
        on_note(f"{config.clips - len(missing)} of {config.clips} clips are there already.")
    if missing:
        _film_all(missing, config, on_progress)
        _remove_leftovers(config.output)
        Journal(config.output / JOURNAL).forget_marks()
    wall_seconds = time.monotonic() - started
    if not _is_described(config):
        write_sheet(config.output / SHEET_FILE, config)
        _write_manifest(config)  # last: it says that all is there
    return _report(config, filmed=len(missing), wall_seconds=wall_seconds)


def _nobody_listens(phase: str, done: int, total: int) -> None:
    """No progress."""


def _as_saved(config: SynthConfig) -> SynthConfig:
    """The settings without where and how the work was done, so that equal corpora have equal files."""
    fields = SynthConfig.model_fields
    return config.updated(output=fields["output"].default, workers=fields["workers"].default)


def _require_own_folder(config: SynthConfig) -> None:
    """Refuse a folder that holds something else, or a corpus of other settings."""
    folder = config.output
    if not folder.is_dir():
        return
    # Hidden files are the system's, or what a killed run was about to rename.
    visible = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    if not visible - {JOURNAL}:
        return
    try:
        found = SynthConfig.build(read_recipe(folder / CONFIG_FILE), source=CONFIG_FILE)
    except ConfigError:
        raise OutputError(
            f"'{folder}' is not empty, and no corpus of this version of megactor.",
            fix="Choose another --output.",
        ) from None
    there, wanted = found.model_dump(mode="json"), config.model_dump(mode="json")
    for name in there.keys() - _FREE_SETTINGS:
        if there[name] != wanted[name]:
            raise OutputError(
                f"'{folder}' holds a corpus with {name} = {there[name]}; now {name} = {wanted[name]}.",
                fix="Choose another --output, or use the settings in its config.yaml.",
            )
    if found.clips > config.clips:
        raise OutputError(
            f"'{folder}' holds or awaits {found.clips} clips, more than the {config.clips} asked for.",
            fix=f"Choose another --output, or --clips {found.clips}.",
        )


def _missing(config: SynthConfig) -> list[int]:
    """The numbers of the clips of which a file is missing, or has another size than when it was made."""
    recorded: dict[str, dict[str, int]] = {
        row[ROW_ID]: row[_FILES] for row in Journal(config.output / JOURNAL).results() if _FILES in row
    }

    def is_there(number: int) -> bool:
        plan = plan_clip(number, config)
        there = _sizes(plan, config)
        return None not in there.values() and recorded.get(plan.clip_id, there) == there

    return [number for number in range(config.clips) if not is_there(number)]


def _sizes(plan: ClipPlan, config: SynthConfig) -> dict[str, int | None]:
    """The bytes of a clip's files by name, None for one that is not there."""
    files = [plan.files, plan.twin_files] if config.twins else [plan.files]
    return {
        path.as_posix(): _size_bytes(config.output / path) for own in files for path in (own.video, own.truth)
    }


def _size_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


@dataclass(frozen=True)
class FilmStage:
    """The stage of the job: films one clip."""

    config: SynthConfig
    name: str = field(default="film", init=False)
    version: str = field(default="1", init=False)

    @property
    def needs(self) -> Needs:
        megapixels = self.config.frames * self.config.size**2 / 1e6
        limit_seconds = _LEAST_LIMIT_SECONDS + _SECONDS_PER_MEGAPIXEL * megapixels
        return Needs(memory_gb=1.0, timeout_seconds=limit_seconds)

    def setup(self, worker: WorkerContext) -> None:
        """Keep OpenCV to the worker's threads; in the caller's own process its setting is the caller's."""
        if parent_process() is not None:
            cv2.setNumThreads(worker.threads)

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        for row in batch:
            plan = plan_clip(row["number"], self.config)
            film_clip(plan, self.config, folder=self.config.output)
            yield {**row, _FILES: _sizes(plan, self.config)}


def _is_described(config: SynthConfig) -> bool:
    """Whether sheet and manifest are there, and not those of a smaller corpus."""
    manifest = config.output / MANIFEST_FILE
    if not manifest.exists() or not (config.output / SHEET_FILE).exists():
        return False
    return pq.read_metadata(manifest).num_rows == config.clips


def _film_all(missing: list[int], config: SynthConfig, on_progress: OnProgress) -> None:
    """Film clips through the engine; raises Interrupted, or MegActorError if any failed."""
    there = config.clips - len(missing)
    failures: list[Outcome] = []

    def on_row(outcome: Outcome) -> None:
        if outcome.status != "ok":
            failures.append(outcome)

    try:
        run_job(
            [FilmStage(config)],
            _job_rows(missing, config),
            journal=Journal(config.output / JOURNAL),
            config=EngineConfig(workers=config.workers),
            phase=PHASE,
            on_progress=lambda phase, done, _total: on_progress(phase, there + done, config.clips),
            on_row=on_row,
        )
    except (KeyboardInterrupt, Interrupted) as stop:
        kind = type(stop) if isinstance(stop, Interrupted) else Interrupted
        done = config.clips - len(_missing(config))
        raise kind(
            f"Interrupted; {done} of {config.clips} clips are in '{config.output}'.",
            fix="Run the same command again to go on.",
        ) from None
    except MegActorError as error:
        raise type(error)(error.message, fix=f"{error.fix} {_GO_ON}".strip()) from None
    if failures:
        first = failures[0]
        raise MegActorError(
            f"{len(failures)} of {len(missing)} clips could not be made; the first was "
            f"{first.row['row_id']}: {first.error or first.error_kind}",
            fix=_GO_ON,
        )


def _job_rows(missing: list[int], config: SynthConfig) -> Iterator[Row]:
    # The files say what is done, not the journal: to it, every run's rows are new.
    this_run = secrets.token_hex(8)
    for number in missing:
        yield {"row_id": plan_clip(number, config).clip_id, "row_version": this_run, "number": number}


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed runs left half-written."""
    for sub in ("clips", "truth"):
        for path in (folder / sub).glob(".synth-*.partial-*"):
            path.unlink(missing_ok=True)


def _write_manifest(config: SynthConfig) -> None:
    with (
        atomic_path(config.output / MANIFEST_FILE) as temporary,
        pq.ParquetWriter(temporary, MANIFEST_SCHEMA) as writer,
    ):
        for first in range(0, config.clips, _ROWS_A_WRITE):
            numbers = range(first, min(first + _ROWS_A_WRITE, config.clips))
            rows = [_manifest_row(number, config) for number in numbers]
            writer.write_table(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA))


def _manifest_row(number: int, config: SynthConfig) -> dict[str, Any]:
    """A row; a clip that nothing has judged is kept."""
    plan = plan_clip(number, config)
    facts = clip_facts(plan, config)
    return facts | {
        "dataset": DATASET,
        "source_uri": plan.files.video.as_posix(),
        "start_s": 0.0,
        "end_s": facts["seconds"],
        "keep": True,
        "reasons": [],
        "status": "ok",
        "driver_path": plan.twin_files.video.as_posix() if config.twins else None,
        "driver_identity": plan.twin_identity if config.twins else None,
        "truth_path": plan.files.truth.as_posix(),
    }


def _report(config: SynthConfig, *, filmed: int, wall_seconds: float) -> SynthReport:
    plans = [plan_clip(number, config) for number in range(config.clips)]
    kinds = Counter(plan.fault_kind for plan in plans if plan.fault_kind is not None)
    videos = (config.output / "clips").glob("synth-*.mp4")
    return SynthReport(
        output=config.output,
        clips=config.clips,
        twins=config.clips if config.twins else 0,
        identities=min(config.clips, config.identities),
        faults=dict(sorted(kinds.items())),
        frames=config.clips * config.frames,
        seconds=float(config.clips * config.frames / config.fps),
        bytes=sum(path.stat().st_size for path in videos),
        filmed=filmed,
        clips_per_minute=round(60 * filmed / wall_seconds, 1) if filmed else None,
        manifest=config.output / MANIFEST_FILE,
        sheet=config.output / SHEET_FILE,
    )
