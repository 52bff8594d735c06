"""What a corpus takes on a cluster: the tables of docs/scale.md, from inputs that each name their source.

    python recipes/scripts/plan_scale.py
    python recipes/scripts/plan_scale.py --plan 4670:64:1 --set clip_seconds=5 --set face_detector=dwpose
    python recipes/scripts/plan_scale.py --plan 4670:256:4 --set price_core_hour=0.05 --set price_gpu_hour=2

A plan is HOURS:CORES:GPUS:RUNS, hours of raw video, the cluster, and runs side by side (1 where left out).
Prices are the user's own: without them the cost stays a formula. The Markdown goes to the terminal.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

PLANS = ("4670:256:4", "1000000:4096:32:16")
MEASURED, PUBLIC, SETTING, ASSUMED = "measured", "public", "setting", "assumed"
DRY_RUN = "`--dry-run`, as quoted above"
REAL = "`megactor curate --audit 1.0`, nine clips of 63 s in all, 360p to 1080 x 1920"
CALLS = "`strace -f` of `megactor curate`, 60 clips in 20 part files; nine real clips for the sources"
DRIVER = "`python tests/benchmarks/driver.py`, on the 60 clips' output"
DECIDE = "`megactor curate --decide` on 5,000 and on 20,000 rows"

HOUR, FPS = 3600.0, 25
TERA, GIGA = 1e12, 1e9


def known(value: float, unit: str, kind: str, source: str) -> float:
    """An input of a plan, with what the table of inputs says of it."""
    return field(default=value, metadata={"unit": unit, "kind": kind, "source": source})


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the arithmetic starts from; `--set NAME=VALUE` replaces any."""

    face_detector: Literal["mediapipe", "dwpose"] = "mediapipe"

    clip_seconds: float = known(8, "s", ASSUMED, "mean length of a clip")
    source_mbps: float = known(2.5, "Mbit/s", ASSUMED, "mean bit rate of the sources")
    pass_probe: float = known(0.60, "", ASSUMED, "all seven: chosen to end near the paper's 6.7 %")
    pass_sound: float = known(0.90, "", ASSUMED, "the same")
    pass_light_faces: float = known(0.35, "", ASSUMED, "the same")
    pass_shots: float = known(0.97, "", ASSUMED, "the same")
    pass_faces: float = known(0.75, "", ASSUMED, "the same")
    pass_sync_screen: float = known(0.70, "", ASSUMED, "the same")
    pass_sync: float = known(0.65, "", ASSUMED, "the same")

    cost_probe: float = known(9, "core-s an hour of video", MEASURED, REAL)
    cost_sound: float = known(24, "core-s an hour of video", MEASURED, "the same")
    cost_light_faces: float = known(19, "core-s an hour of video", MEASURED, "the same")
    cost_shots: float = known(427, "core-s an hour of video", MEASURED, "the same; the decode is in it")
    cost_faces: float = known(
        154, "core-s an hour of video", MEASURED, "the same, MediaPipe, two frames a second"
    )
    cost_quality: float = known(127, "core-s an hour of video", MEASURED, "the same")
    cost_av_sync: float = known(
        674, "core-s an hour of video", MEASURED, "the same, landmarks of every frame"
    )
    dwpose_gflop: float = known(
        176, "GFLOP a frame", PUBLIC, "YOLOX-L at 640 pixels 155.6, DWPose-l 2 x 10.1"
    )
    core_gflops: float = known(60, "GFLOP/s", ASSUMED, "what a core does; SyncNet alone does 65")
    faces_a_second: float = known(2, "frames a second", SETTING, "the default of `measure.face_seconds`")
    syncnet_gflop: float = known(
        3.6, "GFLOP a window", MEASURED, "1.80 GMAC, counted; 25 windows a second of video"
    )
    screen_share: float = known(0.284, "of the full score", MEASURED, "docs/curation.md")
    gpu_tflops: float = known(
        20, "TFLOP/s", ASSUMED, "what a GPU does of SyncNet and of the autoencoder in float32"
    )

    preprocess_cost: float = known(
        2844, "core-s an hour of video", MEASURED, "docs/performance.md: 0.79 s a second"
    )
    sample_bytes: float = known(228e3, "bytes a second of video", MEASURED, "docs/performance.md")
    sample_inodes: float = known(
        6, "files and folders", MEASURED, "docs/data.md: a folder and its five files"
    )
    latent_tflop: float = known(1.117, "TFLOP a frame", MEASURED, "docs/performance.md, counted")
    latent_bytes: float = known(65536, "bytes a frame", MEASURED, "mean and logvar, 4 x 64 x 64, float16")

    journal_bytes: float = known(520, "bytes a row", MEASURED, DRY_RUN)
    manifest_bytes: float = known(423, "bytes a row", MEASURED, DRY_RUN)
    part_bytes: float = known(13200, "bytes a part file", MEASURED, DRIVER)
    batch_seconds: float = known(2, "s", SETTING, "the default of `batch_seconds`")
    batch_rows: float = known(16, "rows", SETTING, "the default of `ray_batch_rows`")
    wave_rows: float = known(20000, "rows", SETTING, "the default of `ray_wave_rows`")
    wave_seconds: float = known(30, "s", ASSUMED, "until a wave's workers are ready")
    mark_calls: float = known(9, "calls a row", MEASURED, CALLS)
    part_calls: float = known(17, "calls a part file", MEASURED, "the same; two of them wait for the disk")
    source_calls: float = known(53, "calls a clip", MEASURED, "the same; clips that reach `av_sync`")
    read_factor: float = known(
        4.9, "of a file's bytes", MEASURED, "the same; most is answered by the node's cache"
    )

    row_kb: float = known(20, "kB a row", MEASURED, DRIVER)
    row_ms: float = known(0.17, "ms a row", MEASURED, "the same: a look at a source, from the cache")
    row_trips: float = known(4, "round trips a row", MEASURED, "stat, open and two reads")
    trip_ms: float = known(1, "ms", ASSUMED, "round trip to the shared file system")
    looks_at_once: float = known(16, "sources", SETTING, "`LOOKS_AT_ONCE` of curation/rows.py")
    publish_ms: float = known(0.21, "ms a row", MEASURED, DECIDE)
    driver_gb: float = known(64, "GB", ASSUMED, "memory for a run's driver")

    price_core_hour: float = known(math.nan, "", ASSUMED, "yours")
    price_gpu_hour: float = known(math.nan, "", ASSUMED, "yours")
    price_tb_month: float = known(math.nan, "", ASSUMED, "yours")
    months: float = known(1, "months", ASSUMED, "that sources and samples are kept")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Hours of raw video and what is to work on them."""

    hours: float
    cores: int
    gpus: int
    runs: int = 1
    """Runs side by side, each with a driver of its own and its share of the cluster."""

    @classmethod
    def parse(cls, text: str) -> "Cluster":
        """HOURS:CORES:GPUS[:RUNS]; raises ValueError."""
        hours, *counts = text.split(":")
        if len(counts) not in (2, 3):
            raise ValueError(f"'{text}' is not of the form HOURS:CORES:GPUS or HOURS:CORES:GPUS:RUNS")
        return cls(float(hours), *map(int, counts))


VARIANTS: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("none", {}, {}),
    ("`face_detector=dwpose`, the paper's", {}, {"face_detector": "dwpose"}),
    ("the same on a frame in 2 s", {}, {"face_detector": "dwpose", "faces_a_second": 0.5}),
    ("no GPU", {"gpus": 0}, {}),
    ("all frames large enough: `pass_probe=1`", {}, {"pass_probe": 1.0}),
    ("clips of 4 s", {}, {"clip_seconds": 4}),
    ("four times the cores", {"cores": 1024}, {}),
    ("`trip_ms=0.2`", {}, {"trip_ms": 0.2}),
    ("`batch_rows=64`, `batch_seconds=30`", {}, {"batch_rows": 64, "batch_seconds": 30}),
    ("a run for each of five data sets, side by side", {"runs": 5}, {}),
)
"""What the last table changes, in the cluster and in the inputs."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate, or a step after the gates, over all hours that reach it."""

    name: str
    hours_in: float
    passes: float
    core_hours: float
    gpu_hours: float = 0.0

    @property
    def hours_out(self) -> float:
        return self.hours_in * self.passes


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that follows from the inputs."""

    cluster: Cluster
    inputs: Inputs

    @property
    def clips(self) -> float:
        return self.cluster.hours * HOUR / self.inputs.clip_seconds

    @property
    def gates(self) -> list[Gate]:
        """In the order in which they are taken; SyncNet on GPUs where there are any."""
        given = self.inputs
        rate = given.gpu_tflops * 1000 if self.cluster.gpus else given.core_gflops
        sync = FPS * given.syncnet_gflop / rate
        faces = given.cost_faces / HOUR
        if given.face_detector == "dwpose":
            faces = given.faces_a_second * given.dwpose_gflop / given.core_gflops
        costs = [  # hours of a core and of SyncNet for an hour of video
            ("probe", given.pass_probe, given.cost_probe / HOUR, 0.0),
            ("sound", given.pass_sound, given.cost_sound / HOUR, 0.0),
            ("light_faces", given.pass_light_faces, given.cost_light_faces / HOUR, 0.0),
            ("shots", given.pass_shots, given.cost_shots / HOUR, 0.0),
            ("faces", given.pass_faces, faces, 0.0),
            ("quality", 1.0, given.cost_quality / HOUR, 0.0),
            ("av_sync", 1.0, given.cost_av_sync / HOUR, 0.0),
            ("sync_screen", given.pass_sync_screen, 0.0, given.screen_share * sync),
            ("sync", given.pass_sync, 0.0, (1 - given.screen_share) * sync),
        ]
        gates: list[Gate] = []
        hours = self.cluster.hours
        for name, passes, core, network in costs:
            on_cores, on_gpus = (core, network) if self.cluster.gpus else (core + network, 0.0)
            gates.append(Gate(name, hours, passes, hours * on_cores, hours * on_gpus))
            hours *= passes
        return gates

    @property
    def kept_hours(self) -> float:
        return self.gates[-1].hours_out

    @property
    def kept_clips(self) -> float:
        return self.kept_hours * HOUR / self.inputs.clip_seconds

    @property
    def core_hours(self) -> float:
        return sum(gate.core_hours for gate in self.gates)

    @property
    def gpu_hours(self) -> float:
        return sum(gate.gpu_hours for gate in self.gates)

    @property
    def row_core_seconds(self) -> float:
        """Processor time of a clip, a mean over all."""
        return self.core_hours * HOUR / self.clips

    @property
    def rows_a_part(self) -> float:
        """Rows of a part file before merging."""
        pace = int(max(1, self.inputs.batch_seconds / self.row_core_seconds))
        return self.inputs.batch_rows / part_files(int(self.inputs.batch_rows), pace=pace)

    @property
    def rows_a_run(self) -> float:
        """What a driver's memory carries when a run goes on: earlier results and the new ones."""
        return self.inputs.driver_gb * GIGA / (2 * self.inputs.row_kb * 1000)

    @property
    def runs(self) -> int:
        """Outputs among which the clips are shared out."""
        return math.ceil(self.clips / self.rows_a_run)

    @property
    def rows_a_second(self) -> float:
        return self.cluster.cores / self.row_core_seconds

    @property
    def calls_a_row(self) -> float:
        """Calls to the shared file system for its names, not its bytes."""
        given = self.inputs
        return given.source_calls + given.mark_calls + given.part_calls / self.rows_a_part

    @property
    def supply_hours(self) -> float:
        """The drivers look at every source, several at a time."""
        given = self.inputs
        row_ms = given.row_ms + given.row_trips * given.trip_ms / given.looks_at_once
        return self.clips * row_ms / 1000 / HOUR / self.cluster.runs

    @property
    def work_hours(self) -> float:
        """Cores and GPUs side by side, all busy."""
        on_gpus = self.gpu_hours / self.cluster.gpus if self.cluster.gpus else 0.0
        return max(self.core_hours / self.cluster.cores, on_gpus)

    @property
    def waves(self) -> int:
        return math.ceil(self.clips / self.inputs.wave_rows)

    @property
    def wave_hours(self) -> float:
        return self.waves * self.inputs.wave_seconds / HOUR / self.cluster.runs

    @property
    def merge_hours(self) -> float:
        """Part files are read one by one, and the results judged."""
        given = self.inputs
        reading = self.clips / self.rows_a_part * 3 * given.trip_ms
        return (reading + self.clips * given.publish_ms) / 1000 / HOUR / self.cluster.runs

    @property
    def curate_hours(self) -> float:
        return self.supply_hours + self.work_hours + self.wave_hours + self.merge_hours

    @property
    def preprocess_core_hours(self) -> float:
        return self.kept_hours * self.inputs.preprocess_cost / HOUR

    @property
    def latent_gpu_hours(self) -> float:
        return self.kept_hours * FPS * self.inputs.latent_tflop / self.inputs.gpu_tflops

    @property
    def source_tb(self) -> float:
        return self.cluster.hours * HOUR * self.inputs.source_mbps * 1e6 / 8 / TERA

    @property
    def sample_tb(self) -> float:
        return self.kept_hours * HOUR * self.inputs.sample_bytes / TERA

    @property
    def latent_tb(self) -> float:
        return self.kept_hours * HOUR * FPS * self.inputs.latent_bytes / TERA


