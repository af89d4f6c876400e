"""Clients on real sockets in a real event loop."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from mpvm.coordinator.clock import MonotonicClock
from mpvm.coordinator.loop import EventLoop
from mpvm.tools.qmp import server as qmp_server
from mpvm.tools.qmp.server import QmpServer
from tests.unit.tools.qmp.fake_vm import FakeVm

_LIMIT_NS = 10**10


class Client:
    """The other end of a client's socket, and what it has been told."""

    def __init__(self, server: QmpServer, loop: EventLoop) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX)
        self.socket.setblocking(False)
        self._loop = loop
        server.connect(theirs)

    def told(self) -> list[dict[str, Any]]:
        """Everything until the server has nothing more to do, one object a line."""
        self._loop.iterate(block=False)
        data = b""
        while True:
            try:
                piece = self.socket.recv(65536)
            except BlockingIOError:
                break
            if not piece:
                break
            data += piece
        assert data.endswith(b"\r\n") or not data
        return [json.loads(line) for line in data.splitlines()]

    def negotiate(self) -> None:
        self.socket.sendall(b'{"execute": "qmp_capabilities"}')
        assert self.told()[-1] == {"return": {}}

    def is_disconnected(self) -> bool:
        try:
            while self.socket.recv(1 << 20):
                pass
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        return True


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop(MonotonicClock())
    yield loop
    loop.close()


@pytest.fixture
def server(loop: EventLoop) -> Iterator[QmpServer]:
    server = QmpServer(FakeVm(), loop)
    yield server
    server.close()


@pytest.fixture
def client(server: QmpServer, loop: EventLoop) -> Iterator[Client]:
    client = Client(server, loop)
    yield client
    client.socket.close()


def test_a_client_is_greeted(client: Client) -> None:
    [greeting] = client.told()
    assert greeting["QMP"]["capabilities"] == []
    assert set(greeting["QMP"]["version"]["qemu"]) == {"major", "minor", "micro"}


def test_requests_are_answered_in_their_order(client: Client) -> None:
    client.negotiate()
    client.socket.sendall(b'{"execute": "stop", "id": 1}{"execute": "cont", "id": 2}\n')
    assert [response["id"] for response in client.told()] == [1, 2]


def test_an_event_goes_to_every_client_that_has_negotiated(server: QmpServer, loop: EventLoop) -> None:
    clients = [Client(server, loop) for _ in range(3)]
    for client in clients[:2]:
        client.negotiate()
    server.emit("STOP")
    server.emit("SHUTDOWN", {"guest": True})
    for client in clients[:2]:
        stop, shutdown = client.told()
        assert stop["event"] == "STOP"
        assert "data" not in stop
        assert set(stop["timestamp"]) == {"seconds", "microseconds"}
        assert shutdown["data"] == {"guest": True}
    assert [message.keys() for message in clients[2].told()] == [{"QMP"}]
    for client in clients:
        client.socket.close()


def test_a_client_that_hangs_up_is_forgotten(server: QmpServer, client: Client, loop: EventLoop) -> None:
    client.negotiate()
    client.socket.close()
    loop.iterate(block=False)
    server.emit("STOP")


def test_a_request_without_end_disconnects(client: Client, loop: EventLoop) -> None:
    client.negotiate()
    client.socket.setblocking(True)
    piece = b'{"execute": "' + b"x" * 65536
    for _ in range(40):
        try:
            client.socket.sendall(piece)
        except OSError:
            break
        loop.iterate(block=False)
    client.socket.setblocking(False)
    assert client.is_disconnected()


def test_a_client_that_reads_nothing_is_disconnected(
    server: QmpServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qmp_server, "_OUTPUT_LIMIT", 10_000)
    client.negotiate()
    for _ in range(10_000):
        server.emit("STOP", {"filler": "x" * 1000})
    assert client.is_disconnected()


def test_what_a_slow_client_has_not_read_comes_later(server: QmpServer, client: Client) -> None:
    client.negotiate()
    for number in range(1000):
        server.emit("STOP", {"number": number, "filler": "x" * 1000})
    got: list[int] = []
    while len(got) < 1000:
        got += [event["data"]["number"] for event in _whole_lines(client)]
    assert got == list(range(1000))


def _whole_lines(client: Client) -> list[dict[str, Any]]:
    client._loop.iterate(block=False)
    data = getattr(client, "rest", b"") + client.socket.recv(1 << 20)
    *lines, rest = data.split(b"\r\n")
    client.rest = rest  # type: ignore[attr-defined]
    return [json.loads(line) for line in lines]


def test_the_end_hands_out_what_is_left(server: QmpServer, client: Client) -> None:
    client.negotiate()
    server.emit("SHUTDOWN")
    server.close()
    assert client.told()[-1]["event"] == "SHUTDOWN"
    assert client.is_disconnected()
