"""The runner on a cluster: rows in waves through pools of Ray Data actors, one for the CPU and one for GPUs.

Ray places the workers, feeds them no faster than they work, and begins a lost machine's rows again elsewhere.
Nothing else rests on it: rows that end are committed by the worker, faults stay on their row by the rules of
the local runner (see ray_worker), and what is done already the journal knows.
"""

import logging
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from megactor_core.config.engine import EngineConfig
from megactor_core.engine.batch import Plan
from megactor_core.engine.local import Segment, segments_of, threads_of
from megactor_core.engine.pool import SETUP_SECONDS
from megactor_core.engine.preflight import check_nodes
from megactor_core.engine.ray_worker import DEATHS, RayWorker, decode, encode
from megactor_core.engine.stage import Outcome
from megactor_core.errors import ConfigError, MegActorError, first_line
from megactor_core.terminal import native_log_silenced

OBJECT_STORE_BYTES: Final = 200 * 2**20
"""Of a cluster that is started for the run: rows are paths and numbers."""
PASSED_ON: Final = ("MEGACTOR_CACHE", "MEGACTOR_HOME", "HF_HOME", "HF_HUB_OFFLINE", "HF_ENDPOINT")
"""Variables of this process that the workers get."""
_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")


class RayRunner:
    """Rows through workers on a Ray cluster."""

    def __init__(
        self, plan: Plan, config: EngineConfig, *, lock: Path, after_wave: Callable[[], None]
    ) -> None:
        """`after_wave` is called while no worker is at work."""
        self.worker_deaths = 0
        self._plan, self._config, self._lock, self._after_wave = plan, config, lock, after_wave
        self._pools: list[tuple[Segment, int]] = []
        self._is_ours = False
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)

    def run(self, rows: Iterator[Outcome]) -> Iterator[Outcome]:
        """One ended row for each row given, in any order, committed before it is yielded.

        Joins the cluster, or starts one here, once there is a row. Raises ConfigError where it cannot, where
        a node is unfit, or where none has room for a worker.
        """
        while wave := list(islice(rows, self._config.ray_wave_rows)):
            if not self._pools:
                self._pools = self._joined()
            with _when_lost(self._config):
                yield from self._run_wave(wave)
            self._after_wave()

    def close(self) -> None:
        """Leave the cluster; Ray ends the workers."""
        if self._is_ours:
            ray.shutdown()

    def _joined(self) -> list[tuple[Segment, int]]:
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            _join(self._plan, self._config)
        if self._config.ray_address is not None:
            check_nodes(self._plan)
        return _pools(self._plan, self._config)

    def _run_wave(self, wave: Sequence[Outcome]) -> Iterator[Outcome]:
        data = _dataset(wave, self._plan, self._config)
        for segment, workers in self._pools:
            data = data.map_batches(
                RayWorker,
                fn_constructor_args=(self._plan, segment),
                fn_constructor_kwargs={
                    "lock": self._lock,
                    "batch_seconds": self._config.batch_seconds,
                    "recycle_after_tasks": self._config.recycle_after_tasks,
                },
                batch_size=self._config.ray_batch_rows,
                batch_format="pyarrow",
                compute=ActorPoolStrategy(min_size=1, max_size=workers),
                # A worker of a GPU hardly takes a core; were it to want one, few CPUs could leave it none.
                num_cpus=0 if segment.on_gpu else threads_of(self._plan.stages),
                num_gpus=self._config.ray_gpus if segment.on_gpu else 0,
                memory=_memory_bytes(self._plan, self._config),
            )
        for table in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            self.worker_deaths += sum(table[DEATHS].to_pylist())
            yield from decode(table)


def _join(plan: Plan, config: EngineConfig) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its log stays in its log files
    found: dict[str, Any] = {"address": config.ray_address}
    variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    if config.ray_address is None:
        variables["PYTHONPATH"] = os.pathsep.join(sys.path)  # as the workers of this machine get it
        found = {
            "address": "local",
            "num_cpus": config.workers and config.workers * threads_of(plan.stages),
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        with native_log_silenced():  # Ray says there at which level it will say something
            ray.init(
                **found,
                runtime_env={"env_vars": variables},
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (RayError, ConnectionError, OSError, RuntimeError, ValueError) as error:
        where = config.ray_address or "this machine"
        raise ConfigError(
            f"No Ray cluster answers at '{where}' ({first_line(error)}).",
            fix="Give --ray-address auto on a machine of the cluster, or HOST:6379 of its head.",
        ) from None
    finally:
        signal.signal(signal.SIGTERM, on_terminate)  # Ray's own would take the command's way to end


def _pools(plan: Plan, config: EngineConfig) -> list[tuple[Segment, int]]:
    """The segments, each with its most workers; raises ConfigError where no node can hold one."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(_room(node, plan, config) for node in nodes)
    if room == 0:
        wanted_gb = _memory_bytes(plan, config) / 2**30
        raise ConfigError(
            f"A worker wants {threads_of(plan.stages)} CPUs and {wanted_gb:.1f} GiB; the nodes of the Ray "
            f"cluster offer {', '.join(map(_offer, nodes))}.",
            fix="Say how many workers there are to be (--workers N), or start Ray with more "
            "(`ray start --num-cpus N --memory BYTES`).",
        )
    wants_gpus = config.devices != () and any(stage.needs.gpus for stage in plan.stages)
    gpus = sum(math.floor(node.get("GPU", 0) / config.ray_gpus) for node in nodes) if wants_gpus else 0
    segments = segments_of(plan.stages, has_devices=gpus > 0)
    return [(segment, gpus if segment.on_gpu else config.workers or room) for segment in segments]


def _room(node: Mapping[str, float], plan: Plan, config: EngineConfig) -> int:
    """Workers of the CPU that a node holds."""
    by_cpu = node.get("CPU", 0) // threads_of(plan.stages)
    memory_bytes = _memory_bytes(plan, config)
    return int(min(by_cpu, node.get("memory", 0) // memory_bytes if memory_bytes else by_cpu))


def _offer(node: Mapping[str, float]) -> str:
    return f"{node.get('CPU', 0):g} and {node.get('memory', 0) / 2**30:.1f} GiB"


def _memory_bytes(plan: Plan, config: EngineConfig) -> int:
    """What Ray keeps free for a worker; nothing where the user has said how many there are to be."""
    return 0 if config.workers else round(sum(stage.needs.memory_gb for stage in plan.stages) * 2**30)


def _dataset(wave: Sequence[Outcome], plan: Plan, config: EngineConfig) -> Any:
    context = DataContext.get_current()  # a data set copies it when it is made
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.issue_detectors_config.detectors = []  # advice for who writes the stages
    context.max_errored_blocks = 0  # what leaves a worker as an exception is no row's fault
    context.execution_no_progress_timeout_s = SETUP_SECONDS + config.ray_batch_rows * sum(
        plan.timeout_seconds or stage.needs.timeout_seconds for stage in plan.stages
    )
    table = encode(wave, run=plan.run)
    parts = range(0, len(table), config.ray_batch_rows)
    return ray.data.from_arrow([table.slice(start, config.ray_batch_rows) for start in parts])


@contextmanager
def _when_lost(config: EngineConfig) -> Iterator[None]:
    """Raises MegActorError where the cluster gives up."""
    try:
        yield
    except MegActorError:
        raise
    except Exception as error:
        raise MegActorError(
            f"The Ray cluster at '{config.ray_address or 'this machine'}' gave up "
            f"({type(error).__name__}: {_ANSI.sub('', first_line(error))}).",
            fix="Look at the cluster's logs; the rows that are done are kept, run the same command again.",
        ) from error
