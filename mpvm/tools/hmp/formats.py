"""/fmt of `x`, `xp` and `print`: a count, a format and a size, as in gdb."""

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from mpvm.tools.hmp.session import HmpSession

from mpvm.abi.errors import CommandError

_FORMATS: Final = "oduxic"
_SIZES: Final = {"b": 1, "h": 2, "w": 4, "g": 8, "L": 8}
_FORMAT: Final = re.compile(r"/(\d*)(\S*)\s*(.*)", re.DOTALL)
_LINE_BYTES: Final = 16
_BYTES_LINE_BYTES: Final = 8


class Format(NamedTuple):
    """`letter` out of oduxic, `size` in bytes."""

    items: int
    letter: str
    size: int


def read_format(session: "HmpSession", text: str) -> tuple[Format, str]:
    """The format that `text` begins with, or the last one; and the rest."""
    match = _FORMAT.fullmatch(text)
    count, letters, rest = match.groups() if match else ("", "", text)
    letter, size = session.format, session.size
    for each in letters:
        if each in _FORMATS:
            letter = each
        elif each in _SIZES:
            size = _SIZES[each]
        else:
            raise CommandError(f"invalid char in format: '{each}'")
    session.format, session.size = letter, size
    return Format(int(count or 1), letter, size), rest


def shown_character(value: int) -> str:
    """`value`'s low byte as C writes a character."""
    byte = value & 0xFF
    if named := {"'": "\\'", "\\": "\\\\", "\n": "\\n", "\r": "\\r"}.get(chr(byte)):
        return f"'{named}'"
    return f"'{chr(byte)}'" if 32 <= byte <= 126 else f"'\\x{byte:02x}'"


def _signed(value: int, size: int) -> int:
    return value - (1 << 8 * size) if value >> 8 * size - 1 else value


def shown(value: int, letter: str, size: int) -> str:
    """`value` as `print` shows it."""
    match letter:
        case "o":
            return f"0{value:o}" if value else "0"
        case "u":
            return str(value)
        case "d":
            return str(_signed(value, size))
        case "c":
            return shown_character(value)
        case _:
            return f"{value:#x}"


def _cell(value: int, letter: str, size: int) -> str:
    bits = 8 * size
    match letter:
        case "o":
            return shown(value, letter, size).rjust((bits + 2) // 3)
        case "u" | "d":
            # As QEMU: only what has 64 bits has a sign here.
            return shown(value, letter, 8).rjust((bits * 10 + 32) // 33)
        case "c":
            return shown_character(value)
        case _:
            return f"0x{value:0{2 * size}x}"


def dump(address: int, data: bytes, format_: Format) -> list[str]:
    """`data`, which is at `address`, in lines of 16 bytes, or 8 of single ones."""
    line_bytes = _BYTES_LINE_BYTES if format_.size == 1 else _LINE_BYTES
    size = 1 if format_.letter == "c" else format_.size
    lines = []
    for start in range(0, len(data), line_bytes):
        piece = data[start : start + line_bytes]
        cells = [
            _cell(int.from_bytes(piece[at : at + size], "little"), format_.letter, size)
            for at in range(0, len(piece), size)
        ]
        lines.append(f"{address + start:016x}: {' '.join(cells)}")
    return lines
