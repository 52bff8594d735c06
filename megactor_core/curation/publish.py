"""Writing what was found: the manifest and the summary."""

from collections.abc import Sequence
from typing import Any

from megactor_core.config.curate import CurateConfig
from megactor_core.curation.manifest import Judged, write_manifest
from megactor_core.curation.output import SUMMARY
from megactor_core.curation.summary import CurateReport, summarise
from megactor_core.engine.job import JobReport
from megactor_core.files import write_json


def publish(
    judged: Sequence[Judged],
    config: CurateConfig,
    *,
    missing: Sequence[dict[str, Any]],
    job: JobReport | None,
) -> CurateReport:
    """Write manifest.parquet and summary.json, atomically; raises OutputError."""
    write_manifest(config.output, judged, config.rules)
    report = summarise(judged, config, missing=missing, job=job)
    write_json(config.output / SUMMARY, report.to_json())
    return report
