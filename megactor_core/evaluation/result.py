"""What an evaluation found: every number with all that must be said of it, as metrics.json holds it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from megactor_core.engine.stage import Row
from megactor_core.errors import UsageError, first_line
from megactor_core.evaluation.catalogue import Better, Measure
from megactor_core.evaluation.controls import ControlResult
from megactor_core.evaluation.pairing import Failure
from megactor_core.files import atomic_path, read_json, read_table, write_json
from megactor_core.version import megactor_version

METRICS, CLIPS = "metrics.json", "clips.parquet"
TOOL: Final = "megactor"
FORMAT: Final = 1
_LIBRARIES: Final = ("torch", "numpy", "scipy", "av", "opencv-python-headless", "scikit-video")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricValue:
    """One number of a set of clips."""

    value: float
    interval: tuple[float, float] | None
    """95 %: bootstrap over clips (BCa), or the jackknife's error for FID and FVD; None for a single clip."""
    count: int
    """Clips that have a value."""
    better: Better | None
    unit: str
    preprocessing: str
    weights: tuple[str, ...] = ()
    """SHA-256 of the network's files."""
    samples: tuple[int, int] | None = None
    """FID and FVD: generated and real frames (windows) that the moments are of."""
    is_biased: bool = False
    """FID and FVD: fewer samples than dimensions; compare at equal numbers only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetResult:
    """One set of generated clips against the real ones."""

    metrics: dict[str, MetricValue]
    """By measure, in the order of the catalogue."""
    missing: dict[str, dict[str, str]]
    """Metric -> reason and fix."""
    pairs: dict[str, Any]
    """paired, measured, only_generated, only_real, shortened, skipped (metric -> reason -> clips)."""
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateResult:
    """A finished evaluation. `sets` has the key "" for two folders, and the modes for a checkpoint.

    The arrays of a pair (a value a frame, landmarks) are read with `clip.read_arrays(output, row_id)`, and
    `rows` holds each pair's row: row_id, mode, name, generated_path, real_path (text_to_path), measures.
    """

    output: Path
    inputs: dict[str, str]
    """What was compared: generated and real, or checkpoint and data."""
    protocol: dict[str, Any]
    preprocessing: dict[str, str]
    weights: dict[str, tuple[str, ...]]
    quoted: str | None
    """Benchmark of the paper whose rows stand beside the result."""
    sets: dict[str, SetResult]
    rows: tuple[Row, ...] = field(repr=False, default=())
    versions: dict[str, str] = field(default_factory=dict)
    control: ControlResult | None = None
    """For a checkpoint, where `control.clips` asks for it."""

    @property
    def measured(self) -> int:
        """Pairs with numbers, over all sets."""
        return sum(int(one.pairs["measured"]) for one in self.sets.values())

    def to_json(self) -> dict[str, Any]:
        """metrics, missing and pairs of the one set; for a checkpoint each of them by mode."""
        return {
            "tool": f"{TOOL} {megactor_version()}",
            "format": FORMAT,
            "output": str(self.output),
            "inputs": self.inputs,
            "protocol": self.protocol,
            "preprocessing": self.preprocessing,
            "weights": {metric: list(hashes) for metric, hashes in self.weights.items()},
            "versions": self.versions,
            "quoted": self.quoted,
            **({} if self.control is None else {"control": self.control.to_json()}),
            **({} if list(self.sets) == [""] else {"modes": list(self.sets)}),
            **{name: self._of_sets(name) for name in ("metrics", "missing", "pairs", "failures", "warnings")},
        }

    def _of_sets(self, name: str) -> Any:
        values = {key: asdict(one)[name] for key, one in self.sets.items()}
        return values[""] if list(values) == [""] else values


def versions() -> dict[str, str]:
    """Of this tool and of the libraries that its numbers pass through."""
    return {"megactor": megactor_version(), **{name: version(name) for name in _LIBRARIES}}


def value_of(measure: Measure, preprocessing: Mapping[str, str], **facts: Any) -> MetricValue:
    """A measure's value with what the catalogue and the protocol say of it."""
    return MetricValue(
        better=measure.better,
        unit=measure.unit,
        preprocessing=preprocessing[measure.metric],
        **facts,
    )


def write_result(result: EvaluateResult) -> None:
    """Write clips.parquet, then metrics.json, which says that all is there."""
    write_clips(result)
    write_json(result.output / METRICS, result.to_json())


def write_clips(result: EvaluateResult) -> None:
    """A row a pair: name, mode, status, error, frames, a column a measure, and reasons for missing ones."""
    names = sorted({name for row in result.rows for name in row.get("measures", {})})
    columns: dict[str, Any] = {
        "name": [row["name"] for row in result.rows],
        "mode": pa.array([row["mode"] for row in result.rows], pa.string()),
        "status": [row["status"] for row in result.rows],
        "error": pa.array([row.get("error") for row in result.rows], pa.string()),
        "frames": pa.array([row.get("frames") for row in result.rows], pa.int64()),
        "sound": pa.array([row.get("sound") for row in result.rows], pa.string()),
        **{
            name: pa.array([row.get("measures", {}).get(name) for row in result.rows], pa.float64())
            for name in names
        },
        "skipped": pa.array([json.dumps(row.get("skipped", {})) for row in result.rows], pa.string()),
    }
    with atomic_path(result.output / CLIPS) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")


def read_result(folder: Path) -> dict[str, Any]:
    """metrics.json of a result's folder; raises UsageError where there is none."""
    path = folder / METRICS
    try:
        found = read_json(path)
    except OSError as error:
        raise UsageError(
            f"'{folder}' holds no result of an evaluation ({METRICS}: {error.strerror}).",
            fix="Give the --output folder of `megactor evaluate`.",
        ) from None
    except ValueError:
        found = None
    if not isinstance(found, dict) or not str(found.get("tool", "")).startswith(TOOL):
        raise UsageError(f"'{path}' is no result of `megactor evaluate`.", fix="Check the path.")
    if found.get("format") != FORMAT:
        raise UsageError(
            f"'{path}' has format {found.get('format')}; this version reads {FORMAT}.",
            fix="Evaluate again.",
        )
    return found


def read_clips(folder: Path) -> list[dict[str, Any]]:
    """The rows of clips.parquet; raises UsageError where it is missing or damaged."""
    try:
        table = read_table(folder / CLIPS)
        rows: list[dict[str, Any]] = table.cast(_with_text_columns(table.schema)).to_pylist()
    except (OSError, ValueError, KeyError, NotImplementedError, OverflowError) as error:
        raise UsageError(
            f"'{folder / CLIPS}' cannot be read: {first_line(error)}.",
            fix="Run the evaluation again: it goes on.",
        ) from None
    return rows


def _with_text_columns(schema: pa.Schema) -> pa.Schema:
    """The columns, but those that every result has as text; raises KeyError where one of these is missing."""
    texts = {name: schema.get_field_index(name) for name in ("name", "mode", "status")}
    if -1 in texts.values():
        raise KeyError("it has no columns 'name', 'mode' and 'status'")
    for name, number in texts.items():
        schema = schema.set(number, pa.field(name, pa.string()))
    return schema