def part_files(rows: int, *, pace: int) -> int:
    """Part files of the rows that a worker on a cluster gets at once: one for every `pace` rows."""
    return math.ceil(rows / pace)


def pages(plans: Sequence[Cluster], inputs: Inputs) -> Iterator[str]:
    """The tables, as Markdown."""
    yield from _inputs(inputs)
    for cluster in plans:
        yield from _plan(Plan(cluster, inputs))
    yield from _variants(Plan(plans[0], inputs))


def _inputs(inputs: Inputs) -> Iterator[str]:
    yield "| input | value | | from |"
    yield "|---|---|---|---|"
    for name, info in Inputs.__dataclass_fields__.items():
        about, value = info.metadata, getattr(inputs, name)
        if not about or name.startswith("price_"):
            continue
        text = ": ".join(filter(None, (about["kind"], about["source"])))
        yield f"| `{name}` | {_number(value)} | {about['unit']} | {text} |"


def _plan(plan: Plan) -> Iterator[str]:
    cluster = plan.cluster
    side = f", {cluster.runs} runs side by side" if cluster.runs > 1 else ""
    yield f"\n### {cluster.hours:,.0f} hours on {cluster.cores:,} cores and {cluster.gpus} GPUs{side}\n"
    yield "| gate | hours in | passes | hours out | core-h | GPU-h |"
    yield "|---|---|---|---|---|---|"
    for gate in plan.gates:
        numbers = (gate.hours_in, gate.passes, gate.hours_out, gate.core_hours, gate.gpu_hours)
        yield f"| `{gate.name}` | {' | '.join(map(_number, numbers))} |"
    share = plan.kept_hours / cluster.hours
    total = (share, plan.kept_hours, plan.core_hours, plan.gpu_hours)
    yield f"| all | {_number(cluster.hours)} | {' | '.join(map(_number, total))} |"
    yield from ("", "| what | how much | how it comes about |", "|---|---|---|")
    for what, amount, how in _amounts(plan):
        yield f"| {what} | {amount} | {how} |"


