"""A serial line at FIFOs: PATH.in and PATH.out, or PATH for both ways (QEMU's chardev/char-pipe.c)."""

import contextlib
import os
from pathlib import Path

from mpvm.abi.errors import StartError
from mpvm.coordinator.chardev.backend import Loop
from mpvm.coordinator.chardev.output import BufferedOutput
from mpvm.coordinator.chardev.stream import StreamInput


class PipeChardev(StreamInput):
    """Both are opened for reading and writing, so that nobody has to be there, and who comes may go again."""

    filename = "pipe"
    _output: BufferedOutput

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._fds = _open(path)
        self._output = BufferedOutput(self._fds[-1], f"pipe:{path}")

    def start(self, loop: Loop) -> None:
        """Do I/O in `loop` from now on."""
        self._output.start(loop)
        self._open_input(loop, self._fds[0])
        self._set_open(True)

    def write(self, data: bytes) -> None:
        """To the FIFO, at the end of this turn of the loop."""
        self._output.write(data)

    def tail(self) -> str:
        """The end of what the guest has written."""
        return self._output.tail.text()

    def close(self) -> None:
        """Write the rest, and close both."""
        self._close_input()
        self._output.close()
        while self._fds:
            os.close(self._fds.pop())


def _open(path: Path) -> list[int]:
    """Descriptors of the input and the output, which may be one."""
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.ExitStack() as undo:
        try:
            read = os.open(f"{path}.in", flags)
            undo.callback(os.close, read)
            write = os.open(f"{path}.out", flags)
        except OSError:
            pass
        else:
            undo.pop_all()
            return [read, write]
    try:
        return [os.open(path, flags)]
    except OSError as error:
        right = f"FIFOs {path}.in and {path}.out, or {path}, are right"
        raise StartError(f"serial pipe:{path}: {error.strerror}; {right}") from error
