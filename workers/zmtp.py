"""The worker's end of its ZeroMQ connection: a DEALER that speaks ZMTP 3.0 (rfc.zeromq.org/spec/23) itself.

libzmq puts a thread of its own between a socket and its user, which every message has to wake. Without it
an exit and its reply are four changes of thread in the place of six, and a vCPU has two threads less. The
coordinator's end is libzmq's ROUTER.
"""

import select
import socket
from typing import Final

from mpvm.abi.errors import ProtocolError
from mpvm.abi.messages import MAX_MESSAGE_BYTES
from mpvm.abi.polling import Polling

_SIGNATURE: Final = b"\xff" + bytes(8) + b"\x7f"
_NULL: Final = b"NULL".ljust(20, b"\0")
# Signature, version 3.0, mechanism, no server, filler.
_GREETING: Final = _SIGNATURE + b"\x03\x00" + _NULL + bytes(32)
_MAJOR: Final = len(_SIGNATURE)
_MECHANISM: Final = slice(12, 32)

# The first octet of a frame. A frame of an octet's length has none of them, and LONG has eight octets.
_LONG: Final = 0x02
_COMMAND: Final = 0x04
_READY: Final = b"\x05READY"
_CHUNK: Final = 4096


def _frame(flags: int, body: bytes) -> bytes:
    if len(body) > 0xFF:
        return bytes([flags | _LONG]) + len(body).to_bytes(8, "big") + body
    return bytes([flags, len(body)]) + body


def _property(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + len(value).to_bytes(4, "big") + value


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
        metadata = _property(b"Socket-Type", b"DEALER") + _property(b"Identity", identity)
        self._socket.sendall(_GREETING + _frame(_COMMAND, _READY + metadata))
        greeting = self._take(len(_GREETING))
        flags, command = self._take_frame()
        if (
            greeting[:1] + greeting[_MAJOR - 1 : _MAJOR] != b"\xff\x7f"
            or greeting[_MAJOR] < _GREETING[_MAJOR]
            or greeting[_MECHANISM] != _NULL
            or flags != _COMMAND
            or not command.startswith(_READY)
        ):
            raise ProtocolError(f"{endpoint} is no ZeroMQ socket for a worker: {greeting + command!r}")

    def send(self, message: bytes) -> None:
        """Send a message of one part. It is the kernel's when this returns, and arrives though we end."""
        self._socket.sendall(_frame(0, message))

    def receive(self) -> bytes:
        """Wait for the next message, of one part."""
        flags, body = self._take_frame()
        if flags:
            raise ProtocolError(f"a frame with the flags {flags:#x} from the coordinator, a message is right")
        return body

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()

    def _take_frame(self) -> tuple[int, bytes]:
        """A frame's flags, but for LONG, and its body."""
        flags, size = self._take(2)
        if flags & _LONG:
            size = int.from_bytes(bytes([size]) + self._take(7), "big")
        if size > MAX_MESSAGE_BYTES:
            raise ProtocolError(f"a frame of {size} bytes, the limit is {MAX_MESSAGE_BYTES}")
        return flags & ~_LONG, self._take(size)

    def _look(self) -> bool:
        return bool(self._readable.poll(0))

    def _take(self, size: int) -> bytes:
        while len(self._received) < size:
            self._received += self._read()
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def _read(self) -> bytes:
        if not self._polling.wait(self._look):
            # A wait in recv() would wake up twice: when the other side has read what we sent, too.
            self._readable.poll()
            self._polling.slept()
        data = self._socket.recv(_CHUNK)
        if not data:
            raise ProtocolError("the coordinator has closed the connection")
        return data
