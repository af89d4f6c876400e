"""The grammar of values: QemuOpts."""

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.cli.system import opts


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pc", {"type": "pc"}),
        ("type=pc,accel=tcg", {"type": "pc", "accel": "tcg"}),
        ("accel=tcg", {"accel": "tcg"}),
        ("pc,usb", {"type": "pc", "usb": "on"}),
        ("pc,nousb", {"type": "pc", "usb": "off"}),
        ("a,,b,x=c,,d", {"type": "a,b", "x": "c,d"}),
        ("x=1=2", {"x": "1=2"}),
        ("x=", {"x": ""}),
        ("x=1,x=2", {"x": "2"}),
        ("", {}),
    ],
)
def test_a_value_is_keys_and_values(text: str, found: dict[str, str]) -> None:
    assert opts.parse("-o", text, "type") == found


def test_a_key_that_is_not_known_is_named_with_its_option() -> None:
    with pytest.raises(ConfigError, match=r"^-o x=1,y=2: Invalid parameter 'y'$"):
        opts.parse("-o", "x=1,y=2", known={"x": None})


@pytest.mark.parametrize(
    ("text", "wanted"), [("help", True), ("?", True), ("pc,help", True), ("x=help", False)]
)
def test_help_is_asked_for_by_a_word_of_its_own(text: str, wanted: bool) -> None:
    assert opts.wants_help(text) is wanted
