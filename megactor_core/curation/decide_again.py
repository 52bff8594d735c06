"""megactor curate --decide: other rules, the same measures."""

from pathlib import Path
from typing import Any

from megactor_core.config.curate import CurateConfig
from megactor_core.config.recipes import save_config
from megactor_core.curation.manifest import judge
from megactor_core.curation.output import CONFIG, JOURNAL, LOCK, SUMMARY, earlier_config
from megactor_core.curation.publish import publish
from megactor_core.curation.rows import as_they_are
from megactor_core.curation.sources import Sources
from megactor_core.curation.summary import CurateReport
from megactor_core.engine.journal import Journal
from megactor_core.files import read_json, sole_owner
from megactor_core.listener import Listener, OnNote


def decide_again(config: CurateConfig, on_note: OnNote | None = None) -> CurateReport:
    """Decide on the clips of an output by other rules, from the measures that are there: nothing is decoded.

    Only the rules of `config` are taken, and its output; how things were measured stays. Clips that only a
    rule kept from being measured on are pending. Raises UsageError where there is no output, OutputError
    where a run is at work there.
    """
    listener = Listener.of(None, on_note)
    earlier = earlier_config(config)
    if earlier.measure != config.measure:
        listener.note(
            "The recipe's settings of measuring are not those of the measures; only its rules count."
        )
    decided = earlier.updated(output=config.output, rules=config.rules.model_dump())
    with sole_owner(config.output / LOCK):
        journal = Journal(config.output / JOURNAL)
        judged = judge(as_they_are(journal.results(), Sources(())), decided.rules)
        save_config(decided, config.output / CONFIG)
        report = publish(judged, decided, missing=_missing(config.output / SUMMARY), job=None)
    if report.pending:
        listener.note(
            f"{report.pending} clips were stopped by rules that are looser now; the same command without "
            "--decide measures what is missing of them."
        )
    return report


def _missing(summary: Path) -> list[dict[str, Any]]:
    """What the measuring run could not measure, as it said."""
    try:
        found = read_json(summary).get("not_measured", [])
    except (OSError, ValueError, AttributeError):
        return []
    return found if isinstance(found, list) else []
