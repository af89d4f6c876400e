"""Expressions and formats of the monitor."""

from typing import Any

import pytest

from mpvm.abi.errors import CommandError
from mpvm.tools.hmp import formats
from mpvm.tools.hmp.expression import Expression
from mpvm.tools.hmp.formats import Format, dump, shown


def value(text: str) -> int:
    return Expression(text, {"rip": 0x1000}.get).read()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1+2*3", 7),
        ("(1+2)*3", 9),
        ("10-2-3", 5),
        ("0x10|1+1", 0x12),
        ("6&3*2", 6),
        ("017", 15),
        ("'A'", 65),
        ("$rip+4", 0x1004),
        ("-1", 0xFFFF_FFFF_FFFF_FFFF),
        ("~0 & 0xff", 0xFF),
        ("7%4/3", 1),
    ],
)
def test_an_expression_has_cs_operators_in_the_monitors_order(text: str, expected: int) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "unexpected end of expression"),
        ("1+", "unexpected end of expression"),
        ("(1", r"'\)' expected"),
        ("$foo", "unknown register"),
        ("1/0", "division by zero"),
        ("#", "invalid char '#' in expression"),
        ("*1", r"invalid char '\*' in expression"),
    ],
)
def test_what_is_no_expression_is_told(text: str, problem: str) -> None:
    with pytest.raises(CommandError, match=problem):
        value(text)


@pytest.mark.parametrize(
    ("letter", "size", "expected"),
    [
        ("x", 8, "0xfffffffffffffffe"),
        ("d", 8, "-2"),
        ("u", 8, "18446744073709551614"),
        ("o", 8, "01777777777777777777776"),
        ("c", 8, "'\\xfe'"),
    ],
)
def test_a_value_is_shown_in_each_format(letter: str, size: int, expected: str) -> None:
    assert shown(0xFFFF_FFFF_FFFF_FFFE, letter, size) == expected


def test_memory_is_dumped_as_qemu_does() -> None:
    data = bytes(range(0xF8, 0x100)) + bytes(range(9)) + b"A\n'"
    assert dump(0x1000, data, Format(20, "x", 1)) == [
        "0000000000001000: 0xf8 0xf9 0xfa 0xfb 0xfc 0xfd 0xfe 0xff",
        "0000000000001008: 0x00 0x01 0x02 0x03 0x04 0x05 0x06 0x07",
        "0000000000001010: 0x08 0x41 0x0a 0x27",
    ]
    assert dump(0x1000, data, Format(5, "x", 4)) == [
        "0000000000001000: 0xfbfaf9f8 0xfffefdfc 0x03020100 0x07060504",
        "0000000000001010: 0x270a4108",
    ]
    assert dump(0, data[:4], Format(2, "d", 2)) == ["0000000000000000: 63992 64506"]
    assert dump(0, data[:8], Format(1, "d", 8)) == ["0000000000000000:     -283686952306184"]
    assert dump(0, data[:8], Format(1, "o", 8)) == ["0000000000000000: 01777767737637376574770"]
    assert dump(0, data[-4:], Format(4, "c", 4)) == [r"0000000000000000: '\x08' 'A' '\n' '\''"]


class Session:
    format, size = "x", 4


def test_a_format_is_the_next_ones_too() -> None:
    session: Any = Session()

    def read(text: str) -> tuple[Format, str]:
        return formats.read_format(session, text)

    assert read("/3xb 0x10") == (Format(3, "x", 1), "0x10")
    assert read("0x20") == (Format(1, "x", 1), "0x20")
    assert read("/dg 1") == (Format(1, "d", 8), "1")
    assert read("/2 1") == (Format(2, "d", 8), "1")
    with pytest.raises(CommandError, match="invalid char in format: 'z'"):
        read("/z 1")