def _variants(plan: Plan) -> Iterator[str]:
    yield f"\n### What changes it, for the {plan.cluster.hours:,.0f} hours\n"
    yield "| change | hours kept | core-h | GPU-h | gates | curate, wall time | part files |"
    yield "|---|---|---|---|---|---|---|"
    for name, cluster, changes in VARIANTS:
        other = Plan(replace(plan.cluster, **cluster), replace(plan.inputs, **changes))
        numbers = (other.kept_hours, other.core_hours, other.gpu_hours)
        times = (other.work_hours, other.curate_hours)
        files = _number(other.clips / other.rows_a_part)
        cells = (name, *map(_number, numbers), *map(_hours, times), files)
        yield f"| {' | '.join(cells)} |"


def _amounts(plan: Plan) -> Iterator[tuple[str, str, str]]:
    given, cluster = plan.inputs, plan.cluster
    yield "clips, rows", _number(plan.clips), "hours x 3600 / `clip_seconds`"
    yield "clips kept", _number(plan.kept_clips), ""
    yield "core time of a clip", f"{_number(plan.row_core_seconds)} s", "core-h x 3600 / clips"
    yield from _bytes(plan)
    yield from _metadata(plan)
    driver = plan.clips * given.row_kb / 1e6
    yield (
        "memory of one driver for all",
        f"{_number(driver)} GB",
        "rows x `row_kb`; twice that to go on",
    )
    yield "outputs", _number(plan.runs), f"rows / ({given.driver_gb:g} GB / (2 x `row_kb`))"
    yield "waves", _number(plan.waves), "rows / `wave_rows`"
    side = f", / {cluster.runs}" if cluster.runs > 1 else ""
    yield (
        "drivers look at sources",
        _hours(plan.supply_hours),
        f"rows x (`row_ms` + 4 x `trip_ms` / 16){side}",
    )
    yield "gates", _hours(plan.work_hours), "the longer of core-h / cores and GPU-h / GPUs"
    yield "waves begin", _hours(plan.wave_hours), f"waves x `wave_seconds`{side}"
    yield (
        "merge and report",
        _hours(plan.merge_hours),
        f"part files x 3 x `trip_ms` + rows x `publish_ms`{side}",
    )
    yield "**curate, wall time**", f"**{_hours(plan.curate_hours)}**", "the sum of the four"
    hours = plan.preprocess_core_hours / cluster.cores
    yield "preprocess", f"{_number(plan.preprocess_core_hours)} core-h", f"{_hours(hours)} on the cores"
    if cluster.gpus:
        wall = plan.latent_gpu_hours / cluster.gpus
        yield (
            "with `--latents` also",
            f"{_number(plan.latent_gpu_hours)} GPU-h",
            f"{_hours(wall)} on the GPUs",
        )
    yield "cost", *_cost(plan)


