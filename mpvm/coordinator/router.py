"""The vCPUs' socket: a ROUTER of libzmq's, which gives each worker's messages the worker's identity.

In two steps, for `zmq` takes longer to import than a worker to be forked: workers can connect as soon as the
listening socket is there, and their messages wait until libzmq takes it over.
"""

import errno
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from mpvm.abi.errors import StartError
from mpvm.abi.messages import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    import zmq

_BACKLOG: Final = 128


class Router:
    """Listens at the `ipc` address `endpoint` from the start; raises `StartError` when it can't."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._socket: zmq.Socket[bytes] | None = None
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._listener.bind(endpoint.removeprefix("ipc://"))
            self._listener.listen(_BACKLOG)
        except OSError as error:
            self._listener.close()
            raise StartError(f"can't make the socket {endpoint}: {error.strerror or error}") from error

    def open(self) -> int:
        """Have libzmq serve the socket. The descriptor that tells of messages.

        It is readable when there may be news, not for as long as there are messages: before each wait,
        `receive` must have returned None.
        """
        import zmq

        self._events, self._readable, self._no_wait, self._more = (
            zmq.EVENTS,
            zmq.POLLIN,
            zmq.NOBLOCK,
            zmq.NOBLOCK | zmq.SNDMORE,
        )
        self._error: type[zmq.ZMQError] = zmq.ZMQError
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.maxmsgsize = MAX_MESSAGE_BYTES
        self._socket.router_mandatory = True
        self._socket.setsockopt(zmq.USE_FD, self._listener.fileno())
        self._socket.bind(self._endpoint)
        # libzmq's from here on.
        self._listener.detach()
        # Any: what an option's value is depends on the option.
        self._option: Callable[[int], Any] = self._socket.getsockopt
        return int(self._option(zmq.FD))

    def receive(self) -> tuple[bytes, bytes] | None:
        """The next message's identity and payload; None when there is none."""
        router = self._socket
        if router is None or not self._option(self._events) & self._readable:
            return None
        # A message's parts arrive together. One part too many is the next message's identity, and one
        # too few is found here: a stranger's either way.
        try:
            return router.recv(self._no_wait), router.recv(self._no_wait)
        except self._error:
            return None

    def send(self, identity: bytes, payload: bytes) -> None:
        """Send to the worker `identity`; `OSError`, with EHOSTUNREACH when it is not connected."""
        if self._socket is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        try:
            self._socket.send(identity, self._more)
            self._socket.send(payload, self._no_wait)
        except self._error as error:
            raise OSError(error.errno, error.strerror) from error

    def close(self) -> None:
        """Close the socket."""
        self._listener.close()
        if self._socket is not None:
            self._context.destroy(linger=0)
