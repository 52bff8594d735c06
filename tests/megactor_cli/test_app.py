"""The error boundary: exit codes, one message each, and no traceback unless it is asked for."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from megactor_core.errors import ConfigError, Interrupted, MegActorError

ROOT = Path(__file__).resolve().parents[2]


def _raise(error: BaseException):
    def behave(_config) -> None:
        raise error

    return behave


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (MegActorError("It failed.", fix="Mend it."), 1, "It failed. Mend it."),
        (ConfigError("Wrong."), 2, "Wrong."),
        (Interrupted("Stopped.", fix="Add --resume."), 130, "Stopped. Add --resume."),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (OSError(errno.ENOSPC, "No space left on device", "o.mp4"), 1, "No space left on device: 'o.mp4'."),
        (MemoryError(), 1, "Not enough memory. Try a smaller --size or --window-batch."),
        (MegActorError("Not [bold]markup[/bold]: [a.png]"), 1, "Not [bold]markup[/bold]: [a.png]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_is_one_message_and_an_exit_code(core, megactor, error, exit_code, message) -> None:
    core.behave = _raise(error)
    result = megactor("animate", "--quiet", "--audio", "a.wav")
    assert (result.exit_code, result.out, result.err) == (exit_code, "", f"Error: {message}\n")


def test_an_unexpected_error_says_that_it_is_a_bug(core, megactor) -> None:
    core.behave = _raise(KeyError("weights\nsecond line"))
    result = megactor("animate", "--audio", "a.wav")
    assert result.exit_code == 1
    assert result.err.startswith("Error: This is a bug in megactor: KeyError")
    assert "MEGACTOR_DEBUG=1" in result.err
    assert "Traceback" not in result.err


def test_debug_lets_the_traceback_through(core, megactor, monkeypatch) -> None:
    core.behave = _raise(KeyError("weights"))
    monkeypatch.setenv("MEGACTOR_DEBUG", "1")
    with pytest.raises(KeyError):
        megactor("animate", "--audio", "a.wav")


def test_an_unexpected_error_is_json_where_json_is_asked_for(core, megactor) -> None:
    core.behave = _raise(KeyError("weights"))
    result = megactor("animate", "--json", "--audio", "a.wav")
    assert json.loads(result.out)["error"]["exit_code"] == 1


def test_an_unknown_command_offers_the_nearest(megactor) -> None:
    result = megactor("animat")
    assert result.exit_code == 2
    assert "animate" in result.err


def test_no_command_shows_the_help(megactor) -> None:
    result = megactor()
    assert result.exit_code == 2
    assert "animate" in result.out
    assert result.err == ""


def test_version(megactor) -> None:
    result = megactor("--version")
    assert result.exit_code == 0
    assert result.out.startswith("megactor ")


@pytest.mark.parametrize("command", [(), ("animate",), ("weights", "list")])
def test_help_is_short_too(megactor, command) -> None:
    result = megactor(*command, "-h")
    assert result.exit_code == 0
    assert result.out == megactor(*command, "--help").out


def test_the_module_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "megactor_cli", "animate", "--alpha", "11"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: --alpha is '11', but must be at most 10.0.\n"


def test_a_closed_pipe_is_silent() -> None:
    command = [sys.executable, "-m", "megactor_cli", "recipes", "list", "--json"]
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(command, cwd=ROOT, stdout=write_end, stderr=subprocess.PIPE, text=True)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, "")


# A shell starts background jobs with Ctrl-C ignored, and children inherit it: the handler is set here.
WAITING = """
import signal, sys, time, types
signal.signal(signal.SIGINT, signal.default_int_handler)
import megactor_cli.app as app
fake = types.ModuleType("megactor_core.animation.animate")
def animate(config, on_progress, on_note):
    try:
        print("started", file=sys.stderr, flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", file=sys.stderr, flush=True)
fake.animate = animate
sys.modules["megactor_core.animation.animate"] = fake
sys.argv = ["megactor", "animate", "--quiet", "--audio", "a.wav"]
app.main()
"""


@pytest.mark.parametrize(
    ("stop", "exit_code", "message"),
    [(signal.SIGINT, 130, "Error: Interrupted."), (signal.SIGTERM, 143, "Terminated.")],
)
def test_a_signal_unwinds_and_gives_its_exit_code(stop, exit_code, message) -> None:
    command = [sys.executable, "-c", WAITING]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "started\n"
        time.sleep(0.1)
        process.send_signal(stop)
        try:
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == exit_code
    assert sorted(err.splitlines()) == sorted(["cleaned up", message])