def _bytes(plan: Plan) -> Iterator[tuple[str, str, str]]:
    given = plan.inputs
    yield "sources", _tera(plan.source_tb), "hours x `source_mbps`"
    most = plan.source_tb * given.read_factor
    yield (
        "asked for by reads, at most",
        _tera(most),
        "sources x `read_factor`, as if all reached `av_sync`",
    )
    yield "journal, merged", _tera(plan.clips * given.journal_bytes / TERA), "rows x `journal_bytes`"
    yield "manifest", _tera(plan.clips * given.manifest_bytes / TERA), "rows x `manifest_bytes`"
    yield "samples", _tera(plan.sample_tb), "hours kept x `sample_bytes`"
    yield "latents, if wanted", _tera(plan.latent_tb), "frames kept x `latent_bytes`"


def _metadata(plan: Plan) -> Iterator[tuple[str, str, str]]:
    given, cluster = plan.inputs, plan.cluster
    files = plan.clips / plan.rows_a_part
    yield (
        "part files written",
        _number(files),
        f"{_number(plan.rows_a_part)} rows each, merged after each wave",
    )
    yield "their bytes", _tera(files * given.part_bytes / TERA), "files x `part_bytes`"
    at_once = cluster.runs * given.wave_rows / plan.rows_a_part + plan.waves
    yield "of them there at once, at most", _number(at_once), "those of a wave and one for each wave before"
    yield "marks at once, at most", _number(cluster.cores * given.batch_rows), "workers x `batch_rows`"
    yield "inodes of samples", _number(plan.kept_clips * given.sample_inodes), "clips kept x `sample_inodes`"
    yield "rows a second, all cores busy", _number(plan.rows_a_second), "cores / core time of a clip"
    calls = plan.rows_a_second * plan.calls_a_row
    how = f"x {_number(plan.calls_a_row)} calls a row: sources, marks, part files"
    yield "calls a second to the file system, at most", _number(calls), how


