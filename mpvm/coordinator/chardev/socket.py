"""A serial line at a socket: a server that takes one client after the other, or a client (char-socket.c)."""

import contextlib
import os
import socket
from typing import Final

from mpvm.abi.errors import StartError
from mpvm.config.chardevs import ChardevSpec
from mpvm.coordinator.chardev import telnet
from mpvm.coordinator.chardev.backend import Loop
from mpvm.coordinator.chardev.output import BufferedOutput, Tail
from mpvm.coordinator.chardev.stream import StreamInput
from mpvm.coordinator.unix_listener import listen_unix
from mpvm.hw.clock import NS_PER_SECOND

# Output that a client has not read; what follows it is dropped, as it is where there is no client.
_UNREAD_LIMIT: Final = 16 << 20
_CONNECT_SECONDS: Final = 30.0


class SocketChardev(StreamInput):
    """The socket of `spec`. A server listens, and a client connects, from the start; `StartError` else."""

    def __init__(self, spec: ChardevSpec) -> None:
        super().__init__()
        self._spec = spec
        self._listener: socket.socket | None = None
        self._connection: socket.socket | None = None
        self._output: BufferedOutput | None = None
        self._tail = Tail()
        self._telnet = telnet.TelnetFilter(self.deliver_break) if spec.telnet else None
        self._is_lost = False
        try:
            if spec.server:
                self._listener = _listen(spec)
            elif not spec.reconnect:
                self._connection = _connect(spec)
        except OSError as error:
            verb = "listen at" if spec.server else "connect to"
            problem = error.strerror or error
            raise StartError(
                f"chardev {spec}: can't {verb} it: {problem}; another address is right"
            ) from error

    @property
    def filename(self) -> str:
        """As QEMU has it: the address, and whether nobody is there."""
        spec = self._spec
        server = ",server=on" if spec.server else ""
        if spec.path is not None:
            address = f"unix:{spec.path}{server}"
        else:
            address = f"{'telnet' if spec.telnet else 'tcp'}:{spec.host}:{self.port}{server}"
        return address if self._connection is not None else f"disconnected:{address}"

    @property
    def port(self) -> str:
        """A server's port, also where the kernel has chosen it."""
        if self._listener is not None and self._spec.path is None:
            return str(self._listener.getsockname()[1])
        return self._spec.port

    @property
    def waits(self) -> bool:
        """Whether the machine is not to start before somebody is there."""
        return self._spec.wait and self._connection is None

    def start(self, loop: Loop) -> None:
        """Do I/O in `loop` from now on."""
        if self._loop is not None:
            return
        self._loop = loop
        if self._connection is not None:
            self._begin(self._connection)
        elif self._listener is not None:
            loop.add_reader(self._listener.fileno(), self._accept)
        else:
            self._connect_again()

    def write(self, data: bytes) -> None:
        """To the peer, at the end of this turn of the loop; dropped where there is none."""
        self._tail.add(data)
        if self._output is not None:
            self._output.write(telnet.encode(data) if self._telnet is not None else data)

    def tail(self) -> str:
        """The end of what the guest has written."""
        return self._tail.text()

    def close(self) -> None:
        """Write the rest and hang up."""
        loop, self._loop = self._loop, None
        self._hang_up(loop)
        if self._listener is not None:
            if loop is not None:
                loop.remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
            if self._spec.path is not None:
                self._spec.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        assert self._listener is not None
        assert self._loop is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            # It has gone again.
            return
        # The next one waits until this one has gone.
        self._loop.remove_reader(self._listener.fileno())
        self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        assert self._loop is not None
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        self._is_lost = False
        self._output = BufferedOutput(
            connection.fileno(), str(self._spec), limit=_UNREAD_LIMIT, broken=self._lost
        )
        self._output.start(self._loop)
        if self._telnet is not None:
            self._output.write(telnet.GREETING)
        self._open_input(self._loop, connection.fileno())
        self._set_open(True)

    def _received(self, data: bytes) -> None:
        super()._received(data if self._telnet is None else self._telnet.feed(data))
        self._end_if_lost()

    def _lost(self) -> None:
        self._is_lost = True
        self._end_if_lost()

    def _end_if_lost(self) -> None:
        # What a peer that has gone has said before is still to be read, and its end follows; but where the
        # guest reads nothing, the next one is not to wait for that.
        if self._is_lost and self._is_full and self._loop is not None:
            self._loop.defer(self._ended)

    def _ended(self) -> None:
        """The peer has hung up: wait for the next one."""
        if self._connection is None or self._loop is None:
            return
        self._hang_up(self._loop)
        if self._listener is not None:
            self._loop.add_reader(self._listener.fileno(), self._accept)
        elif self._spec.reconnect:
            self._connect_later()

    def _hang_up(self, loop: Loop | None) -> None:
        if self._connection is None:
            return
        if loop is not None and self._watched:
            loop.remove_reader(self._connection.fileno())
        self._watched = False
        self._close_input()
        if self._output is not None:
            self._output.close()
            self._output = None
        self._connection.close()
        self._connection = None
        self._set_open(False)

    def _connect_later(self) -> None:
        assert self._loop is not None
        clock = self._loop.clock
        clock.timer(self._connect_again).arm(clock.now() + self._spec.reconnect * NS_PER_SECOND)

    def _connect_again(self) -> None:
        if self._loop is None:
            return
        try:
            self._begin(_connect(self._spec))
        except OSError:
            self._connect_later()


def _listen(spec: ChardevSpec) -> socket.socket:
    if spec.path is not None:
        return listen_unix(spec.path, backlog=1)
    family, kind, protocol, _, address = _resolve(spec)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _connect(spec: ChardevSpec) -> socket.socket:
    if spec.path is not None:
        return _connected(socket.AF_UNIX, os.fspath(spec.path))
    problem = OSError(f"{spec.host} has no address")
    for family, _, _, _, address in _resolve(spec):
        try:
            return _connected(family, address)
        except OSError as error:
            problem = error
    raise problem


def _connected(family: int, address: object) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    with contextlib.ExitStack() as undo:
        undo.callback(connection.close)
        connection.settimeout(_CONNECT_SECONDS)
        connection.connect(address)  # type: ignore[arg-type]
        undo.pop_all()
    return connection


def _resolve(spec: ChardevSpec) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
    flags = socket.AI_PASSIVE if spec.server else 0
    found = socket.getaddrinfo(spec.host or None, int(spec.port), type=socket.SOCK_STREAM, flags=flags)
    return [*found]
