"""The vCPUs' socket, a ROUTER: against libzmq's DEALER, and against bytes that no DEALER sends."""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from mpvm.abi import zmtp
from mpvm.abi.errors import StartError
from mpvm.abi.messages import MAX_MESSAGE_BYTES
from mpvm.coordinator.router import Router

IDENTITY = b"\x00\x05"


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/vcpu.sock"


@pytest.fixture
def router(endpoint: str) -> Iterator[Router]:
    router = Router(endpoint)
    yield router
    router.close()


@pytest.fixture
def dealer(router: Router, endpoint: str) -> Iterator["zmq.Socket[bytes]"]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.identity = IDENTITY
        dealer.rcvtimeo = 10_000
        dealer.linger = 0
        dealer.connect(endpoint)
        yield dealer


def wait(fd: int, router: Router) -> tuple[bytes, bytes]:
    while (received := router.receive()) is None:
        assert zmq.zmq_poll([(fd, zmq.POLLIN)], 10_000)
    return received


def test_what_is_sent_before_the_socket_is_served_waits_for_it(
    router: Router, dealer: "zmq.Socket[bytes]"
) -> None:
    dealer.send(b"early")
    assert router.receive() is None
    assert wait(router.open(), router) == (IDENTITY, b"early")


def test_an_answer_goes_to_its_identity(router: Router, dealer: "zmq.Socket[bytes]") -> None:
    dealer.send(b"here")
    wait(router.open(), router)
    router.send(IDENTITY, b"answer")
    assert dealer.recv() == b"answer"


def test_a_worker_that_is_not_connected_is_unreachable(router: Router) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
        router.send(IDENTITY, b"answer")
    router.open()
    with pytest.raises(OSError, match=os.strerror(errno.EHOSTUNREACH)) as after:
        router.send(IDENTITY, b"answer")
    assert after.value.errno == errno.EHOSTUNREACH


def test_an_address_that_is_taken_is_a_failure_to_start(router: Router, endpoint: str) -> None:
    with pytest.raises(StartError, match="can't make the socket"):
        Router(endpoint)


READY = zmtp.ready(Socket_Type=b"DEALER", Identity=IDENTITY)


def connect(endpoint: str, said: bytes) -> socket.socket:
    """A connection that has said `said`."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(endpoint.removeprefix("ipc://"))
    connection.sendall(said)
    return connection


def is_dropped(connection: socket.socket, router: Router) -> bool:
    """Whether the other side hangs up before it has heard a message."""
    connection.setblocking(False)
    for _ in range(1000):
        assert router.receive() is None
        try:
            if not connection.recv(4096):
                return True
        except BlockingIOError:
            continue
        except ConnectionResetError:
            return True
    return False


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1".ljust(64),
        zmtp.GREETING.replace(b"NULL\0\0\0\0\0", b"PLAIN\0\0\0\0") + READY,
        zmtp.GREETING.replace(b"\x7f\x03", b"\x7f\x01") + READY,
        zmtp.GREETING + zmtp.frame(0, b"no READY"),
        zmtp.GREETING + zmtp.ready(Socket_Type=b"DEALER"),
        zmtp.GREETING + zmtp.ready(Socket_Type=b"PUB", Identity=IDENTITY),
        zmtp.GREETING + zmtp.frame(zmtp.COMMAND, b"\x05READY\x0bSocket-Type\0\0\0\x99DEALER"),
        zmtp.GREETING + READY + b"\x01\x01x",
        zmtp.GREETING + READY + b"\x02" + (MAX_MESSAGE_BYTES + 1).to_bytes(8, "big"),
    ],
    ids=[
        "another protocol",
        "another mechanism",
        "ZMTP 1",
        "no READY",
        "no identity",
        "a PUB",
        "half a property",
        "two parts",
        "too long",
    ],
)
def test_who_is_no_worker_is_disconnected(router: Router, endpoint: str, said: bytes) -> None:
    router.open()
    # What follows makes every frame whole.
    with connect(endpoint, said + bytes(300)) as stranger:
        assert is_dropped(stranger, router)
    with pytest.raises(OSError, match=os.strerror(errno.EHOSTUNREACH)):
        router.send(IDENTITY, b"answer")


def test_a_second_worker_of_the_same_identity_is_disconnected(
    router: Router, dealer: "zmq.Socket[bytes]", endpoint: str
) -> None:
    dealer.send(b"first")
    fd = router.open()
    assert wait(fd, router) == (IDENTITY, b"first")
    with connect(endpoint, zmtp.GREETING + READY) as second:
        assert is_dropped(second, router)
    router.send(IDENTITY, b"answer")
    assert dealer.recv() == b"answer"


def test_what_arrives_in_pieces_and_what_arrives_together_are_the_same_messages(
    router: Router, endpoint: str
) -> None:
    fd = router.open()
    said = zmtp.GREETING + READY + zmtp.frame(0, b"a") + zmtp.frame(0, b"b" * 300) + zmtp.frame(0, b"")
    got = []
    with connect(endpoint, b"") as worker:
        for octet in said[:-5]:
            worker.sendall(bytes([octet]))
            early = router.receive()
            if early is not None:
                got.append(early[1])
        worker.sendall(said[-5:])
        while len(got) < 3:
            got.append(wait(fd, router)[1])
    assert got == [b"a", b"b" * 300, b""]


def test_a_worker_that_reads_late_gets_everything_in_order(router: Router, endpoint: str) -> None:
    fd = router.open()
    with connect(endpoint, zmtp.GREETING + READY + zmtp.frame(0, b"here")) as worker:
        wait(fd, router)
        sent = b"".join(zmtp.frame(0, bytes([number]) * 50_000) for number in range(40))
        for number in range(40):
            router.send(IDENTITY, bytes([number]) * 50_000)
        expected = zmtp.GREETING + zmtp.ready(Socket_Type=b"ROUTER") + sent
        got = b""
        while len(got) < len(expected):
            got += worker.recv(1 << 20)
            router.receive()
        assert got == expected


def test_the_messages_of_a_worker_that_has_gone_are_there(router: Router, endpoint: str) -> None:
    connect(endpoint, zmtp.GREETING + READY + zmtp.frame(0, b"last words")).close()
    assert wait(router.open(), router) == (IDENTITY, b"last words")
    while IDENTITY in router._peers:
        assert router.receive() is None
    with pytest.raises(OSError, match=os.strerror(errno.EHOSTUNREACH)):
        router.send(IDENTITY, b"answer")