def _cost(plan: Plan) -> tuple[str, str]:
    given = plan.inputs
    cores = plan.core_hours + plan.preprocess_core_hours
    terabytes = plan.source_tb + plan.sample_tb
    priced = [
        (cores, given.price_core_hour),
        (plan.gpu_hours, given.price_gpu_hour),
        (terabytes * given.months, given.price_tb_month),
    ]
    total = sum(amount * price for amount, price in priced)
    formula = (
        f"{_number(cores)} x core-hour + {_number(plan.gpu_hours)} x GPU-hour + "
        f"{_number(terabytes * given.months)} x TB-month, without latents"
    )
    return ("your prices" if math.isnan(total) else _number(total)), formula


def _hours(hours: float) -> str:
    return f"{_number(hours)} h" if hours < 48 else f"{_number(hours / 24)} days"


def _tera(terabytes: float) -> str:
    return f"{_number(terabytes)} TB" if terabytes >= 1 else f"{_number(terabytes * 1000)} GB"


def _number(value: float) -> str:
    """Three figures: 0.0626, 1.54, 292, 4,670, 2,100,000."""
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:,.{max(0, digits)}f}".rstrip("0").rstrip(".") if digits > 0 else f"{rounded:,.0f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plan", action="append", metavar="HOURS:CORES:GPUS[:RUNS]", help="repeatable")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any input")
    given = parser.parse_args(arguments)
    inputs = Inputs()
    try:
        for text in given.set:
            name, _, value = text.partition("=")
            if name not in Inputs.__dataclass_fields__:
                raise ValueError(f"there is no input '{name}'")
            changes: dict[str, Any] = {name: value if name == "face_detector" else float(value)}
            inputs = replace(inputs, **changes)
        plans = [Cluster.parse(text) for text in given.plan or PLANS]
    except ValueError as error:
        parser.error(str(error))
    sys.stdout.write("\n".join(pages(plans, inputs)) + "\n")


if __name__ == "__main__":
    main()
