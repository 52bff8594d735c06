"""megactor curate: raw video becomes a data set, and every clip says why it is in it or not."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megactor_cli.console import Console
from megactor_cli.options import (
    NO_METAVAR,
    Json,
    Overrides,
    Quiet,
    Recipe,
    Text,
    config_flag,
    config_option,
    fields_given,
    given_path,
)
from megactor_core.config.curate import CurateConfig
from megactor_core.config.recipes import load_config
from megactor_core.errors import UsageError
from megactor_core.pages.page import duration

if TYPE_CHECKING:
    from megactor_core.curation.summary import CurateReport

_IN, _WHAT, _WORK = "Inputs and output", "Decisions", "Work"
_AHEAD = "Before and while it runs"


def _of(field: str, panel: str, metavar: str) -> Any:
    return config_option(CurateConfig, field, panel=panel, metavar=metavar)


def curate(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[SOURCES]...",
            parser=given_path,
            help="Folders of videos, each a data set, or manifests (parquet). Default: every folder in "
            "data/raw.",
        ),
    ] = None,
    output: Annotated[Path | None, _of("output", _IN, "DIR")] = None,
    decide: Annotated[
        Text,
        typer.Option(
            "--decide",
            metavar="RECIPE",
            rich_help_panel=_WHAT,
            help="Decide anew by the rules of this recipe, on the measures in --output; nothing is decoded.",
        ),
    ] = None,
    audit: Annotated[Text, _of("audit", _WHAT, "SHARE")] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            metavar=NO_METAVAR,
            rich_help_panel=_AHEAD,
            help="Measure a sample in a temporary folder and say what all of it will cost and give.",
        ),
    ] = False,
    hours: Annotated[Text, _of("hours", _AHEAD, "H")] = None,
    status: Annotated[
        bool,
        typer.Option(
            "--status",
            metavar=NO_METAVAR,
            rich_help_panel=_AHEAD,
            help="Say how far the run in --output is, from any shell; nothing is touched.",
        ),
    ] = False,
    engine: Annotated[Text, _of("engine", _WORK, "NAME")] = None,
    ray_address: Annotated[Text, _of("ray_address", _WORK, "ADDRESS")] = None,
    workers: Annotated[Text, _of("workers", _WORK, "N")] = None,
    retry_errors: Annotated[bool | None, config_flag(CurateConfig, "retry_errors", panel=_WORK)] = None,
    recipe: Recipe = None,
    overrides: Overrides = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure clips and keep the good ones: face, sound, sync, shots, sharpness.

    Recipes are default (no downloaded weights), paper, released and tiny. Every clip is a row of
    manifest.parquet with its measures and each rule that it breaks; sources are never changed. A run that was
    interrupted goes on where it was when it is given again.

    Example: megactor curate data/raw/hdtf --output data/curated --workers 8
    """
    _require_one_mode(dry_run=dry_run, status=status, decide=decide is not None, hours=hours)
    given = fields_given(CurateConfig, locals()) | {"sources": tuple(sources) if sources else None}
    if decide is not None:
        _require_nothing_but_rules(sources, recipe)
    if status and sources:
        raise UsageError(
            f"--status reads the run in --output, not '{sources[0]}'.", fix="Leave the sources out."
        )
    config = load_config(
        CurateConfig,
        command="curate",
        recipe=recipe if decide is None else decide,
        overrides=overrides or (),
        options=given,
    )
    console = Console(json=json, quiet=quiet)
    if status:
        _tell_status(config, console)
    elif dry_run:
        _foretell(config, console)
    else:
        report = _measure(config, console) if decide is None else _decide(config, console)
        if console.json:
            console.print_json(report.to_json())
        else:
            _show(report, console)


def _require_one_mode(*, dry_run: bool, status: bool, decide: bool, hours: str | None) -> None:
    modes = {"--dry-run": dry_run, "--status": status, "--decide": decide}
    given = [name for name, is_given in modes.items() if is_given]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} do not go together.", fix="Give one of them.")
    if hours is not None and not dry_run:
        raise UsageError("--hours says to what a dry run is projected.", fix="Add --dry-run.")


