"""megactor evaluate: one command, a stated protocol, comparable numbers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from megactor_cli.console import Console
from megactor_cli.options import (
    Json,
    Overrides,
    Quiet,
    Recipe,
    Text,
    comma_list,
    config_flag,
    config_option,
    fields_given,
)
from megactor_core.config.evaluate import METRIC_NAMES, EvaluateConfig
from megactor_core.config.recipes import (
    Layer,
    build_config,
    config_layers,
    find_recipe,
    option_name,
    read_recipe,
)

if TYPE_CHECKING:
    from megactor_core.evaluation.compare import Comparison
    from megactor_core.evaluation.controls import ControlValue
    from megactor_core.evaluation.result import EvaluateResult, MetricValue, SetResult

_IN, _WHAT, _WORK = "What is compared", "Metrics", "Work"


def _of(field: str, panel: str, metavar: str) -> Any:
    return config_option(EvaluateConfig, field, panel=panel, metavar=metavar)


def evaluate(
    generated: Annotated[Path | None, _of("generated", _IN, "DIR")] = None,
    real: Annotated[Path | None, _of("real", _IN, "DIR")] = None,
    checkpoint: Annotated[Path | None, _of("checkpoint", _IN, "DIR")] = None,
    data: Annotated[Path | None, _of("data", _IN, "DIR")] = None,
    modes: Annotated[
        Text,
        typer.Option(
            "--modes",
            metavar="A,V,A+V",
            rich_help_panel=_IN,
            help="What drives the generated clips: their sound, their video, or both, as in the paper's "
            "Table 3. Default: all three.",
        ),
    ] = None,
    clips: Annotated[Text, _of("clips", _IN, "N")] = None,
    compare: Annotated[tuple[Path, Path] | None, _of("compare", _IN, "A B")] = None,
    output: Annotated[Path | None, _of("output", _IN, "DIR")] = None,
    metrics: Annotated[
        Text,
        typer.Option(
            "--metrics",
            metavar="NAMES",
            rich_help_panel=_WHAT,
            help=f"Metrics asked for by name: {', '.join(METRIC_NAMES)}. Missing weights are then an error. "
            "Default: the protocol's.",
        ),
    ] = None,
    protocol: Annotated[Text, _of("protocol", _WHAT, "NAME")] = None,
    size: Annotated[Text, _of("size", _WHAT, "N")] = None,
    batch_size: Annotated[Text, _of("batch_size", _WORK, "N")] = None,
    deterministic: Annotated[bool | None, config_flag(EvaluateConfig, "deterministic", panel=_WORK)] = None,
    device: Annotated[Text, _of("device", _WORK, "NAME")] = None,
    engine: Annotated[Text, _of("engine", _WORK, "NAME")] = None,
    ray_address: Annotated[Text, _of("ray_address", _WORK, "ADDRESS")] = None,
    workers: Annotated[Text, _of("workers", _WORK, "N")] = None,
    retry_errors: Annotated[bool | None, config_flag(EvaluateConfig, "retry_errors", panel=_WORK)] = None,
    recipe: Recipe = None,
    overrides: Overrides = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score generated clips against real ones, by a stated protocol.

    Two folders are paired by name; or a checkpoint first animates the held-out clips of a preprocessed
    folder. Protocols are quick (no downloaded weights), paper-hdtf and paper-ccv2. A run that was
    interrupted goes on where it was when it is given again.

    Example: megactor evaluate --generated outputs --real data/real --metrics psnr,ssim,faces
    """
    given = fields_given(EvaluateConfig, locals())
    lists = {name: comma_list(given[name]) for name in ("metrics", "modes") if given[name] is not None}
    config = build_config(
        EvaluateConfig, _layers(protocol, recipe=recipe, overrides=overrides or [], options=given | lists)
    )
    console = Console(json=json, quiet=quiet)
    if config.compare is not None:
        _compare(config, console)
    else:
        _evaluate(config, console)


def _layers(
    protocol: str | None, *, recipe: str | None, overrides: list[str], options: dict[str, Any]
) -> list[Layer]:
    """A protocol is a recipe below all others."""
    layers = config_layers(command="evaluate", recipe=recipe, overrides=overrides, options=options)
    if protocol is None:
        return layers
    path = find_recipe("evaluate", protocol)
    values = {"protocol": path.stem, **read_recipe(path)}
    named = [layer for layer in layers if layer.label != option_name("protocol")]
    return [Layer("file", f"protocol '{protocol}'", values), *named]


