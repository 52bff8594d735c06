"""Part files: finished rows in Parquet, each file complete or absent, each row's columns as JSON text.

Rows of one job differ in their columns (a rejected row lacks the later ones), and a column that holds whole
numbers in one file may hold fractions in the next. JSON keeps every value as it was; what the engine itself
asks for has columns of its own.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from megactor_core.engine.stage import ROW_ID, Outcome, Row
from megactor_core.errors import OutputError, UsageError
from megactor_core.files import atomic_path

PREFIX: Final = "part-"
DAMAGED: Final = ".damaged"
VALUES: Final = "values"
SCHEMA: Final = pa.schema(
    [
        (ROW_ID, pa.string()),
        ("row_key", pa.string()),
        ("status", pa.string()),
        ("stopped_at", pa.string()),
        ("reason", pa.string()),
        ("error_kind", pa.string()),
        ("error", pa.string()),
        ("attempts", pa.int32()),
        ("cpu_seconds", pa.float64()),
        ("run", pa.int32()),
        ("host", pa.string()),
        (VALUES, pa.string()),
    ]
)
_NEVER_NULL: Final = (ROW_ID, "row_key", "status", "attempts", "cpu_seconds", "run", VALUES)
RESERVED: Final = frozenset(SCHEMA.names) - {ROW_ID}
"""Names that a stage's columns cannot have."""


def encode_values(row: Row) -> str:
    """The columns of a row as JSON; numpy's numbers become Python's.

    Raises TypeError where a value is something else than JSON can hold.
    """
    return json.dumps(row, default=_plain, separators=(",", ":"))


def write_part(folder: Path, outcomes: Sequence[Outcome], *, run: int, host: str) -> Path:
    """Commit finished rows. The name is that of the rows, so the same rows written again replace themselves.

    Raises OutputError where the folder cannot be written.
    """
    return write_table(folder, table_of(outcomes, run=run, host=host))


def table_of(outcomes: Iterable[Outcome], *, run: int, host: str) -> pa.Table:
    """Rows, as they stand, in the columns of SCHEMA; `outcome_of` each decoded row gives them back."""
    return pa.Table.from_pylist([_record(outcome, run=run, host=host) for outcome in outcomes], SCHEMA)


def write_table(folder: Path, table: pa.Table) -> Path:
    """Write rows of SCHEMA as a part file."""
    path = _path_of(folder, table["row_key"].to_pylist())
    try:
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
    except OSError as error:
        raise OutputError(
            f"Cannot write the journal '{path}' ({error.strerror or error}).",
            fix="Make room or give another --output; the rows before this one are kept.",
        ) from None
    return path


def read_part(path: Path) -> pa.Table | None:
    """A part file's rows; None where it is damaged or of another kind."""
    try:
        table = pq.read_table(path, partitioning=None, use_threads=False, page_checksum_verification=True)
        table.validate(full=True)  # the texts too, which are not looked at before they are used
    except (OSError, pa.ArrowException):
        return None
    is_whole = table.schema.equals(SCHEMA) and not any(table[name].null_count for name in _NEVER_NULL)
    return table if is_whole else None


def committed(folder: Path, key: str, *, run: int) -> Row | None:
    """The result of a row that was committed alone in this run, if it was."""
    table = read_part(_path_of(folder, [key]))
    row = None if table is None else next(decode_rows(table))
    return row if row is not None and row["run"] == run else None


def part_paths(folder: Path) -> list[Path]:
    """The part files in a folder, sorted by name."""
    return sorted(folder.glob(f"{PREFIX}*.parquet"))


def decode_rows(table: pa.Table) -> Iterator[Row]:
    """Rows of SCHEMA as dicts: the stages' columns, then the engine's.

    Raises UsageError where the stages' columns are no JSON object, as no version has written them.
    """
    for record in table.to_pylist():
        try:
            values = json.loads(record.pop(VALUES))
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise UsageError(
                f"The journal holds a row '{record[ROW_ID]}' that megactor has not written.",
                fix="Remove the journal's part files of that row, or the journal, and run again.",
            )
        yield values | record


def outcome_of(row: Row) -> Outcome:
    """A decoded row as it ended."""
    values = {name: value for name, value in row.items() if name not in RESERVED}
    return Outcome(
        row=values,
        key=row["row_key"],
        status=row["status"],
        stopped_at=row["stopped_at"],
        reason=row["reason"],
        error_kind=row["error_kind"],
        error=row["error"],
        attempts=row["attempts"],
        cpu_seconds=row["cpu_seconds"],
    )


def merge_parts(paths: Sequence[Path], *, rows_per_file: int) -> None:
    """Turn many small part files into few; those of `rows_per_file` and more stay as they are.

    A kill on the way leaves rows in two files, which readers take for one.
    """
    small = [path for path in paths if (rows := _row_count(path)) is not None and rows < rows_per_file]
    for group in _groups(small, rows_per_file=rows_per_file):
        tables = [table for path in group if (table := read_part(path)) is not None]
        if len(tables) == len(group) > 1:
            merged = write_table(group[0].parent, pa.concat_tables(tables).sort_by(ROW_ID))
            for path in group:
                if path != merged:
                    path.unlink(missing_ok=True)


def _path_of(folder: Path, keys: Iterable[str]) -> Path:
    digest = hashlib.blake2b("".join(sorted(keys)).encode(), digest_size=12).hexdigest()
    return folder / f"{PREFIX}{digest}.parquet"


def _groups(paths: Iterable[Path], *, rows_per_file: int) -> Iterator[list[Path]]:
    group: list[Path] = []
    rows = 0
    for path in paths:
        group.append(path)
        rows += _row_count(path) or 0
        if rows >= rows_per_file:
            yield group
            group, rows = [], 0
    if group:
        yield group


def _row_count(path: Path) -> int | None:
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return None


def _record(outcome: Outcome, *, run: int, host: str) -> dict[str, Any]:
    return {
        ROW_ID: outcome.row[ROW_ID],
        "row_key": outcome.key,
        "status": outcome.status,
        "stopped_at": outcome.stopped_at,
        "reason": _encodable(outcome.reason),
        "error_kind": outcome.error_kind,
        "error": _encodable(outcome.error),
        "attempts": outcome.attempts,
        "cpu_seconds": outcome.cpu_seconds,
        "run": run,
        "host": host,
        VALUES: encode_values(outcome.row),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic) and not isinstance(value, np.void):
        return value.item()
    raise TypeError(f"a row holds {type(value).__name__}, but rows hold only what JSON can")


def _encodable(text: str | None) -> str | None:
    """File names in messages need not be UTF-8."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode("utf-8")
