"""The terminal: results on stdout, everything else on stderr. The only file that imports rich and tqdm."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any

from rich import box
from rich.console import Console as RichConsole
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from megactor_core.errors import MegActorError, printable

if TYPE_CHECKING:
    from tqdm import tqdm

OnProgress = Callable[[str, int, int], None]
"""Called as on_progress(phase, done, total); total is 0 where it is not known. After a comma the phase may
hold numbers that change: `training, loss 0.12`."""

SECONDS_BETWEEN_LINES = 5.0
"""Pause between progress lines where stderr is a file or a CI log."""
_NO_WRAP_COLUMNS = 100_000


class Console:
    """What one command says. `json`: the result is one JSON object; `quiet`: no progress and no notes."""

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json = json
        self.quiet = quiet
        self._out = _rich(sys.stdout)
        self._err = _rich(sys.stderr)
        self._bars: _Bars | None = None

    def note(self, text: str) -> None:
        """A plain remark; silent with --quiet."""
        if not self.quiet:
            self._say(Text(printable(text)))

    def warn(self, text: str) -> None:
        """Something the user should mend; shown with --quiet too."""
        self._say(Text.assemble(("Warning: ", "yellow"), printable(text)))

    def error(self, error: MegActorError) -> None:
        """A failure: one message on stderr, or `{"error": ...}` on stdout with --json."""
        if self.json:
            self.print_json({"error": describe_error(error)})
        else:
            fix = f" {error.fix}" if error.fix else ""
            self._say(Text.assemble(("Error: ", "bold red"), (error.message, "red"), fix))

    def result(self, report: Mapping[str, Any]) -> None:
        """A command's report: a JSON object with --json, else its keys and values."""
        if self.json:
            self.print_json(report)
        else:
            self.facts({key.replace("_", " "): value for key, value in report.items()})

    def facts(self, facts: Mapping[str, Any], *, title: str = "") -> None:
        """Keys and values, one a line, on stdout; under a title they are indented."""
        grid = Table.grid(padding=(0, 2), pad_edge=False)
        for key, value in facts.items():
            grid.add_row(Text(key, style="cyan"), Text(_plain(value)))
        if title:
            self._out.print(Text(title, style="bold"))
        self._print(Padding(grid, (0, 0, 1, 2)) if title else grid)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Rows under headings, on stdout."""
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="cyan")
        for column in columns:
            table.add_column(Text(column), overflow="fold")
        for row in rows:
            table.add_row(*[Text(_plain(cell)) for cell in row])
        self._print(table)

    def batch(self, reports: Sequence[Mapping[str, Any]], *, failed: int) -> None:
        """The reports of many jobs; a failed one is `{"error": ...}`."""
        if self.json:
            self.print_json({"jobs": list(reports), "failed": failed})
            return
        self.table(
            ["job", "result"], [[number, _outcome(report)] for number, report in enumerate(reports, 1)]
        )

    def text(self, text: str) -> None:
        """Text as it is, on stdout."""
        self._out.print(Text(text), end="", soft_wrap=True)

    def print_json(self, value: Mapping[str, Any]) -> None:
        """One JSON object on stdout."""
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")

    @contextmanager
    def progress(self) -> Iterator[OnProgress]:
        """A callback for the core that shows a bar on a terminal, and a line now and then elsewhere."""
        if self.quiet:
            yield _ignore
        elif sys.stderr.isatty():
            self._bars = _Bars()
            try:
                yield self._bars
            finally:
                self._bars.close()
                self._bars = None
        else:
            yield _Lines()

    def _print(self, content: Table | Padding) -> None:
        with self._out.capture() as captured:
            self._out.print(content)
        # Cells are padded to their column; the last one's padding would only clutter what is copied.
        for line in captured.get().splitlines():
            sys.stdout.write(line.rstrip() + "\n")

    def _say(self, text: Text) -> None:
        if self._bars is None:
            self._err.print(text)
        else:
            self._bars.write_around(lambda: self._err.print(text))


def describe_error(error: MegActorError) -> dict[str, Any]:
    """An error as it appears in JSON."""
    return {
        "type": type(error).__name__,
        "message": error.message,
        "fix": error.fix,
        "exit_code": error.exit_code,
    }


def human_bytes(count: int) -> str:
    """A size with a decimal unit: 1.9 MB."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


class _Bars:
    """One tqdm bar a phase, on a terminal; what a phase says after a comma changes within its bar."""

    def __init__(self) -> None:
        self._phase = ""
        self._bar: tqdm | None = None

    def __call__(self, phase: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if self._bar is None or _name_of(self._phase) != _name_of(phase) or done < self._bar.n:
            self.close()
            self._bar = tqdm(
                total=total or None, initial=done, leave=False, dynamic_ncols=True, file=sys.stderr
            )
        if self._phase != phase:
            self._phase = phase
            self._bar.set_description_str(phase, refresh=False)
        self._bar.total = total or None
        self._bar.update(done - self._bar.n)

    def write_around(self, write: Callable[[], None]) -> None:
        """Clear the bar, write, and draw it again below."""
        from tqdm import tqdm

        with tqdm.external_write_mode(file=sys.stderr):
            write()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class _Lines:
    """The end of every phase, and a line every few seconds within it."""

    def __init__(self) -> None:
        self._printed_at = time.monotonic()
        self._name, self._began, self._began_at = "", 0, 0.0

    def __call__(self, phase: str, done: int, total: int) -> None:
        now = time.monotonic()
        if _name_of(phase) != self._name or done < self._began:
            self._name, self._began, self._began_at = _name_of(phase), done, now
        if done != total and now - self._printed_at < SECONDS_BETWEEN_LINES:
            return
        self._printed_at = now
        amount = f"{done}/{total} ({100 * done // total} %)" if total else str(done)
        sys.stderr.write(f"{phase}: {amount}{self._left(now, done, total)}\n")
        sys.stderr.flush()

    def _left(self, now: float, done: int, total: int) -> str:
        """The time that the rest of the phase takes at the pace so far."""
        if done >= total or done <= self._began:
            return ""
        seconds = (now - self._began_at) * (total - done) / (done - self._began)
        return f", {timedelta(seconds=round(seconds))} left"


def _name_of(phase: str) -> str:
    """What stays of a phase while its numbers change: `training, loss 0.12` is `training`."""
    return phase.partition(",")[0]


def _ignore(_phase: str, _done: int, _total: int) -> None:
    """No progress."""


def _rich(file: IO[str]) -> RichConsole:
    # In a pipe a wrapped path is a broken path.
    return RichConsole(file=file, highlight=False, width=None if file.isatty() else _NO_WRAP_COLUMNS)


def _outcome(report: Mapping[str, Any]) -> str:
    if "error" in report:
        return f"{report['error']['message']} {report['error']['fix']}".strip()
    return str(report["output"])


def _plain(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case list() | tuple():
            return ", ".join(_plain(item) for item in value) or "-"
        case dict():
            return ", ".join(f"{key}: {_plain(item)}" for key, item in value.items()) or "-"
        case _:
            return printable(str(value))
