"""QMP's clients in the event loop: their requests in, responses and events out."""

import contextlib
import json
import select
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from mpvm.tools.qmp import commands  # noqa: F401 - registers them
from mpvm.tools.qmp.session import Session
from mpvm.tools.qmp.stream import JsonStream
from mpvm.tools.qmp.version import version
from mpvm.tools.vm import Loop, Vm
from mpvm.trace.control import trace

_READ_BYTES: Final = 65536
# A request that is longer, or never ends.
_REQUEST_LIMIT: Final = 1 << 20
# Responses and events that a client has not read. One that reads nothing is disconnected.
_OUTPUT_LIMIT: Final = 4 << 20
# How long the end of a run waits for a client to take its last event.
_CLOSE_SECONDS: Final = 1.0


class QmpServer:
    """All clients of a VM."""

    def __init__(self, vm: Vm, loop: Loop) -> None:
        self._vm = vm
        self._loop = loop
        self._clients: set[_Client] = set()

    def connect(self, connection: socket.socket) -> None:
        """Serve the client at the other end of `connection` from now on; it is greeted first."""
        client = _Client(connection, self._vm, self._loop, self._clients.discard)
        self._clients.add(client)
        client.send({"QMP": {"version": version(), "capabilities": []}})

    def emit(self, event: str, data: Mapping[str, object] | None = None) -> None:
        """Tell every client that has negotiated of `event`."""
        seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
        message: dict[str, object] = {
            "timestamp": {"seconds": seconds, "microseconds": microseconds},
            "event": event,
        }
        if data is not None:
            message["data"] = data
        for client in list(self._clients):
            if client.session.negotiated:
                client.send(message)

    def close(self) -> None:
        """Hand out what is left to say, and disconnect every client."""
        deadline = time.monotonic() + _CLOSE_SECONDS
        for client in list(self._clients):
            client.finish(deadline)


class _Client:
    def __init__(
        self, connection: socket.socket, vm: Vm, loop: Loop, forget: Callable[["_Client"], None]
    ) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._vm = vm
        self._loop = loop
        self._forget = forget
        self._input = JsonStream()
        self._output = bytearray()
        self._open = True
        self.session = Session(vm)
        loop.add_reader(connection.fileno(), self._read)

    def send(self, message: Mapping[str, object]) -> None:
        """Queue `message`, and write as much as the socket takes."""
        if not self._open:
            return
        self._output += json.dumps(message).encode() + b"\r\n"
        self._write()
        if len(self._output) > _OUTPUT_LIMIT:
            self.close()

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        for request in self._input.feed(data):
            # A command may pause the VM, which a callback of the loop must not.
            self._vm.run_control.call(partial(self._execute, request))
        if not data or len(self._input) > _REQUEST_LIMIT:
            self.close()

    def _execute(self, request: bytes) -> None:
        if self._open:
            trace("handle_qmp_command", request.decode("utf-8", "replace"))
            self.send(self.session.execute(request))

    def _write(self) -> None:
        try:
            if self._output:
                del self._output[: self._socket.send(self._output)]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if self._output:
            self._loop.add_writer(self._socket.fileno(), self._write)
        else:
            self._loop.remove_writer(self._socket.fileno())

    def finish(self, deadline: float) -> None:
        """Wait until what is left is written, at most until `deadline` (seconds, monotonic), and close."""
        with contextlib.suppress(OSError):
            while self._open and self._output and (left := deadline - time.monotonic()) > 0:
                select.select([], [self._socket], [], left)
                self._write()
        self.close()

    def close(self) -> None:
        """Disconnect."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
            self._forget(self)
