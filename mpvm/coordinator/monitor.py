"""The VM's QMP sockets. They listen from the start; who serves them is loaded when a client connects.

One is always there, in the runtime directory, so that other commands of `mpvm` find a running VM.
"""

import socket
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mpvm.abi.errors import StartError
from mpvm.coordinator.loop import EventLoop
from mpvm.coordinator.unix_listener import listen_unix
from mpvm.trace.control import trace

if TYPE_CHECKING:
    from mpvm.tools.qmp.server import QmpServer
    from mpvm.tools.vm import Vm

PRIVATE_SOCKET: Final = "qmp.sock"
_BACKLOG: Final = 8


class Monitor:
    """Listens at `paths` from the start; raises `StartError` when it can't."""

    def __init__(self, *paths: Path) -> None:
        self._server: QmpServer | None = None
        self._listeners: list[tuple[Path, socket.socket]] = []
        try:
            for path in paths:
                self._listeners.append((path, _listen(path)))
        except StartError:
            self.close()
            raise

    def serve(self, loop: EventLoop, vm: "Vm") -> None:
        """Take clients from now on; those that have connected before have waited."""
        for _path, listener in self._listeners:
            loop.add_reader(listener.fileno(), partial(self._accept, listener, loop, vm))

    def emit(self, event: str, data: Mapping[str, object] | None = None) -> None:
        """Tell every client of `event`."""
        trace("qmp_event", event, data or {})
        if self._server is not None:
            self._server.emit(event, data)

    def _accept(self, listener: socket.socket, loop: EventLoop, vm: "Vm") -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            # It has gone again.
            return
        if self._server is None:
            from mpvm.tools.qmp.server import QmpServer

            self._server = QmpServer(vm, loop)
        self._server.connect(connection)

    def disconnect(self) -> None:
        """Say what is left to say and hang up; the loop is still there."""
        if self._server is not None:
            self._server.close()

    def close(self) -> None:
        """Close the sockets and remove them."""
        while self._listeners:
            path, listener = self._listeners.pop()
            listener.close()
            path.unlink(missing_ok=True)


def _listen(path: Path) -> socket.socket:
    try:
        return listen_unix(path, _BACKLOG)
    except OSError as error:
        problem = error.strerror or error
        raise StartError(
            f"qmp: can't make the socket {path}: {problem}, the path of a new file is right"
        ) from error
