"""Progress where there is no terminal, and results that survive a pipe."""

import io
import json
import sys
from pathlib import Path

import pytest

from megactor_cli import console as console_module
from megactor_cli.console import Console, human_bytes


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_come_at_a_phases_end_and_every_few_seconds(capsys, monkeypatch) -> None:
    clock = iter([0.0, 1.0, 6.0, 7.0, 8.0, 9.0, 20.0])
    monkeypatch.setattr(console_module.time, "monotonic", lambda: next(clock))
    with Console().progress() as on_progress:
        for done in (1, 2, 3, 4):
            on_progress("denoising", done, 4)
        on_progress("writing", 1, 0)
        on_progress("writing", 2, 0)
    assert capsys.readouterr().err.splitlines() == [
        "denoising: 2/4 (50 %), 0:00:10 left",
        "denoising: 4/4 (100 %)",
        "writing: 2",
    ]


def test_numbers_after_a_comma_change_within_a_phase(capsys, monkeypatch) -> None:
    clock = iter([0.0, 1.0, 11.0, 21.0])
    monkeypatch.setattr(console_module.time, "monotonic", lambda: next(clock))
    with Console().progress() as on_progress:
        for done in (1, 2, 3):
            on_progress(f"training, loss {1 / done:.1f}", done, 3)
    assert capsys.readouterr().err.splitlines() == [
        "training, loss 0.5: 2/3 (66 %), 0:00:10 left",
        "training, loss 0.3: 3/3 (100 %)",
    ]


def test_a_bar_goes_on_while_its_numbers_change_and_from_where_a_run_goes_on(monkeypatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Console().progress() as on_progress:
        on_progress("training, loss 0.5", 101, 200)
        bar = on_progress._bar
        on_progress("training, loss 0.4", 102, 200)
        assert on_progress._bar is bar
        assert (bar.initial, bar.n, bar.desc) == (101, 102, "training, loss 0.4")


def test_quiet_is_silent_but_for_warnings(capsys) -> None:
    console = Console(quiet=True)
    with console.progress() as on_progress:
        on_progress("denoising", 4, 4)
    console.note("a note")
    assert capsys.readouterr().err == ""
    console.warn("mend this")
    assert capsys.readouterr().err == "Warning: mend this\n"


def test_a_terminal_gets_a_bar_that_is_cleared_and_notes_between(monkeypatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    console = Console()
    with console.progress() as on_progress:
        on_progress("denoising", 1, 4)
        console.note("a note")
        on_progress("denoising", 4, 4)
        on_progress("writing", 1, 0)
    shown = terminal.getvalue()
    assert "denoising" in shown
    assert "a note\n" in shown
    assert not shown.rstrip().endswith("writing"), "the last bar is cleared"


def test_long_paths_are_not_broken_in_a_pipe(capsys) -> None:
    path = Path("/a" * 200) / "video.mp4"
    Console().result({"output": path})
    assert str(path) in capsys.readouterr().out
    Console().table(["file"], [[path]])
    assert str(path) in capsys.readouterr().out


def test_text_is_shown_as_it_is_not_as_markup(capsys) -> None:
    console = Console()
    console.facts({"[bold]key[/bold]": "[red]value[/red]"}, title="[x]")
    console.note("see [a.png]")
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["[x]", "  [bold]key[/bold]  [red]value[/red]", ""]
    assert captured.err == "see [a.png]\n"


def test_values_are_written_for_people(capsys) -> None:
    Console().facts({"a": None, "b": True, "c": 0.1 + 0.2, "d": ["x", "y"], "e": {"k": 1}, "f": []})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1] for line in lines] == ["-", "yes", "0.3", "x, y", "k: 1", "-"]


def test_json_keeps_text_and_paths(capsys) -> None:
    Console(json=True).result({"output": Path("ä.mp4"), "seconds": 1.5})
    assert json.loads(capsys.readouterr().out) == {"output": "ä.mp4", "seconds": 1.5}


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_070_000, "2.1 MB"), (3 * 10**12, "3.0 TB")],
)
def test_human_bytes(count: int, text: str) -> None:
    assert human_bytes(count) == text