def _evaluate(config: EvaluateConfig, console: Console) -> None:
    from megactor_core.evaluation.run import evaluate as run

    with console.progress() as on_progress:
        result = run(config, on_progress=on_progress, on_note=console.note)
    if console.json:
        console.print_json(result.to_json())
    else:
        _show(result, console)
    for mode, one in result.sets.items():
        for warning in one.warnings:
            console.warn(f"{mode}: {warning}" if mode else warning)
        for failure in one.failures:
            console.warn(f"{failure.name}: {failure.error}")
    if not result.measured:
        console.warn(f"No pair was measured; the reasons are in '{result.output}'.")
        raise typer.Exit(1)


def _show(result: "EvaluateResult", console: Console) -> None:
    from megactor_core.evaluation.paper_tables import paper_tables

    for table in paper_tables(result):
        console.text(f"{table.title}\n")
        console.table(table.columns, table.rows)
        console.text("\n")
    if list(result.sets) == [""]:
        _show_metrics(result.sets[""], console)
    else:
        _show_modes(result, console)
    _show_missing(result, console)
    _show_control(result, console)
    protocol = result.protocol
    changed = f", changed: {', '.join(protocol['changed'])}" if protocol["changed"] else ""
    if protocol["left_open"]:
        console.text("Not stated by the paper, and done here so:\n")
        console.text("".join(f"  {line}\n" for line in protocol["left_open"]))
        console.text("\n")
    console.facts(
        {
            "protocol": f"{protocol['name']}{changed}",
            "result": result.output / "metrics.json",
            "report": result.output / "report.html",
        }
    )


def _show_metrics(one: "SetResult", console: Console) -> None:
    from megactor_core.evaluation.catalogue import BY_NAME

    rows = [
        [
            f"{BY_NAME[name].title}{BY_NAME[name].arrow}",
            _number(found.value),
            _interval(found),
            found.unit or "",
            found.count,
            found.preprocessing,
        ]
        for name, found in one.metrics.items()
    ]
    console.table(["metric", "mean", "95 % interval", "unit", "clips", "preprocessing"], rows)
    console.text("\n")


def _show_modes(result: "EvaluateResult", console: Console) -> None:
    """The means of all modes side by side; their intervals are in metrics.json."""
    from megactor_core.evaluation.catalogue import MEASURES

    found = [one.metrics for one in result.sets.values()]
    rows = [
        [
            f"{measure.title}{measure.arrow}",
            *(_number(metrics[measure.name].value) if measure.name in metrics else "-" for metrics in found),
            measure.unit,
            result.preprocessing[measure.metric],
        ]
        for measure in MEASURES
        if any(measure.name in metrics for metrics in found)
    ]
    console.table(["metric", *result.sets, "unit", "preprocessing"], rows)
    console.text("\n")


def _show_missing(result: "EvaluateResult", console: Console) -> None:
    rows = [
        [f"{mode}: {metric}" if mode else metric, why["reason"], why["fix"]]
        for mode, one in result.sets.items()
        for metric, why in one.missing.items()
    ]
    if rows:
        console.table(["not taken", "because", "what to do"], rows)
        console.text("\n")


def _show_control(result: "EvaluateResult", console: Console) -> None:
    if result.control is not None:
        rows = [
            [name.replace("_", " "), _number(found.value), _interval(found), found.count]
            for name, found in result.control.measures.items()
        ]
        console.table(["control", "mean", "95 % interval", "clips"], rows)
        console.text("\n")


def _interval(found: "MetricValue | ControlValue") -> str:
    if found.interval is None:
        return "-"
    low, high = found.interval
    return f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    return f"{value:.5g}"


def _compare(config: EvaluateConfig, console: Console) -> None:
    from megactor_core.evaluation.compare import compare
    from megactor_core.evaluation.comparison_report import write_comparison

    assert config.compare is not None
    comparison = compare(*config.compare, seed=config.bootstrap_seed)
    report = write_comparison(comparison, output=config.output)
    if console.json:
        console.print_json({**comparison.to_json(), "report": str(report)})
    else:
        _show_comparison(comparison, console)
        console.text("\n")
        console.facts({"report": report})
    for warning in comparison.warnings:
        console.warn(warning)


def _show_comparison(comparison: "Comparison", console: Console) -> None:
    rows = [
        [row.title, _number(row.a), _number(row.b), _signed(row.difference), _span(row.interval), row.verdict]
        for row in comparison.rows
    ]
    console.facts({"A": comparison.a, "B": comparison.b})
    console.table(["metric", "A", "B", "B - A", "95 % interval", "better"], rows)


def _signed(value: float) -> str:
    return f"{value:+.5g}"


def _span(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{_signed(interval[0])} to {_signed(interval[1])}"
