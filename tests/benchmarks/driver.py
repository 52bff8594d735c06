"""What a run's driver carries for a row: python tests/benchmarks/driver.py OUTPUT [ROWS]

OUTPUT is the folder of a finished `megactor curate` whose sources are still there. Its rows are written
again, many times over under other names, as a journal of ROWS rows (default: 20,000). Prints memory and
processor time of a row when all results are read (in a process of its own, of which nothing has been freed)
and when the driver looks at its source, and the sizes of part files.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa

from megactor_core.config.curate import CurateConfig
from megactor_core.config.recipes import read_recipe
from megactor_core.curation.gates import plan_gates
from megactor_core.curation.output import CONFIG, JOURNAL
from megactor_core.curation.rows import Rows
from megactor_core.curation.sources import find_sources
from megactor_core.engine.journal import ROWS_PER_FILE, Journal
from megactor_core.engine.parts import part_paths, read_part, write_table

ROWS = 20_000
PART_ROWS = (1, 3, 8, 16)
REPEATS = 5


def resident_kb() -> int:
    """Memory of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def rows_of(output: Path) -> pa.Table:
    """The rows of an output's journal."""
    tables = [read_part(path) for path in part_paths(output / JOURNAL / "parts")]
    return pa.concat_tables(table for table in tables if table is not None)


def write_journal(folder: Path, rows: pa.Table, *, count: int) -> Journal:
    """A journal of so many rows, each under a name of its own."""
    journal = Journal(folder)
    journal.parts.mkdir(parents=True)
    records = rows.to_pylist()
    named = (
        record | {"row_id": f"{record['row_id']}-{copy}", "row_key": f"{record['row_key']}-{copy}"}
        for copy in range(count // len(records) + 1)
        for record in records
    )
    named = islice(named, count)
    while some := list(islice(named, ROWS_PER_FILE)):
        write_table(journal.parts, pa.Table.from_pylist(some, rows.schema))
    return journal


def read_results(folder: Path) -> tuple[int, float]:
    """Memory in kB and processor time in seconds that all results of a journal take."""
    memory, started = resident_kb(), time.process_time()
    results = Journal(folder).results()
    seconds, grown = time.process_time() - started, resident_kb() - memory
    assert results
    return grown, seconds


def reading_line(journal: Journal, *, count: int) -> str:
    """What a row takes when the results are read."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        grown, seconds = pool.submit(read_results, journal.folder).result()
    return f"| results, a row | {grown / count:.1f} kB | {1e3 * seconds / count:.3f} ms |"


def looking_line(output: Path) -> str:
    """What a row takes when the driver asks what is to be done for it."""
    config = CurateConfig.build(read_recipe(output / CONFIG), source=str(output))
    plan, sources = plan_gates(config.measure), find_sources(config)
    started = time.process_time()
    for _ in range(REPEATS):
        count = len(list(Rows(sources, {}, plan=plan, config=config)))
    seconds = (time.process_time() - started) / REPEATS
    return f"| a look at its source | | {1e3 * seconds / count:.3f} ms |"


def part_lines(folder: Path, rows: pa.Table) -> Iterator[str]:
    """Bytes of part files, and the time to read one."""
    for size in PART_ROWS:
        place = folder / str(size)
        place.mkdir()
        for start in range(0, len(rows) - size + 1, size):
            write_table(place, rows.slice(start, size))
        paths = part_paths(place)
        started = time.process_time()
        for path in paths:
            read_part(path)
        seconds = (time.process_time() - started) / len(paths)
        mean = sum(path.stat().st_size for path in paths) / len(paths)
        yield f"| a part file of {size} rows | {mean / 1e3:.1f} kB | {1e3 * seconds:.2f} ms |"


def main(output: Path, count: int = ROWS) -> None:
    rows = rows_of(output)
    sys.stdout.write("| | size | processor time |\n|---|---|---|\n")
    with tempfile.TemporaryDirectory() as scratch:
        journal = write_journal(Path(scratch) / JOURNAL, rows, count=count)
        lines = [reading_line(journal, count=count), looking_line(output), *part_lines(Path(scratch), rows)]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
