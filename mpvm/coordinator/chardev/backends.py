"""The chardevs of a VM: a backend for every specification, and those with I/O together."""

from collections.abc import Callable
from typing import Protocol

from mpvm.abi.errors import StartError
from mpvm.config import ChardevSpec
from mpvm.coordinator.chardev.file import FileChardev
from mpvm.coordinator.chardev.output import Loop, Tail
from mpvm.coordinator.chardev.stdio import StdioChardev
from mpvm.hw.char.chardev import Chardev, NullChardev


class Backend(Protocol):
    """A chardev with I/O of its own, which lives in the event loop."""

    def start(self, loop: Loop) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102
    @property
    def tail(self) -> Tail: ...  # noqa: D102


class Chardevs:
    """The backends of a VM; those with I/O are in `backends`."""

    def __init__(self, quit_: Callable[[], None]) -> None:
        self._quit = quit_
        self.backends: list[Backend] = []

    def make(self, spec: ChardevSpec) -> Chardev:
        """The backend that `spec` describes."""
        if spec.kind == "null":
            return NullChardev()
        if spec.kind not in ("file", "stdio"):
            raise StartError(f"{spec}: no such chardev is here yet, stdio, null or file:PATH is right")
        backend: StdioChardev | FileChardev
        if spec.kind == "file":
            assert spec.path is not None
            backend = FileChardev(spec.path)
        else:
            backend = StdioChardev(self._quit)
        self.backends.append(backend)
        return backend

    def start(self, loop: Loop) -> None:
        """Begin the I/O; a terminal goes raw."""
        for backend in self.backends:
            backend.start(loop)

    def close(self) -> None:
        """End the I/O; a terminal is restored."""
        while self.backends:
            self.backends.pop().close()

    def tail(self) -> str:
        """The end of what the guest said on the first line that has a memory of it."""
        return next((text for backend in self.backends if (text := backend.tail.text())), "")

    def terminals_again(self) -> None:
        """After a stop of this process: the shell has put the terminal back."""
        for backend in self.backends:
            if isinstance(backend, StdioChardev) and backend.terminal.raw:
                backend.terminal.enter()
