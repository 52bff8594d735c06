"""YAML is read as it is written, and bad YAML is one message with a place."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megactor_core.config.yaml_text import parse_yaml, read_text_file, to_yaml
from megactor_core.errors import ConfigError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_reads_back_equal(value: Any) -> None:
    again = parse_yaml(to_yaml(value), source="here")
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("yes", "yes"),
        ("true", True),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("1e-5", 1e-5),
        ("1.", 1.0),
        (".5", 0.5),
        ("010", 10),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("-3", -3),
        ("30000/1001", "30000/1001"),
        ("~", None),
        ("", None),
        ("[eyes, mouth]", ["eyes", "mouth"]),
    ],
)
def test_plain_values_mean_what_they_look_like(text: str, value: object) -> None:
    found = parse_yaml(text, source="here")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "here, line 2, column 1: the key 'a' is given twice"),
        ("a: {b: 1, c: 2, b: 3}", "here, line 1, column 17: the key 'b' is given twice"),
        ("a: [1\nb: 2", "here, line 2, column 2: "),
        ("a:\n\t- 1", "here, line 2, column 1: "),
        ("a: &x 1\nb: *x", "here, line 2, column 4: aliases"),
        ("a: !!python/object/apply:os.getcwd []", "here, line 1, column 4: tags"),
        ("a: !!timestamp nonsense", "tags"),
        ("? [1, 2]\n: 3", "here, line 1, column 3: "),
        ("a: \0", "here: "),
        ("a: " + "1" * 5000, "here: a number has too many digits"),
        ("[" * 5000, "here: values are nested too deeply"),
        ("--- 1\n--- 2", "here, line 2, column 1: "),
    ],
)
def test_bad_yaml_is_one_message_with_a_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, source="here")
    assert message in caught.value.message
    assert "\n" not in caught.value.message


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"#%@`,?~ \n\t01."), max_size=60))
def test_no_text_raises_anything_but_a_config_error(text: str) -> None:
    with suppress(ConfigError):
        parse_yaml(text, source="here")


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    binary = tmp_path / "a.yaml"
    binary.write_bytes(bytes(range(256)))
    with pytest.raises(ConfigError, match="not a text file"):
        read_text_file(binary, source="here")
    with pytest.raises(ConfigError, match="No such file"):
        read_text_file(tmp_path / "none.yaml", source="here")
    with pytest.raises(ConfigError, match="directory"):
        read_text_file(tmp_path, source="here")


def test_a_large_file_is_refused_before_it_is_read_whole(tmp_path: Path) -> None:
    large = tmp_path / "a.yaml"
    large.write_bytes(b"#" * 101)
    assert len(read_text_file(large, source="here", max_bytes=101)) == 101
    with pytest.raises(ConfigError, match="more than 100 bytes"):
        read_text_file(large, source="here", max_bytes=100)


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_text_file(path, source="here") == "a: 1"
