"""megactor demo: the whole chain at toy scale, and a page that shows it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from megactor_core.demo.chain import steps_of
from megactor_core.demo.record import Record, StepTime
from megactor_core.demo.report import write_report
from megactor_core.demo.step import Shown, Step
from megactor_core.demo.workplace import FAST, FULL, DefaultModel, Scale, Workplace
from megactor_core.errors import Interrupted
from megactor_core.files import require_writable_folder, sole_owner
from megactor_core.listener import Listener, OnNote, OnProgress

LOCK: Final = ".lock"


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What the demo made; `to_json` has the keys of `demo --json`."""

    report: Path
    """The page."""
    videos: tuple[Path, ...]
    """The example, animated."""
    steps: dict[str, StepTime]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "report": str(self.report),
            "videos": [str(path) for path in self.videos],
            "steps": {name: asdict(time) for name, time in self.steps.items()},
        }


def run_demo(
    output: Path,
    *,
    fast: bool = False,
    on_progress: OnProgress | None = None,
    on_note: OnNote | None = None,
) -> DemoReport:
    """Make data, train for a moment, animate the example, measure, and write report.html into `output`.

    The same call goes on after an interruption; what is done is not done again. `fast`: less of everything.
    Raises OutputError where the folder holds something else or a demo of another size or checkpoint, and
    what each step raises.
    """
    return run_at_scale(
        output, FAST if fast else FULL, listener=Listener.of(on_progress=on_progress, on_note=on_note)
    )


def run_at_scale(output: Path, scale: Scale, *, listener: Listener) -> DemoReport:
    """`run_demo` at any scale."""
    workplace = Workplace(output, scale, DefaultModel.find())
    record = Record(output, _settings(workplace))
    require_writable_folder(output)
    with sole_owner(output / LOCK), _told_how_to_go_on():
        record.write()
        steps = steps_of(workplace)
        shown = list(_work(steps, record, listener))
        times = [record.times[step.name] for step in steps]
        write_report(workplace, list(zip(steps, shown, times, strict=True)))
    return DemoReport(
        report=workplace.report,
        videos=tuple(path for one in shown for path in one.videos),
        steps=dict(zip((step.name for step in steps), times, strict=True)),
    )


def _settings(workplace: Workplace) -> dict[str, Any]:
    """What a folder is begun with."""
    amounts = asdict(workplace.scale)
    model = workplace.model
    return {
        "scale": amounts.pop("name"),
        "checkpoint": model.info.name,
        "checkpoint_sha256": model.sha256,
        **amounts,
    }


def _work(steps: Sequence[Step], record: Record, listener: Listener) -> Iterator[Shown]:
    for number, step in enumerate(steps, start=1):
        listener.note(f"Step {number} of {len(steps)}: {step.name}.")
        with record.timed(step.name):
            shown = step.work(_in_step(listener, f"{number}/{len(steps)} {step.name}"))
        yield shown


def _in_step(listener: Listener, prefix: str) -> Listener:
    """The listener with the step in front of each phase."""
    return Listener(
        progress=lambda phase, done, total: listener.progress(f"{prefix}: {phase}", done, total),
        note=listener.note,
    )


@contextmanager
def _told_how_to_go_on() -> Iterator[None]:
    """What stops a step says how to go on with the step; here it is said for the demo."""
    fix = "Run the same command again to go on."
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("Interrupted.", fix=fix) from None
    except Interrupted as stop:
        raise type(stop)(stop.message, fix=fix) from None