def _require_nothing_but_rules(sources: list[Path] | None, recipe: str | None) -> None:
    if sources:
        raise UsageError(
            f"--decide reads the measures in --output, not '{sources[0]}'.", fix="Leave the sources out."
        )
    if recipe is not None:
        raise UsageError(
            f"--decide names the recipe already, and --recipe {recipe} another one.",
            fix="Leave --recipe out.",
        )


def _measure(config: CurateConfig, console: Console) -> "CurateReport":
    from megactor_core.curation.curate import curate as run

    with console.progress() as on_progress:
        return run(config, on_progress=on_progress, on_note=console.note)


def _decide(config: CurateConfig, console: Console) -> "CurateReport":
    from megactor_core.curation.decide_again import decide_again

    return decide_again(config, on_note=console.note)


def _foretell(config: CurateConfig, console: Console) -> None:
    from megactor_cli.curate_dry_run import show_dry_run
    from megactor_core.curation.dry_run import dry_run

    with console.progress() as on_progress:
        report = dry_run(config, on_progress=on_progress, on_note=console.note)
    if console.json:
        console.print_json(report.to_json())
    else:
        show_dry_run(report, console)


def _tell_status(config: CurateConfig, console: Console) -> None:
    from megactor_cli.curate_status import show_status
    from megactor_core.curation.status import read_status

    status = read_status(config)
    if console.json:
        console.print_json(status.to_json())
    else:
        show_status(status, console)


def _show(report: "CurateReport", console: Console) -> None:
    console.facts(
        {
            "kept": f"{report.kept} of {report.clips} clips, {duration(3600 * report.kept_hours)} of "
            f"{duration(3600 * report.raw_hours)}",
            "rejected": report.rejected,
            **({"to be measured": report.pending} if report.pending else {}),
            "errors": f"{report.errors} ({_counts(report.errors_by_kind)})" if report.errors else 0,
            "time": f"{report.wall_seconds:.1f} s, {report.worker_cpu_seconds:.1f} s of processor time",
            "manifest": report.manifest,
            "report": report.report,
        }
    )
    _show_reasons(report, console)
    _show_datasets(report, console)
    _show_caveats(report, console)


def _show_reasons(report: "CurateReport", console: Console) -> None:
    if report.reasons:
        console.text("\n")
        rows = [
            [name, count, report.first_reasons.get(name, 0), _checked(report, name)]
            for name, count in report.reasons.items()
        ]
        console.table(["rule", "breaks it", "as the first", "of clips measured"], rows)


def _checked(report: "CurateReport", rule: str) -> object:
    fared = report.rules.get(rule)
    return "-" if fared is None else fared.checked


def _show_datasets(report: "CurateReport", console: Console) -> None:
    console.text("\n")
    rows = [
        [
            name if which == "raw" else "",
            which,
            group[which]["clips"],
            duration(3600 * group[which]["hours"]),
            _face(group[which]["means"]),
            *(_short(group[which]["means"][column]) for column in ("sync_c", "sync_d")),
            _short(group[which]["means"]["rotation_magnitude_mean"]),
        ]
        for name, group in report.datasets.items()
        for which in ("raw", "kept")
    ]
    console.table(["data set", "", "clips", "length", "mean face", "Sync-C", "Sync-D", "rotation"], rows)


def _show_caveats(report: "CurateReport", console: Console) -> None:
    for item in report.not_measured:
        instead = f" In its place: {item['instead']}." if item["instead"] else ""
        console.text(f"\nNot measured: {item['what']}.{instead} {item['fix']}\n")
    if report.idle_rules:
        console.text(f"Rules left out for it: {', '.join(report.idle_rules)}.\n")
    audit = report.audit
    if audit.clips:
        wrong = f"{_counts(audit.false_rejects)}" if audit.false_rejects else "none of them wrongly"
        console.text(
            f"\nAudit: first looks reject {audit.rejected_by_screens} of {audit.clips} clips, {wrong}.\n"
        )


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.items())


def _face(means: dict[str, float | None]) -> str:
    width, height = means["face_width_mean"], means["face_height_mean"]
    return "-" if width is None or height is None else f"{width:.0f}x{height:.0f}"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
