"""The truth about a clip: a Parquet file with a row a frame, and what does not change in its metadata.

Shape legend:
    F frames   68 points as `faces.landmarks` has them, in pixels of the clip
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from megactor_core.errors import MediaError, first_line
from megactor_core.files import atomic_path, read_table
from megactor_core.synthetic.state import TRACKS, Performance

_POINTS = 68 * 2
_FACTS = b"megactor"

TRUTH_SCHEMA = pa.schema(
    [
        pa.field("frame", pa.int32(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in TRACKS),
        pa.field("points", pa.list_(pa.float32(), _POINTS), nullable=False),
        pa.field("second_points", pa.list_(pa.float32(), _POINTS)),
    ]
)
"""seconds: the moment that the frame shows. points: x0, y0, x1, y1 ..., NaN where there is no face.
second_points: of a second person, null without one."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What a clip shows.

    points (F, 68, 2) float32, NaN without a face; second_points likewise, None without a second person.
    facts: clip_id, identity, identity_numbers, seed, fault, fault_size and more, as in the manifest;
    other_identity_numbers where a fault brings a second person.
    """

    performance: Performance
    points: np.ndarray
    second_points: np.ndarray | None
    facts: dict[str, Any]


def write_truth(path: Path, truth: Truth) -> None:
    """Write the truth atomically; the same truth gives the same bytes. Raises OutputError."""
    performance = truth.performance
    frames = np.arange(len(performance))
    second = truth.second_points
    columns = {
        "frame": frames.astype(np.int32),
        "seconds": (frames + 0.5) / performance.video_fps,
        **{name: performance.track(name) for name in TRACKS},
        "points": _as_lists(truth.points),
        "second_points": pa.nulls(len(frames), _LISTS) if second is None else _as_lists(second),
    }
    facts = {_FACTS: json.dumps(truth.facts | {"video_fps": performance.video_fps}).encode()}
    table = pa.table(columns, schema=TRUTH_SCHEMA.with_metadata(facts))
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def read_truth(path: Path) -> Truth:
    """What `write_truth` wrote; raises MediaError where it is missing, damaged or something else."""
    try:
        table = read_table(path)
        facts = dict(json.loads(table.schema.metadata[_FACTS]))
        table = table.cast(TRUTH_SCHEMA)
        tracks = np.stack([table[name].to_numpy() for name in TRACKS], axis=1)
        second = table["second_points"]
        return Truth(
            performance=Performance(tracks, float(facts["video_fps"])),
            points=_as_points(table["points"]),
            second_points=None if second.null_count else _as_points(second),
            facts=facts,
        )
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        RecursionError,
        NotImplementedError,
        OverflowError,
    ) as error:
        raise MediaError(
            f"'{path}' holds no truth of a clip ({first_line(error)}).", fix="Run `megactor synth` again."
        ) from None


_LISTS = TRUTH_SCHEMA.field("points").type


def _as_lists(points: np.ndarray) -> pa.Array:
    values = pa.array(np.ascontiguousarray(points, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, _POINTS)


def _as_points(column: pa.ChunkedArray) -> np.ndarray:
    values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.reshape(-1, 68, 2)
