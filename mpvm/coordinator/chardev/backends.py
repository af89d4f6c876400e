"""The chardevs of a VM: a backend for every specification, and those with I/O together."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mpvm.abi.errors import DeviceNotFoundError
from mpvm.config import ChardevSpec
from mpvm.coordinator.chardev.backend import Backend
from mpvm.hw.char.chardev import Chardev, NullChardev

if TYPE_CHECKING:
    from mpvm.coordinator.chardev.mux import Mux
    from mpvm.coordinator.chardev.socket import SocketChardev
    from mpvm.coordinator.loop import EventLoop


class ChardevInfo(NamedTuple):
    """What the monitor tells of a chardev: who it belongs to, and what it is connected to."""

    label: str
    filename: str
    is_open: bool


class Chardevs:
    """The backends of a VM; those with I/O are in `backends`.

    `quit_` is for the escape key's Ctrl-A x, `open_monitor` puts a monitor at a chardev.
    """

    def __init__(self, quit_: Callable[[], None], open_monitor: Callable[[Chardev], None]) -> None:
        self._quit = quit_
        self._open_monitor = open_monitor
        self.backends: list[Backend] = []
        self._named: dict[str, Chardev | Mux] = {}
        self._made: list[tuple[str, Chardev]] = []
        self._sockets: list[SocketChardev] = []

    def define(self, specs: Sequence[ChardevSpec]) -> None:
        """Make those that others name by their ids."""
        for spec in specs:
            assert spec.id is not None
            self._named[spec.id] = self._make(spec, spec.id)

    def make(self, spec: ChardevSpec, label: str, *, takes_focus: bool = True) -> Chardev:
        """The backend that `spec` describes, or names, for the front end called `label`.

        `takes_focus`: of several at one chardev, it is the one that gets the input at first.
        """
        known = None if spec.id is None else self._named.get(spec.id)
        made = self._make(spec, label) if known is None else known
        return made if isinstance(made, Chardev) else made.front_end(takes_focus=takes_focus)

    def _make(self, spec: ChardevSpec, label: str) -> "Chardev | Mux":
        backend = self._backend(spec, label)
        self._made.append((label, backend))
        if spec.logfile is not None:
            from mpvm.coordinator.chardev.file import FileChardev
            from mpvm.coordinator.chardev.log import LoggedChardev

            log = FileChardev(spec.logfile, append=spec.logappend)
            self.backends.append(log)
            backend = LoggedChardev(backend, log)
        if not spec.mux:
            return backend
        from mpvm.coordinator.chardev.mux import Mux

        return Mux(backend, self._quit, self._open_monitor if spec.monitor else None)

    def _backend(self, spec: ChardevSpec, label: str) -> Chardev:
        # Each is imported where there is one.
        backend: Backend
        match spec.kind:
            case "null":
                return NullChardev()
            case "stdio":
                from mpvm.coordinator.chardev.stdio import StdioChardev

                backend = StdioChardev(signal=spec.signal)
            case "file":
                from mpvm.coordinator.chardev.file import FileChardev

                assert spec.path is not None
                backend = FileChardev(spec.path, append=spec.append)
            case "pipe":
                from mpvm.coordinator.chardev.pipe import PipeChardev

                assert spec.path is not None
                backend = PipeChardev(spec.path)
            case "pty":
                from mpvm.coordinator.chardev.pty import PtyChardev

                backend = PtyChardev(label)
            case _:
                from mpvm.coordinator.chardev.socket import SocketChardev

                backend = SocketChardev(spec)
                self._sockets.append(backend)
        self.backends.append(backend)
        return backend

    def wait_for_peers(self, loop: "EventLoop") -> None:
        """Run `loop` until somebody is at every chardev that is to wait for that."""
        for each in self._sockets:
            if each.waits:
                print(f"mpvm: waiting for connection on: {each.filename}", file=sys.stderr, flush=True)
                each.start(loop)
                loop.run(lambda: not each.waits)  # noqa: B023 - it is called in here alone

    def start(self, loop: "EventLoop") -> None:
        """Begin the I/O; a terminal goes raw."""
        for backend in self.backends:
            backend.start(loop)

    def pending(self) -> bool:
        """Whether there is output that its reader has not taken yet."""
        return any(backend.pending for backend in self.backends)

    def close(self) -> None:
        """End the I/O; a terminal is restored."""
        while self.backends:
            self.backends.pop().close()

    def list(self) -> list[ChardevInfo]:
        """Every one of them, the latest first."""
        return [
            ChardevInfo(label, made.filename if isinstance(made, Backend) else "null", made.is_open)
            for label, made in reversed(self._made)
        ]

    def send_break(self, label: str) -> None:
        """A line break for whoever has the chardev called `label`; `DeviceNotFoundError` for none."""
        found = dict(self._made).get(label)
        if found is None:
            raise DeviceNotFoundError(f"Chardev '{label}' not found")
        found.deliver_break()

    def tail(self) -> str:
        """The end of what the guest said on the first line that has a memory of it."""
        return next((text for backend in self.backends if (text := backend.tail())), "")

    def continued(self) -> None:
        """This process has been stopped, and goes on."""
        for backend in self.backends:
            backend.continued()
