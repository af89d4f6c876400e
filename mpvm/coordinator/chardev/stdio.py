"""The console on this process's stdin and stdout."""

from mpvm.coordinator.chardev.backend import Loop
from mpvm.coordinator.chardev.output import BufferedOutput
from mpvm.coordinator.chardev.stream import StreamInput
from mpvm.coordinator.chardev.terminal import RawTerminal


class StdioChardev(StreamInput):
    """With `signal`, a terminal's Ctrl-C is a signal to this process, else it is the guest's.

    Input that is a file is read as fast as the guest takes it.
    """

    filename = "stdio"
    _output: BufferedOutput

    def __init__(self, *, signal: bool = True, input_fd: int = 0, output_fd: int = 1) -> None:
        super().__init__()
        self._stdin = input_fd
        self._output = BufferedOutput(output_fd, "stdout")
        self.terminal = RawTerminal(input_fd, signal=signal)

    def start(self, loop: Loop) -> None:
        """Take input from now on, with the terminal, if it is one, in raw mode."""
        self._output.start(loop)
        self.terminal.enter()
        self._open_input(loop, self._stdin)
        self._set_open(True)

    def write(self, data: bytes) -> None:
        """To stdout, at the end of this turn of the loop."""
        self._output.write(data)

    def tail(self) -> str:
        """The end of what the guest has written."""
        return self._output.tail.text()

    def continued(self) -> None:
        """The shell has put the terminal back."""
        if self.terminal.raw:
            self.terminal.enter()

    def close(self) -> None:
        """Restore the terminal and write the rest of the output."""
        self._close_input()
        self._loop = None
        self._output.close()
        self.terminal.leave()
