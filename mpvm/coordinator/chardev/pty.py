"""A serial line at a pseudo-terminal, for a terminal program to open (QEMU's chardev/char-pty.c)."""

import os
import sys
import termios
from typing import Final

from mpvm.abi.errors import StartError
from mpvm.coordinator.chardev.backend import Loop
from mpvm.coordinator.chardev.output import BufferedOutput
from mpvm.coordinator.chardev.stream import StreamInput
from mpvm.coordinator.chardev.terminal import raw_attributes

# Output that nobody has read; what follows it is dropped.
_UNREAD_LIMIT: Final = 64 * 1024
_OFLAG: Final = 1


class PtyChardev(StreamInput):
    """Tells its name on stderr, as the line called `label`."""

    _output: BufferedOutput

    def __init__(self, label: str) -> None:
        super().__init__()
        try:
            # The other side stays open: it is no hang-up when a program closes it.
            self._master, self._slave = os.openpty()
        except OSError as error:
            raise StartError(f"serial pty: can't make a pseudo-terminal: {error.strerror}") from error
        attributes = raw_attributes(termios.tcgetattr(self._slave), signal=False)
        attributes[_OFLAG] &= ~termios.OPOST
        termios.tcsetattr(self._slave, termios.TCSANOW, attributes)
        os.set_blocking(self._master, False)
        name = os.ttyname(self._slave)
        self._name = name
        self._output = BufferedOutput(self._master, name, limit=_UNREAD_LIMIT, patience=0)
        print(f"char device redirected to {name} (label {label})", file=sys.stderr, flush=True)

    @property
    def filename(self) -> str:
        """Its name."""
        return f"pty:{self._name}"

    def start(self, loop: Loop) -> None:
        """Do I/O in `loop` from now on."""
        self._output.start(loop)
        self._open_input(loop, self._master)
        self._set_open(True)

    def write(self, data: bytes) -> None:
        """To the terminal, at the end of this turn of the loop."""
        self._output.write(data)

    def tail(self) -> str:
        """The end of what the guest has written."""
        return self._output.tail.text()

    def close(self) -> None:
        """Write what is taken at once, and close it."""
        self._close_input()
        self._output.close()
        os.close(self._master)
        os.close(self._slave)
