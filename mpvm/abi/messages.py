"""Wire messages between coordinator and workers: msgpack arrays over ZeroMQ.

A message is ``[WIRE_VERSION, kind, *fields]``; `FIELDS` says how many fields of which types a kind
has. Decoding is strict: anything else is a `ProtocolError`, never an exception of msgpack's.
"""

from enum import IntEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgpack

from mpvm.abi.errors import ProtocolError

WIRE_VERSION: Final = 1
MAX_MESSAGE_BYTES: Final = 64 * 1024

# Guests ask the same of the same port again and again: equal messages are made and read once. Longer ones
# are too rare, and would make the memory they keep unbounded.
_CACHED_MESSAGES: Final = 1024
_CACHED_BYTES: Final = 64


class Kind(IntEnum):
    """What a message says. Worker to coordinator below 32, coordinator to worker from 32 on."""

    CREATED = 1
    READY = 2
    EXIT = 3
    PAUSED = 4
    STOPPED = 5
    FAILED = 6
    RESUME = 32
    REPLY = 33
    STOP = 34


def identity(index: int, generation: int) -> bytes:
    """A worker's name on the coordinator's socket: the `generation`-th that is vCPU `index`, from 0 on."""
    return index.to_bytes(2, "big") + generation.to_bytes(4, "big")


FIELDS: Final[dict[Kind, tuple[type, ...]]] = {
    # vCPU process id, engine version, ns spent on creating the engine
    Kind.CREATED: (int, str, int),
    # ns from process start to here
    Kind.READY: (int,),
    # exit reason, direction, address (port or guest-physical), size, data
    Kind.EXIT: (int, int, int, int, int),
    Kind.PAUSED: (),
    # the vCPU's exit loop has ended
    Kind.STOPPED: (),
    # one line that says what went wrong, the exception's class name
    Kind.FAILED: (str, str),
    # layout.ResumeFlag bits
    Kind.RESUME: (int,),
    # data of the exit that is answered
    Kind.REPLY: (int,),
    Kind.STOP: (),
}


class Message(NamedTuple):
    """A decoded message."""

    kind: Kind
    fields: tuple[Any, ...]


_pack = msgpack.Packer(use_bin_type=True).pack


# True is equal to 1, and is not the same on the wire.
@lru_cache(_CACHED_MESSAGES, typed=True)
def encode(kind: Kind, *fields: int | str) -> bytes:
    """Bytes of the message `kind` with `fields`."""
    return bytes(_pack((WIRE_VERSION, int(kind), *fields)))


def decode(data: bytes) -> Message:
    """The message in `data`; raises `ProtocolError` when it is not exactly one valid message."""
    return _decode_short(data) if len(data) <= _CACHED_BYTES else _decode(data)


def _decode(data: bytes) -> Message:
    if len(data) > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"message of {len(data)} bytes, the limit is {MAX_MESSAGE_BYTES}")
    try:
        raw = msgpack.unpackb(
            data,
            raw=False,
            use_list=False,
            strict_map_key=True,
            max_array_len=16,
            max_map_len=0,
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise ProtocolError(f"message is not msgpack: {error or type(error).__name__}") from error
    if not isinstance(raw, tuple) or len(raw) < 2:
        raise ProtocolError("message is not an array of version, kind and fields")
    version, kind_number, *fields = raw
    if version != WIRE_VERSION or type(version) is not int:
        raise ProtocolError(f"message has wire version {version!r}, this side speaks {WIRE_VERSION}")
    if type(kind_number) is not int or kind_number not in Kind._value2member_map_:
        raise ProtocolError(f"message has unknown kind {kind_number!r}")
    kind = Kind(kind_number)
    types = FIELDS[kind]
    if len(fields) != len(types):
        raise ProtocolError(f"{kind.name} has {len(fields)} fields, {len(types)} are right")
    for position, (value, wanted) in enumerate(zip(fields, types, strict=True)):
        if type(value) is not wanted:
            raise ProtocolError(
                f"{kind.name} field {position} is {type(value).__name__}, {wanted.__name__} is right"
            )
    return Message(kind, tuple(fields))


_decode_short = lru_cache(_CACHED_MESSAGES)(_decode)
