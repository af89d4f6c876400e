"""The worker's own ZMTP: against libzmq's ROUTER, and against bytes that no ROUTER sends."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from mpvm.abi.errors import ProtocolError
from mpvm.abi.messages import MAX_MESSAGE_BYTES
from mpvm.abi.polling import Polling
from workers.zmtp import Dealer

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER"
IDENTITY = b"\x00\x03"


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/vcpu.sock"


@pytest.fixture
def router(endpoint: str) -> Iterator["zmq.Socket[bytes]"]:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.rcvtimeo = 10_000
        router.linger = 0
        router.router_mandatory = True
        router.bind(endpoint)
        yield router


def talk(endpoint: str, *said: bytes) -> Dealer:
    """A dealer whose other side has said `said`, and nothing else, and has hung up."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(endpoint.removeprefix("ipc://"))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            for data in said:
                connection.sendall(data)
            # Reading what the dealer says keeps its writes from failing first.
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        return Dealer(endpoint, IDENTITY)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 60_000])
def test_a_message_reaches_libzmqs_router_under_the_dealers_identity(
    router: "zmq.Socket[bytes]", endpoint: str, size: int
) -> None:
    dealer = Dealer(endpoint, IDENTITY)
    dealer.send(b"x" * size)
    assert router.recv_multipart() == [IDENTITY, b"x" * size]
    dealer.close()


@pytest.mark.parametrize("size", [0, 1, 255, 256, 60_000])
def test_a_message_of_libzmqs_router_reaches_the_dealer(
    router: "zmq.Socket[bytes]", endpoint: str, size: int
) -> None:
    dealer = Dealer(endpoint, IDENTITY)
    dealer.send(b"here")
    identity, _ = router.recv_multipart()
    router.send_multipart([identity, b"y" * size])
    assert dealer.receive() == b"y" * size
    dealer.close()


def test_messages_that_arrive_together_are_taken_one_by_one(endpoint: str) -> None:
    dealer = talk(endpoint, GREETING + READY + b"\x00\x01a" + b"\x00\x02bc" + b"\x00\x00")
    assert [dealer.receive() for _ in range(3)] == [b"a", b"bc", b""]
    dealer.close()


def test_a_message_that_arrives_in_pieces_is_whole(endpoint: str) -> None:
    dealer = talk(endpoint, *(bytes([octet]) for octet in GREETING + READY + b"\x00\x02bc"))
    assert dealer.receive() == b"bc"
    dealer.close()


def test_a_message_that_is_looked_for_is_received_as_one_that_is_slept_for(
    router: "zmq.Socket[bytes]", endpoint: str
) -> None:
    # A clock that stands still: from the second wait on it looks for as long as it takes.
    dealer = Dealer(endpoint, IDENTITY, Polling(lambda: 0))
    for number in range(5):
        dealer.send(bytes([number]))
        router.send_multipart(router.recv_multipart())
        assert dealer.receive() == bytes([number])
    dealer.close()


def test_what_was_sent_before_the_end_arrives(router: "zmq.Socket[bytes]", endpoint: str) -> None:
    dealer = Dealer(endpoint, IDENTITY)
    dealer.send(b"last words")
    dealer.close()
    assert router.recv_multipart() == [IDENTITY, b"last words"]


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n".ljust(64) + READY,
        GREETING.replace(b"\x7f\x03", b"\x7f\x01") + READY,
        GREETING.replace(b"NULL\0\0\0\0\0", b"PLAIN\0\0\0\0") + READY,
        GREETING + b"\x04\x08\x05ERROR\x01x",
        GREETING + b"\x00\x01x",
    ],
    ids=["another protocol", "ZMTP 2", "another mechanism", "refused", "no command"],
)
def test_what_is_no_router_for_a_worker_is_refused(endpoint: str, said: bytes) -> None:
    with pytest.raises(ProtocolError, match="is no ZeroMQ socket for a worker"):
        talk(endpoint, said)


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        (b"\x01\x01x", "flags 0x1"),
        (b"\x04\x05\x04PING", "flags 0x4"),
        (b"\x02" + (MAX_MESSAGE_BYTES + 1).to_bytes(8, "big"), f"the limit is {MAX_MESSAGE_BYTES}"),
        (b"\x02" + b"\xff" * 8, f"the limit is {MAX_MESSAGE_BYTES}"),
        (b"", "closed the connection"),
        (b"\x00", "closed the connection"),
        (b"\x00\x05half", "closed the connection"),
    ],
)
def test_a_frame_that_is_no_message_is_a_protocol_error(endpoint: str, frame: bytes, complaint: str) -> None:
    dealer = talk(endpoint, GREETING + READY + frame)
    with pytest.raises(ProtocolError, match=complaint):
        dealer.receive()
    dealer.close()
