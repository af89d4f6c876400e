"""The console on this process's stdin and stdout, with the escape key."""

import os
import sys
from collections.abc import Callable
from typing import Final

from mpvm.coordinator.chardev.escape import HELP, Command, EscapeParser
from mpvm.coordinator.chardev.output import BufferedOutput, Loop, Tail
from mpvm.coordinator.chardev.terminal import RawTerminal
from mpvm.hw.char.chardev import Chardev

# Input that waits for the guest; beyond it the terminal or pipe has to wait. Large, so that Ctrl-A x
# gets through to the VM while a hung guest reads nothing.
_WAITING_LIMIT: Final = 64 * 1024
_READ_BYTES: Final = 4096


class StdioChardev(Chardev):
    """`quit` is called for Ctrl-A x. Input that is a file is read as fast as the guest takes it."""

    def __init__(self, quit_: Callable[[], None], input_fd: int = 0, output_fd: int = 1) -> None:
        super().__init__()
        self._quit = quit_
        self._input_fd = input_fd
        self._output = BufferedOutput(output_fd, "stdout")
        self.terminal = RawTerminal(input_fd)
        self._escape = EscapeParser()
        self._waiting = bytearray()
        self._loop: Loop | None = None
        self._watched = False
        # A regular file can't be polled; it is always readable.
        self._is_file = False
        self._at_end = False

    def start(self, loop: Loop) -> None:
        """Take input from now on, with the terminal, if it is one, in raw mode."""
        self._loop = loop
        self._output.start(loop)
        self.terminal.enter()
        try:
            self._watch()
        except PermissionError:
            self._is_file = True
            loop.defer(self._pump)
        except OSError:
            # stdin is closed.
            self._at_end = True

    def write(self, data: bytes) -> None:
        """To stdout, at the end of this turn of the loop."""
        self._output.write(data)

    @property
    def tail(self) -> Tail:
        """The end of what the guest has written."""
        return self._output.tail

    def room_available(self) -> None:
        """The guest has read something."""
        self._hand_over()
        if self._loop is None or self._at_end:
            return
        if self._is_file:
            self._loop.defer(self._pump)
        elif not self._watched and len(self._waiting) < _WAITING_LIMIT:
            self._watch()

    def close(self) -> None:
        """Restore the terminal and write the rest of the output."""
        if self._loop is not None and self._watched:
            self._loop.remove_reader(self._input_fd)
            self._watched = False
        self._loop = None
        self._output.close()
        self.terminal.leave()

    def _watch(self) -> None:
        assert self._loop is not None
        self._loop.add_reader(self._input_fd, self._read)
        self._watched = True

    def _read(self) -> None:
        try:
            data = os.read(self._input_fd, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            # EIO: the terminal has been hung up.
            data = b""
        self._at_end = not data
        for piece in self._escape.feed(data):
            if isinstance(piece, Command):
                self._obey(piece)
            else:
                self._waiting += piece
        self._hand_over()
        if self._watched and (self._at_end or len(self._waiting) >= _WAITING_LIMIT):
            assert self._loop is not None
            self._loop.remove_reader(self._input_fd)
            self._watched = False

    def _pump(self) -> None:
        while self._loop is not None and not self._at_end and not self._waiting and self._room() > 0:
            self._read()

    def _hand_over(self) -> None:
        # Taken out first: delivering may make room and come back here.
        while self._waiting and (count := min(self._room(), len(self._waiting))) > 0:
            chunk = bytes(self._waiting[:count])
            del self._waiting[:count]
            self.deliver(chunk)

    def _obey(self, command: Command) -> None:
        match command:
            case Command.QUIT:
                self._quit()
            case Command.MONITOR:
                self._say("the monitor is not there yet")
            case Command.HELP:
                self._say(HELP.rstrip())
            case Command.BREAK:
                self.deliver_break()

    def _say(self, text: str) -> None:
        # To stderr: stdout is the guest's alone.
        print(f"\r\n{text}\r", file=sys.stderr, flush=True)
