"""A serial line's output in a file."""

from pathlib import Path

from mpvm.abi.errors import StartError
from mpvm.coordinator.chardev.backend import Backend, Loop
from mpvm.coordinator.chardev.output import BufferedOutput


class FileChardev(Backend):
    """Writes to `path`, which is made anew, or with `append` goes on; there is no input."""

    filename = "file"
    _output: BufferedOutput

    def __init__(self, path: Path, *, append: bool = False) -> None:
        super().__init__()
        try:
            self._file = path.open("ab" if append else "wb", buffering=0)
        except OSError as error:
            raise StartError(
                f"serial file:{path}: {error.strerror}; a file that can be written is right"
            ) from error
        self._output = BufferedOutput(self._file.fileno(), str(path))

    def start(self, loop: Loop) -> None:
        """Write in `loop` from now on."""
        self._output.start(loop)
        self._set_open(True)

    def write(self, data: bytes) -> None:
        """To the file, at the end of this turn of the loop."""
        self._output.write(data)

    def tail(self) -> str:
        """The end of what the guest has written."""
        return self._output.tail.text()

    def close(self) -> None:
        """Write the rest and close the file."""
        self._output.close()
        self._file.close()
