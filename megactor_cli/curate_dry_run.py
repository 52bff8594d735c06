"""What `megactor curate --dry-run` prints."""

from typing import TYPE_CHECKING

from megactor_cli.console import Console, human_bytes

if TYPE_CHECKING:
    from megactor_core.curation.estimate import Interval
    from megactor_core.curation.projection import DryRunReport, GateCost, Projection


def show_dry_run(report: "DryRunReport", console: Console) -> None:
    """Gates with their cost and pass rates, then what all of it costs and gives."""
    console.facts(
        {
            "measured": f"{report.measured:,} of {report.clips:,} clips, in {report.wall_seconds:.1f} s with "
            f"{report.worker_cpu_seconds:.1f} s of processor time; nothing is kept of it",
            "data sets": [
                f"{name}: {sample.measured:,} of {sample.clips:,}" for name, sample in report.datasets.items()
            ],
            "came out": [f"{name}: {count}" for name, count in report.statuses.items()],
        }
    )
    console.text("\n")
    _show_gates(report, console)
    console.text("\n")
    _show_projections(report, console)
    for remark in report.remarks:
        console.text(f"\n{remark}\n")


def _show_gates(report: "DryRunReport", console: Console) -> None:
    has_gpu = any(gate.gpu_seconds is not None for gate in report.gates)
    columns = [
        "gate",
        "clips",
        "pass",
        "core time a clip",
        *(["GPU time a clip"] if has_gpu else []),
        "of the cost",
    ]
    rows = [_gate(gate, report, has_gpu=has_gpu) for gate in report.gates]
    rest = report.rest_cpu_seconds
    share = rest.value * report.clips / 3600
    rows.append(["around them", report.measured, "-", _seconds(rest), *["-"] * has_gpu, _part(share, report)])
    rows.append(["kept", report.measured, _percent(report.kept_share), "", *[""] * has_gpu, ""])
    console.table(columns, rows)


def _gate(gate: "GateCost", report: "DryRunReport", *, has_gpu: bool) -> list[object]:
    return [
        gate.gate,
        gate.clips,
        _percent(gate.pass_share),
        _seconds(gate.cpu_seconds),
        *([_seconds(gate.gpu_seconds)] if has_gpu else []),
        _part(gate.core_hours.value, report),
    ]


def _show_projections(report: "DryRunReport", console: Console) -> None:
    columns = {"these sources": report.sources}
    if report.hours is not None:
        columns[f"{_number(report.hours.raw_hours.value)} h like them"] = report.hours
    machine = report.machine
    where = _plural(machine.cores, "core") + (f", {_plural(machine.gpus, 'GPU')}" if machine.gpus else "")
    projections = columns.values()
    console.table(
        ["", *columns],
        [
            ["clips", *(f"{one.clips:,.0f}" for one in projections)],
            ["raw video", *(_hours(one.raw_hours) for one in projections)],
            ["kept", *(_hours(one.kept_hours) for one in projections)],
            ["core-hours", *(_amount(one.core_hours) for one in projections)],
            ["GPU-hours", *(_amount(one.gpu_hours) for one in projections)],
            [f"time on {where}", *(_hours(one.wall_hours) for one in projections)],
            ["manifest", *(human_bytes(round(one.bytes.manifest)) for one in projections)],
            ["journal", *(human_bytes(round(one.bytes.journal)) for one in projections)],
            ["crops, passing", *(_crops(one) for one in projections)],
        ],
    )
    if machine.gpu_note:
        console.text(f"No GPU-hours: {machine.gpu_note}.\n")
    console.text("In brackets: 95 % intervals.\n")


def _crops(projection: "Projection") -> str:
    return human_bytes(round(projection.bytes.crops)) if projection.bytes.crops else "-"


def _percent(share: "Interval | None") -> str:
    if share is None:
        return "-"
    return f"{100 * share.value:.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f})"


def _seconds(seconds: "Interval | None") -> str:
    if seconds is None:
        return "-"
    unit, scaled = ("s", seconds) if seconds.value >= 1 else ("ms", seconds.times(1000))
    return f"{_number(scaled.value)} {unit} ({_number(scaled.low)} to {_number(scaled.high)})"


def _part(core_hours: float, report: "DryRunReport") -> str:
    whole = report.sources.core_hours.value
    return f"{100 * core_hours / whole:.1f} %" if whole else "-"


def _amount(amount: "Interval | None") -> str:
    if amount is None:
        return "-"
    return f"{_number(amount.value)} ({_number(amount.low)} to {_number(amount.high)})"


def _hours(hours: "Interval") -> str:
    """In one unit, that of the estimate."""
    units = {"h": 1.0, "min": 1 / 60, "s": 1 / 3600}
    unit, size = next((one for one in units.items() if hours.value >= one[1]), ("s", units["s"]))
    scaled = hours.times(1 / size)
    low, high = _number(scaled.low), _number(scaled.high)
    bounds = "" if low == high else f" ({low} to {high})"
    return f"{_number(scaled.value)} {unit}{bounds}"


def _number(value: float) -> str:
    """Three digits that count, and no powers of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.001 else f"{value:.1g}"


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
