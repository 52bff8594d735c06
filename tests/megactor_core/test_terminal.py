"""What compiled code writes to the standard error, and what of it is seen."""

import os

import pytest

from megactor_core.terminal import native_log_silenced


def test_native_text_is_kept_back_inside_alone(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(2, b"before ")
    with native_log_silenced():
        os.write(2, b"notice ")
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"


def test_an_error_passes_and_gives_the_terminal_back(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="inside"), native_log_silenced():
        raise ValueError("inside")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"
