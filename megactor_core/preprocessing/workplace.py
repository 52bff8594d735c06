"""The folder that a clip's sample grows in, from the first stage that writes to the one that publishes.

It lies beside the finished samples under a hidden name that holds the process number, so that a run that was
killed leaves nothing that looks like a sample, and no two workers meet in it.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from megactor_core.engine.stage import Row
from megactor_core.files import flush_folder

WORK: Final = "work"
"""The row's column that names its folder, inside the folder of the samples."""
_PARTIAL: Final = re.compile(r"\..+\.(?:partial|replaced)-\d+")


def begin(samples: Path, row: Row) -> Row:
    """The row with an empty folder to work in."""
    work = f".{row['row_id']}.partial-{os.getpid()}"
    shutil.rmtree(samples / work, ignore_errors=True)
    (samples / work).mkdir(parents=True)
    return {**row, WORK: work}


def folder_of(samples: Path, row: Row) -> Path:
    """The row's folder."""
    return samples / str(row[WORK])


@contextmanager
def kept_only_if_done(samples: Path, row: Row) -> Iterator[Path]:
    """Yield the row's folder; where the block raises, the folder goes, since the row ends there."""
    folder = folder_of(samples, row)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def publish(samples: Path, row: Row) -> Path:
    """Give the finished folder its name, `row_id`, in the place of an earlier one."""
    work, final = folder_of(samples, row), samples / str(row["row_id"])
    flush_folder(work)
    if final.exists():
        replaced = samples / f".{final.name}.replaced-{os.getpid()}"
        shutil.rmtree(replaced, ignore_errors=True)
        os.rename(final, replaced)
        os.rename(work, final)
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        os.rename(work, final)
    flush_folder(samples, contents=False)
    return final


def clear_abandoned(samples: Path) -> None:
    """Remove what was left half done. Only for who holds the output, while none of its workers is at work."""
    if not samples.is_dir():
        return
    for path in samples.iterdir():
        if _PARTIAL.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
