"""A serial line's output in a file."""

from pathlib import Path

from mpvm.abi.errors import StartError
from mpvm.coordinator.chardev.output import BufferedOutput, Loop, Tail
from mpvm.hw.char.chardev import Chardev


class FileChardev(Chardev):
    """Writes to `path`, which is made anew; there is no input."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise StartError(
                f"serial file:{path}: {error.strerror}; a file that can be written is right"
            ) from error
        self._output = BufferedOutput(self._file.fileno(), str(path))

    def start(self, loop: Loop) -> None:
        """Write in `loop` from now on."""
        self._output.start(loop)

    def write(self, data: bytes) -> None:
        """To the file, at the end of this turn of the loop."""
        self._output.write(data)

    @property
    def tail(self) -> Tail:
        """The end of what the guest has written."""
        return self._output.tail

    def close(self) -> None:
        """Write the rest and close the file."""
        self._output.close()
        self._file.close()
