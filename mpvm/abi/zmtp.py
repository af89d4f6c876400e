"""ZeroMQ's wire protocol, ZMTP 3.0 (rfc.zeromq.org/spec/23), as far as a vCPU's connection needs it.

That is the mechanism NULL, between a DEALER with an identity (the worker) and a ROUTER (the coordinator), and
messages of one part. Both ends speak it themselves: libzmq takes a tenth of a start to import, and puts a
thread of its own between a socket and its user, which every message has to wake. The tests hold both to that.
"""

from typing import Final, NamedTuple

from mpvm.abi.errors import ProtocolError
from mpvm.abi.messages import MAX_MESSAGE_BYTES

_SIGNATURE: Final = b"\xff" + bytes(8) + b"\x7f"
_NULL: Final = b"NULL".ljust(20, b"\0")
# Signature, version 3.0, mechanism, no server, filler.
GREETING: Final = _SIGNATURE + b"\x03\x00" + _NULL + bytes(32)
_MAJOR: Final = len(_SIGNATURE)
_MECHANISM: Final = slice(12, 32)

# The first octet of a frame. A frame of an octet's length has none of them, and LONG has eight octets.
_LONG: Final = 0x02
COMMAND: Final = 0x04
_SHORT_HEAD: Final = 2
_LONG_HEAD: Final = 9
_SHORT_MAX: Final = 0xFF

_READY: Final = b"\x05READY"
SOCKET_TYPE: Final = b"Socket-Type"
IDENTITY: Final = b"Identity"


class Frame(NamedTuple):
    """A frame: its flags, but for LONG, its body, and how many octets it takes on the wire."""

    flags: int
    body: bytes
    octets: int


def frame(flags: int, body: bytes) -> bytes:
    """The octets of a frame."""
    if len(body) > _SHORT_MAX:
        return bytes([flags | _LONG]) + len(body).to_bytes(8, "big") + body
    return bytes([flags, len(body)]) + body


def first_frame(octets: bytes) -> Frame | None:
    """The frame that `octets` begin with, None when it is not there whole.

    Raises `ProtocolError` when it is too long.
    """
    if len(octets) < _SHORT_HEAD:
        return None
    flags, size = octets[0], octets[1]
    head = _SHORT_HEAD
    if flags & _LONG:
        head = _LONG_HEAD
        if len(octets) < head:
            return None
        size = int.from_bytes(octets[1:head], "big")
    if size > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"a frame of {size} bytes, the limit is {MAX_MESSAGE_BYTES}")
    end = head + size
    return Frame(flags & ~_LONG, bytes(octets[head:end]), end) if len(octets) >= end else None


def ready(**properties: bytes) -> bytes:
    """The command READY with `properties`, whose names have underscores for hyphens."""
    body = _READY
    for name, value in properties.items():
        named = name.replace("_", "-").encode()
        body += bytes([len(named)]) + named + len(value).to_bytes(4, "big") + value
    return frame(COMMAND, body)


def speaks(greeting: bytes) -> bool:
    """Whether the other side's greeting is one of ZMTP 3 with the mechanism NULL."""
    return (
        greeting[:1] + greeting[_MAJOR - 1 : _MAJOR] == b"\xff\x7f"
        and greeting[_MAJOR] >= GREETING[_MAJOR]
        and greeting[_MECHANISM] == _NULL
    )


def properties_of(command: Frame) -> dict[bytes, bytes] | None:
    """The properties of a READY, None for any other frame; `ProtocolError` when they end too late."""
    if command.flags != COMMAND or not command.body.startswith(_READY):
        return None
    found = {}
    rest = command.body[len(_READY) :]
    while rest:
        name, rest = rest[1 : 1 + rest[0]], rest[1 + rest[0] :]
        size = int.from_bytes(rest[:4], "big")
        if len(rest) < 4 + size:
            raise ProtocolError(f"a property of {size} bytes, where READY has {len(rest)} left")
        found[name], rest = rest[4 : 4 + size], rest[4 + size :]
    return found
