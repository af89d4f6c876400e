"""The worker's end of its ZeroMQ connection: a DEALER (mpvm/abi/zmtp.py). The coordinator's is a ROUTER."""

import select
import socket
from typing import Final

from mpvm.abi import zmtp
from mpvm.abi.errors import ProtocolError
from mpvm.abi.polling import Polling

_CHUNK: Final = 4096


class Dealer:
    """A connection to the ROUTER at the `ipc` address `endpoint`, which calls it `identity`.

    Before it sleeps it looks for a message as `polling` has it, if there is one.
    Raises `ProtocolError` when the other side is no ROUTER, breaks the protocol or closes the connection.
    """

    def __init__(self, endpoint: str, identity: bytes, polling: Polling | None = None) -> None:
        self._received = b""
        self._polling = polling or Polling(enabled=False)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)
        try:
            self._socket.connect(endpoint.removeprefix("ipc://"))
            self._shake_hands(endpoint, identity)
        except BaseException:
            self._socket.close()
            raise

    def _shake_hands(self, endpoint: str, identity: bytes) -> None:
        self._socket.sendall(zmtp.GREETING + zmtp.ready(Socket_Type=b"DEALER", Identity=identity))
        while len(self._received) < len(zmtp.GREETING):
            self._received += self._read()
        greeting, self._received = (
            self._received[: len(zmtp.GREETING)],
            self._received[len(zmtp.GREETING) :],
        )
        command = self._take_frame()
        if not zmtp.speaks(greeting) or zmtp.properties_of(command) is None:
            raise ProtocolError(f"{endpoint} is no ZeroMQ socket for a worker: {greeting + command.body!r}")

    def send(self, message: bytes) -> None:
        """Send a message of one part. It is the kernel's when this returns, and arrives though we end."""
        self._socket.sendall(zmtp.frame(0, message))

    def receive(self) -> bytes:
        """Wait for the next message, of one part."""
        flags, body, _ = self._take_frame()
        if flags:
            raise ProtocolError(f"a frame with the flags {flags:#x} from the coordinator, a message is right")
        return body

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()

    def _take_frame(self) -> zmtp.Frame:
        while (found := zmtp.first_frame(self._received)) is None:
            self._received += self._read()
        self._received = self._received[found.octets :]
        return found

    def _look(self) -> bool:
        return bool(self._readable.poll(0))

    def _read(self) -> bytes:
        if not self._polling.wait(self._look):
            # A wait in recv() would wake up twice: when the other side has read what we sent, too.
            self._readable.poll()
            self._polling.slept()
        data = self._socket.recv(_CHUNK)
        if not data:
            raise ProtocolError("the coordinator has closed the connection")
        return data
