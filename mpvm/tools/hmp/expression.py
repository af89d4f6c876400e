"""Expressions of the monitor: numbers, registers and C's operators (QEMU's monitor/hmp.c, get_expr)."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from mpvm.abi.errors import CommandError

MASK: Final = (1 << 64) - 1
_TOKEN: Final = re.compile(r"\s*(0[xX][0-9a-fA-F]+|\d+|\$[A-Za-z][A-Za-z0-9_.]*|'.'|[-+*/%&|^~()])")

_Operator = Callable[[int, int], int]


def _divided(a: int, b: int) -> int:
    if not b:
        raise CommandError("division by zero")
    return a // b


def _remainder(a: int, b: int) -> int:
    return a - _divided(a, b) * b


# From the operators that bind least.
_LEVELS: Final[tuple[Mapping[str, _Operator], ...]] = (
    {"+": lambda a, b: a + b, "-": lambda a, b: a - b},
    {"&": lambda a, b: a & b, "|": lambda a, b: a | b, "^": lambda a, b: a ^ b},
    {"*": lambda a, b: a * b, "/": _divided, "%": _remainder},
)


class Expression:
    """Reads expressions from `text`; `register` gives the value of one, None where there is none."""

    def __init__(self, text: str, register: Callable[[str], int | None]) -> None:
        self._text = text
        self._register = register
        self._at = 0

    @property
    def rest(self) -> str:
        """What has not been read."""
        return self._text[self._at :].strip()

    def read(self) -> int:
        """The next expression's value, 64 bits without a sign; `CommandError` for none."""
        return self._level(0)

    def _peek(self) -> str:
        match = _TOKEN.match(self._text, self._at)
        return match[1] if match else ""

    def _next(self) -> str:
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            if self.rest:
                raise CommandError(f"invalid char '{self.rest[0]}' in expression")
            raise CommandError("unexpected end of expression")
        self._at = match.end()
        return match[1]

    def _level(self, level: int) -> int:
        if level == len(_LEVELS):
            return self._unary()
        value = self._level(level + 1)
        while (operator := _LEVELS[level].get(self._peek())) is not None:
            self._next()
            value = operator(value, self._level(level + 1)) & MASK
        return value

    def _unary(self) -> int:
        word = self._next()
        if word == "(":
            value = self.read()
            if self._peek() != ")":
                raise CommandError("')' expected")
            self._next()
            return value
        if word == "+":
            return self._unary()
        if word == "-":
            return -self._unary() & MASK
        if word == "~":
            return ~self._unary() & MASK
        if word[0] == "'":
            return ord(word[1])
        if word[0] == "$":
            found = self._register(word[1:])
            if found is None:
                raise CommandError("unknown register")
            return found
        if not word[0].isdigit():
            raise CommandError(f"invalid char '{word}' in expression")
        try:
            return int(word, 0) & MASK
        except ValueError:
            # 017 is C's octal number.
            return int(word, 8) & MASK
