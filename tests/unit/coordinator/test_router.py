"""The vCPUs' socket: it is there before libzmq is."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from mpvm.abi.errors import StartError
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


def test_what_is_sent_before_libzmq_serves_the_socket_waits_for_it(
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
    with pytest.raises(OSError, match="Host unreachable") as after:
        router.send(IDENTITY, b"answer")
    assert after.value.errno == errno.EHOSTUNREACH


def test_an_address_that_is_taken_is_a_failure_to_start(router: Router, endpoint: str) -> None:
    with pytest.raises(StartError, match="can't make the socket"):
        Router(endpoint)
