"""Stages for the tests of the engine, in a module of their own that worker processes can import."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from megactor_core.engine.stage import Needs, Rejected, Row, WorkerContext
from megactor_core.errors import MediaError, MegActorError

ODD_ROWS_NEEDS = Needs(memory_gb=0.1, timeout_seconds=1.0)


@dataclass
class Odd:
    """Doubles `n`, unless the row's `do` says otherwise; writes a line to `log` for each try of a row."""

    log: Path | None = None
    seconds: float = 0.0
    gpus: int = 0
    name: str = "odd"
    version: str = "1"
    worker: WorkerContext | None = field(default=None, init=False)

    @property
    def needs(self) -> Needs:
        return replace(ODD_ROWS_NEEDS, gpus=self.gpus)

    def setup(self, worker: WorkerContext) -> None:
        self.worker = worker

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        for row in batch:
            note(self.log, row["row_id"])
            time.sleep(self.seconds)
            do(row)
            yield {**row, "twice": 2 * row["n"]}


@dataclass
class Add:
    """A second stage: adds `amount` to `twice`; wants a GPU if told so."""

    amount: int = 1
    gpus: int = 0
    name: str = "add"
    version: str = "1"
    worker: WorkerContext | None = field(default=None, init=False)

    @property
    def needs(self) -> Needs:
        return replace(ODD_ROWS_NEEDS, gpus=self.gpus, batch_rows=4)

    def setup(self, worker: WorkerContext) -> None:
        self.worker = worker

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        for row in batch:
            yield {
                **row,
                "sum": row["twice"] + self.amount,
                "device": self.worker.device,
                "add_pid": os.getpid(),
            }


@dataclass
class Split:
    """Makes `n` rows of one."""

    fan_out: bool = True
    name: str = "split"
    version: str = "1"
    needs: Needs = ODD_ROWS_NEEDS

    def setup(self, worker: WorkerContext) -> None:
        pass

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        (row,) = batch
        for part in range(row["n"]):
            do(row)
            yield {"row_id": f"{row['row_id']}-{part}", "part": part}


@dataclass
class Threads:
    """Tells how many threads the libraries may use, as numpy found it when it was loaded."""

    cpus: int = 1
    name: str = "threads"
    version: str = "1"

    @property
    def needs(self) -> Needs:
        return Needs(cpus=self.cpus, memory_gb=0.1)

    def setup(self, worker: WorkerContext) -> None:
        pass

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        import torch

        for row in batch:
            yield {**row, "variable": os.environ["OMP_NUM_THREADS"], "threads": torch.get_num_threads()}


@dataclass
class NoSetup:
    """A stage that cannot start."""

    how: str = "raise"
    name: str = "no-setup"
    version: str = "1"
    needs: Needs = ODD_ROWS_NEEDS

    def setup(self, worker: WorkerContext) -> None:
        match self.how:
            case "known":
                raise MegActorError("No weights.", fix="Fetch them.")
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case _:
                raise ValueError("surprise")

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        yield from batch


def do(row: Row) -> None:
    """What a row asks for."""
    match row.get("do"):
        case "reject":
            raise Rejected("too small", values={"width": row["n"]})
        case "known":
            raise MediaError(f"'{row['row_id']}' is no video.")
        case "raise":
            raise ValueError("surprise")
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            raise SystemExit(3)
        case "hang":
            time.sleep(1000)
        case "orphan":  # by the end of the process that started this one
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(1000)
        case "orphan-once":
            once = Path(row["once"])
            if not once.exists():
                once.touch()
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(1000)
        case "once":
            once = Path(row["once"])
            if not once.exists():
                once.touch()
                raise ValueError("only once")


def note(log: Path | None, name: str) -> None:
    """Add a line to a file that several processes write."""
    if log is not None:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{name}\n")


@dataclass
class Together:
    """Holds every row until two processes have come to `folder`, so that neither is done before the other."""

    folder: Path
    name: str = "together"
    version: str = "1"
    needs: Needs = ODD_ROWS_NEEDS

    def setup(self, worker: WorkerContext) -> None:
        pass

    def rows(self, batch: list[Row]) -> Iterator[Row]:
        for row in batch:
            (self.folder / str(os.getpid())).touch()
            end = time.monotonic() + 100
            while len(list(self.folder.iterdir())) < 2 and time.monotonic() < end:
                time.sleep(0.05)
            time.sleep(0.02)
            yield {**row, "pid": os.getpid()}
