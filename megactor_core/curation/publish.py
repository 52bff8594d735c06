"""Writing what was found: the manifest, the summary and the report."""

from collections.abc import Sequence
from typing import Any

from megactor_core.config.curate import CurateConfig
from megactor_core.curation.contact_sheets import choose_clips
from megactor_core.curation.manifest import Judged, write_manifest
from megactor_core.curation.output import SUMMARY
from megactor_core.curation.pictures import kept_pictures, take_pictures
from megactor_core.curation.report import write_report
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
    """Write manifest.parquet, summary.json and report.html, each atomically, the report last.

    Where a job has run, frames of the clips that the report shows are read; without one nothing is decoded.
    Raises OutputError, and Interrupted where it is stopped while frames are read.
    """
    write_manifest(config.output, judged, config.rules)
    report = summarise(judged, config, missing=missing, job=job)
    write_json(config.output / SUMMARY, report.to_json())
    sheets = choose_clips(judged)
    shown = sheets.clips()
    if job is not None:
        take_pictures(shown, config)
    pictures = kept_pictures(shown, config.output)
    write_report(config.output, report, judged, config.rules, sheets=sheets, pictures=pictures)
    return report
