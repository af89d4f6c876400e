"""Wire messages are decoded strictly: exactly one valid message, or a `ProtocolError`."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpvm.abi.errors import ProtocolError
from mpvm.abi.messages import FIELDS, MAX_MESSAGE_BYTES, WIRE_VERSION, Kind, Message, decode, encode

_EXAMPLES: dict[type, int | str] = {int: 2**64 - 1, str: "unicorn 2.1.4"}


def _fields(kind: Kind) -> list[int | str]:
    return [_EXAMPLES[wanted] for wanted in FIELDS[kind]]


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name)
def test_a_message_comes_back_as_it_was_sent(kind: Kind) -> None:
    assert decode(encode(kind, *_fields(kind))) == Message(kind, tuple(_fields(kind)))


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name)
def test_every_truncation_is_refused(kind: Kind) -> None:
    whole = encode(kind, *_fields(kind))
    for length in range(len(whole)):
        with pytest.raises(ProtocolError):
            decode(whole[:length])


def test_bytes_after_a_message_are_refused() -> None:
    with pytest.raises(ProtocolError, match="not msgpack"):
        decode(encode(Kind.PAUSED) + b"\0")


def test_an_oversized_message_is_refused_before_it_is_looked_at() -> None:
    with pytest.raises(ProtocolError, match=f"the limit is {MAX_MESSAGE_BYTES}"):
        decode(encode(Kind.FAILED, "x" * MAX_MESSAGE_BYTES, "WorkerError"))


def test_another_wire_version_is_refused_with_both_versions() -> None:
    with pytest.raises(ProtocolError, match=rf"version {WIRE_VERSION + 1}, this side speaks {WIRE_VERSION}"):
        decode(msgpack.packb((WIRE_VERSION + 1, int(Kind.PAUSED))))


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ((WIRE_VERSION, 0), "unknown kind 0"),
        ((WIRE_VERSION, "PAUSED"), "unknown kind 'PAUSED'"),
        ((WIRE_VERSION, True), "unknown kind True"),
        ((True, int(Kind.PAUSED)), "wire version True"),
        ((WIRE_VERSION,), "not an array of version, kind and fields"),
        (7, "not an array of version, kind and fields"),
        ("PAUSED", "not an array of version, kind and fields"),
        ((WIRE_VERSION, int(Kind.PAUSED), 1), "PAUSED has 1 fields, 0 are right"),
        ((WIRE_VERSION, int(Kind.REPLY)), "REPLY has 0 fields, 1 are right"),
        ((WIRE_VERSION, int(Kind.REPLY), "0"), "REPLY field 0 is str, int is right"),
        ((WIRE_VERSION, int(Kind.REPLY), True), "REPLY field 0 is bool, int is right"),
        ((WIRE_VERSION, int(Kind.REPLY), None), "REPLY field 0 is NoneType, int is right"),
        ((WIRE_VERSION, int(Kind.REPLY), 1.0), "REPLY field 0 is float, int is right"),
        ((WIRE_VERSION, int(Kind.FAILED), b"text", "WorkerError"), "FAILED field 0 is bytes, str is right"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_message_of_the_wrong_shape_is_refused_with_what_is_right(message: object, complaint: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        decode(msgpack.packb(message))
    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    "inner", [{"key": 1}, {1: 2}, msgpack.ExtType(1, b"x")], ids=["map", "int-map", "ext"]
)
def test_maps_and_extensions_are_refused(inner: object) -> None:
    with pytest.raises(ProtocolError):
        decode(msgpack.packb((WIRE_VERSION, int(Kind.REPLY), inner)))


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ProtocolError):
        decode(b"\x91" * 50_000 + b"\0")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    try:
        message = decode(data)
    except ProtocolError:
        return
    assert decode(encode(message.kind, *message.fields)) == message
