"""Many animations from one file: a list of mappings, each with keys of AnimateConfig."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from megactor_core.config.animate import AnimateConfig
from megactor_core.config.engine import EngineConfig
from megactor_core.config.recipes import Layer, build_config, require_mapping
from megactor_core.config.yaml_text import parse_yaml, read_text_file
from megactor_core.errors import ConfigError

MAX_JOBS_BYTES = 20_000_000
"""About 100,000 jobs (ours)."""


class JobsConfig(EngineConfig):
    """How the jobs of a file are spread over workers. (All values ours.)"""

    ray_batch_rows: int = Field(1, ge=1, le=10_000)
    """Jobs that a worker on a cluster gets at once: each takes long, and no worker is to wait for another."""


def journal_of(jobs: Path) -> Path:
    """FILE.journal beside FILE: what of the jobs is done."""
    return jobs.with_name(f"{jobs.name}.journal")


def load_jobs(path: Path, *, layers: Sequence[Layer]) -> list[AnimateConfig]:
    """The configurations of a YAML, JSON (`.json`) or JSON-lines (`.jsonl`) file; jobs win over `layers`.

    Raises ConfigError that names the job, counted from 1, where one is invalid or two write the same file.
    """
    source = f"jobs file '{path}'"
    jobs = _parse(
        read_text_file(path, source=source, max_bytes=MAX_JOBS_BYTES), suffix=path.suffix, source=source
    )
    if not isinstance(jobs, list) or not jobs:
        raise ConfigError(f"{source} must be a list of jobs.", fix="Write `- reference: a.png` and so on.")
    configs = [
        _build_job(job, label=f"{source}, job {number}", layers=layers) for number, job in enumerate(jobs, 1)
    ]
    _require_different_outputs(configs, source=source)
    return configs


def _build_job(job: Any, *, label: str, layers: Sequence[Layer]) -> AnimateConfig:
    return build_config(AnimateConfig, [*layers, Layer("file", label, require_mapping(job, source=label))])


def _parse(text: str, *, suffix: str, source: str) -> Any:
    if suffix == ".json":
        return _parse_json(text, source=source)
    if suffix == ".jsonl":
        # Not splitlines: JSON may hold other characters that end a line, as they are.
        lines = enumerate(text.split("\n"), 1)
        return [
            _parse_json(line, source=f"{source}, line {number}") for number, line in lines if line.strip()
        ]
    return parse_yaml(text, source=source)


def _parse_json(text: str, *, source: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for key, count in Counter(key for key, _ in pairs).items():
            if count > 1:
                raise ConfigError(f"{source}: the key '{key}' is given twice.")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{source}, line {error.lineno}, column {error.colno}: {error.msg}.") from None
    except ValueError:  # Python refuses to read thousands of digits
        raise ConfigError(f"{source}: a number has too many digits.") from None
    except RecursionError:
        raise ConfigError(f"{source}: values are nested too deeply.") from None


def _require_different_outputs(configs: Sequence[AnimateConfig], *, source: str) -> None:
    outputs = Counter(config.output for config in configs if config.output is not None)
    for output, count in outputs.items():
        if count > 1:
            raise ConfigError(
                f"{source}: {count} jobs write '{output}'.", fix="Give each job its own `output`."
            )
