"""The YAML text itself: what is read, and what is refused with its line."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpvm.abi.errors import ConfigError
from mpvm.config import document, load_config

WriteConfig = Callable[[str], Path]


def test_every_key_has_its_line() -> None:
    parsed = document.parse("a: 1\nb:\n  c: [x,\n    y]\n", "f")
    assert parsed.data == {"a": 1, "b": {"c": ["x", "y"]}}
    assert parsed.lines == {("a",): 1, ("b",): 2, ("b", "c"): 3, ("b", "c", 0): 3, ("b", "c", 1): 4}


def test_scalars_are_what_json_has_and_the_rest_is_text() -> None:
    text = "[1, 0x10, 1.5, true, ~, word, 2024-01-01, !!binary aGk=]"
    assert document.parse(text, "f").data == [1, 16, 1.5, True, None, "word", "2024-01-01", "aGk="]


def test_an_alias_stands_for_what_it_names() -> None:
    assert document.parse("a: &x [1]\nb: *x\n", "f").data == {"a": [1], "b": [1]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "f:3: a: given twice, first on line 1; once is right"),
        ("m:\n  s: 1\n  s: 2\n", "f:3: m.s: given twice, first on line 2; once is right"),
        ("a: [1\nb: 2\n", "f:2: not YAML: "),
        ("a:\n\t- b\n", "f:2: not YAML: "),
        ("a: *nobody\n", "f:1: not YAML: "),
        ("a: 1\n---\nb: 2\n", "f:2: not YAML: "),
        ("[a, b]: c\n", "f:1: a key is a collection, a word is right"),
        ("a: &x\n  b: *x\n", "f:1: too large or too deep"),
        ("[" * 200 + "]" * 200, "f:1: too large or too deep"),
        ("a: \x07\n", "f: not YAML: "),
        ("a: !!int word\n", "f:1: word: "),
    ],
)
def test_what_is_no_configuration_text_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        document.parse(text, "f")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_short_text_that_means_an_endless_document_is_refused() -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 14))]
    with pytest.raises(ConfigError, match="too large or too deep"):
        document.parse("\n".join(lines), "f")


@given(st.text())
def test_any_text_is_read_or_refused_as_a_configuration_error(text: str) -> None:
    # Any other exception fails this.
    with contextlib.suppress(ConfigError):
        document.parse(text, "f")


@pytest.mark.parametrize("text", ["- a\n", "word\n", "4\n"])
def test_a_text_without_sections_is_no_configuration(write_config: WriteConfig, text: str) -> None:
    path = write_config(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}: not a configuration, sections such as machine: and boot: are right"


def test_an_empty_file_lacks_a_kernel(write_config: WriteConfig) -> None:
    path = write_config("# nothing here\n")
    with pytest.raises(ConfigError, match=r"machine.yaml: boot.kernel: missing, the path of a kernel image"):
        load_config(path)


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "machine.yaml"
    path.write_bytes(b"machine:\n  type: \xff\n")
    with pytest.raises(ConfigError, match=r"machine.yaml:2: not UTF-8, a YAML text is right"):
        load_config(path)
