"""The console's escape key: Ctrl-A and a letter are for the VM, everything else is for the guest."""

from collections.abc import Iterator
from enum import Enum
from typing import Final

ESCAPE: Final = 0x01  # Ctrl-A

HELP: Final = (
    b"\r\n"
    b"Ctrl-A h  this help\r\n"
    b"Ctrl-A x  quit\r\n"
    b"Ctrl-A c  the next of the lines and monitors here\r\n"
    b"Ctrl-A b  send a break\r\n"
    b"Ctrl-A t  show the time before each line, or no more\r\n"
    b"Ctrl-A Ctrl-A  send Ctrl-A\r\n"
)


class Command(Enum):
    """What a person asks of the VM."""

    QUIT = "x"
    MONITOR = "c"
    HELP = "h"
    BREAK = "b"
    TIMESTAMPS = "t"


_COMMANDS: Final = {ord(command.value): command for command in Command} | {ord("?"): Command.HELP}


class EscapeParser:
    """Separates the guest's input from commands; the escape and its letter may come in two pieces."""

    def __init__(self) -> None:
        self._escaped = False

    def feed(self, data: bytes) -> Iterator[bytes | Command]:
        """The guest's bytes and the commands in `data`, in order. Unknown letters are dropped."""
        plain = bytearray()
        for byte in data:
            if not self._escaped:
                if byte == ESCAPE:
                    self._escaped = True
                else:
                    plain.append(byte)
                continue
            self._escaped = False
            if byte == ESCAPE:
                plain.append(byte)
            elif (command := _COMMANDS.get(byte)) is not None:
                if plain:
                    yield bytes(plain)
                    plain.clear()
                yield command
        if plain:
            yield bytes(plain)
