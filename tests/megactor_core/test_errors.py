"""What is told of other libraries' errors."""

import pytest

from megactor_core.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("bad\nand more"), "bad"),
        (OSError(2, "No such file", "a"), "[Errno 2] No such file: 'a'"),
        (RuntimeError("\n  later \n"), "later"),
        (KeyError(), "KeyError"),
    ],
)
def test_one_line_is_told_and_never_none(error: Exception, line: str) -> None:
    assert first_line(error).strip() == line
