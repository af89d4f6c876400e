"""The telnet protocol on a socket, as far as a serial line needs it (RFC 854, 856, 857, 858)."""

from collections.abc import Callable
from typing import Final

IAC: Final = 255
_DONT: Final = 254
_DO: Final = 253
_WILL: Final = 251
_BREAK: Final = 243
_SB, _SE = 250, 240
_BINARY, _ECHO, _SUPPRESS_GO_AHEAD = 0, 1, 3

#: What a server says first: it echoes, nobody says "go ahead", and every byte is data.
GREETING: Final = bytes(
    (IAC, _WILL, _ECHO, IAC, _WILL, _SUPPRESS_GO_AHEAD, IAC, _WILL, _BINARY, IAC, _DO, _BINARY)
)


class TelnetFilter:
    """Takes the protocol out of what comes in; a command may come in pieces. `on_break`: BRK."""

    def __init__(self, on_break: Callable[[], None]) -> None:
        self._on_break = on_break
        self._command = bytearray()

    def feed(self, data: bytes) -> bytes:
        """The bytes of `data` that are the guest's."""
        if not self._command and IAC not in data:
            return data
        plain = bytearray()
        for byte in data:
            if not self._command:
                if byte == IAC:
                    self._command.append(byte)
                else:
                    plain.append(byte)
            else:
                self._command.append(byte)
                plain += self._obey()
        return bytes(plain)

    def _obey(self) -> bytes:
        """What the command so far leads to; it is cleared when it is whole."""
        kind = self._command[1]
        length = 3 if _WILL <= kind <= _DONT else 2
        whole = self._command[-2:] == bytes((IAC, _SE)) if kind == _SB else len(self._command) == length
        if not whole:
            return b""
        self._command.clear()
        if kind == _BREAK:
            self._on_break()
        return bytes((IAC,)) if kind == IAC else b""


def encode(data: bytes) -> bytes:
    """`data` on the line: a byte that begins a command is doubled."""
    return data.replace(b"\xff", b"\xff\xff")
