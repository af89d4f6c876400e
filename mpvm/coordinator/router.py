"""The vCPUs' socket: a ZeroMQ ROUTER (mpvm/abi/zmtp.py), which gives a message its worker's identity.

Workers can connect as soon as it is made; what they say waits for `open`. A stranger, or who breaks the
protocol, is disconnected and not told of: whoever can reach the socket is the user.
"""

import contextlib
import errno
import os
import select
import socket
from collections import deque
from typing import Final

from mpvm.abi import zmtp
from mpvm.abi.errors import ProtocolError, StartError

_BACKLOG: Final = 128
_CHUNK: Final = 65536


class _Peer:
    """A connection. It has an `identity` once its READY is there."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.identity: bytes | None = None
        self.greeted = False
        self.received = b""
        # What the kernel did not take at once.
        self.unsent = b""


class Router:
    """Listens at the `ipc` address `endpoint` from the start; raises `StartError` when it can't."""

    def __init__(self, endpoint: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._epoll: select.epoll | None = None
        self._connections: dict[int, _Peer] = {}
        self._peers: dict[bytes, _Peer] = {}
        self._messages: deque[tuple[bytes, bytes]] = deque()
        try:
            self._listener.bind(endpoint.removeprefix("ipc://"))
            self._listener.listen(_BACKLOG)
        except OSError as error:
            self._listener.close()
            raise StartError(f"can't make the socket {endpoint}: {error.strerror or error}") from error

    def open(self) -> int:
        """Serve the socket. The descriptor that is readable while there is news; `receive` takes it."""
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        return self._epoll.fileno()

    def receive(self) -> tuple[bytes, bytes] | None:
        """The next message's identity and payload; None when there is none."""
        if not self._messages and self._epoll is not None:
            for fd, events in self._epoll.poll(0):
                self._serve(fd, events)
        return self._messages.popleft() if self._messages else None

    def send(self, identity: bytes, payload: bytes) -> None:
        """Send to the worker `identity`; `OSError`, with EHOSTUNREACH when it is not connected."""
        peer = self._peers.get(identity)
        if peer is None:
            number = errno.ENOTCONN if self._epoll is None else errno.EHOSTUNREACH
            raise OSError(number, os.strerror(number))
        self._send(peer, zmtp.frame(0, payload))

    def close(self) -> None:
        """Close the socket and all connections."""
        for peer in [*self._connections.values()]:
            self._drop(peer)
        self._listener.close()
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None

    def _serve(self, fd: int, events: int) -> None:
        if fd == self._listener.fileno():
            self._accept()
            return
        peer = self._connections.get(fd)
        if peer is None:
            return
        if events & ~select.EPOLLOUT:
            self._read(peer)
        elif peer.unsent:
            with contextlib.suppress(OSError):
                self._send(peer, b"")

    def _accept(self) -> None:
        assert self._epoll is not None
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            peer = self._connections[connection.fileno()] = _Peer(connection)
            self._epoll.register(connection, select.EPOLLIN)
            self._send(peer, zmtp.GREETING + zmtp.ready(Socket_Type=b"ROUTER"))

    def _send(self, peer: _Peer, octets: bytes) -> None:
        # What is behind unsent octets waits with them.
        waited, octets = bool(peer.unsent), peer.unsent + octets
        try:
            sent = peer.socket.send(octets)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            # It has gone, which is found when all that it has said is read.
            raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH)) from error
        peer.unsent = octets[sent:]
        if bool(peer.unsent) is not waited:
            assert self._epoll is not None
            self._epoll.modify(peer.socket, select.EPOLLIN | (select.EPOLLOUT if peer.unsent else 0))

    def _read(self, peer: _Peer) -> None:
        try:
            octets = peer.socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        if not octets:
            self._drop(peer)
            return
        peer.received += octets
        try:
            self._take(peer)
        except (ProtocolError, IndexError):
            self._drop(peer)

    def _take(self, peer: _Peer) -> None:
        """Take what has arrived whole. Raises `ProtocolError` or IndexError for what no worker says."""
        if not peer.greeted:
            if len(peer.received) < len(zmtp.GREETING):
                return
            if not zmtp.speaks(peer.received):
                raise ProtocolError("a greeting of another protocol, ZMTP 3 is right")
            peer.greeted = True
            peer.received = peer.received[len(zmtp.GREETING) :]
        while found := zmtp.first_frame(peer.received):
            peer.received = peer.received[found.octets :]
            if peer.identity is None:
                self._introduce(peer, found)
            elif found.flags:
                raise ProtocolError(
                    f"a frame with the flags {found.flags:#x}, a message of one part is right"
                )
            else:
                self._messages.append((peer.identity, found.body))

    def _introduce(self, peer: _Peer, command: zmtp.Frame) -> None:
        properties = zmtp.properties_of(command) or {}
        identity = properties.get(zmtp.IDENTITY, b"")
        if properties.get(zmtp.SOCKET_TYPE) != b"DEALER" or not identity or identity in self._peers:
            raise ProtocolError("a worker is a DEALER with an identity of its own")
        peer.identity = identity
        self._peers[identity] = peer

    def _drop(self, peer: _Peer) -> None:
        self._connections.pop(peer.socket.fileno(), None)
        if peer.identity is not None and self._peers.get(peer.identity) is peer:
            del self._peers[peer.identity]
        # Closed, it leaves the epoll set by itself.
        peer.socket.close()
