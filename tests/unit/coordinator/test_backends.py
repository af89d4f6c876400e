"""Chardevs at FIFOs, pseudo-terminals and sockets, in a loop of a test, and what the other end sees."""

import contextlib
import os
import socket
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mpvm.abi.errors import StartError
from mpvm.config import ChardevSpec
from mpvm.coordinator.chardev.backends import Chardevs
from mpvm.coordinator.clock import MonotonicClock
from mpvm.coordinator.loop import EventLoop
from mpvm.hw.char.chardev import Chardev, NullChardev

SECONDS_10 = 10**10
Make = Callable[..., Chardev]


class Guest:
    """A front end with room for `room` bytes."""

    def __init__(self, chardev: Chardev, room: int = 1 << 20) -> None:
        self.chardev = chardev
        self.got = bytearray()
        self.room = room
        self.opened: list[bool] = []
        self.breaks = 0
        chardev.connect(self.receive, lambda: self.room, self.receive_break, self.opened.append)

    def receive(self, data: bytes) -> None:
        assert len(data) <= self.room
        self.got += data
        self.room -= len(data)

    def receive_break(self) -> None:
        self.breaks += 1


class Bench:
    """Chardevs in a loop. The path of sockets is short, as it has to be."""

    def __init__(self, folder: Path) -> None:
        self.loop = EventLoop(MonotonicClock())
        self.path = folder / "s"
        self.quits = 0
        self.monitors: list[Chardev] = []
        self.chardevs = Chardevs(self._quit, self.monitors.append)

    def _quit(self) -> None:
        self.quits += 1

    def guest(self, spec: ChardevSpec, room: int = 1 << 20) -> Guest:
        guest = Guest(self.chardevs.make(spec, "serial0"), room)
        self.chardevs.start(self.loop)
        return guest

    def until(self, reached: Callable[[], bool]) -> None:
        assert self.loop.run(reached, self.loop.clock.now() + SECONDS_10)

    def read(self, fd: int, count: int) -> bytes:
        got = bytearray()
        self.loop.add_reader(fd, lambda: got.extend(os.read(fd, 1 << 16)))
        self.until(lambda: len(got) >= count)
        self.loop.remove_reader(fd)
        return bytes(got)

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(os.fspath(self.path))
        return client

    def server(self, **more: object) -> ChardevSpec:
        return ChardevSpec("socket", self.path, server=True)._replace(**more)  # type: ignore[arg-type]

    def close(self) -> None:
        self.chardevs.close()
        self.loop.close()


@pytest.fixture
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("b"))
    with contextlib.closing(bench):
        yield bench


def test_nobody_is_a_chardev_without_io(bench: Bench) -> None:
    assert isinstance(bench.chardevs.make(ChardevSpec("null"), "serial0"), NullChardev)
    assert bench.chardevs.backends == []


# -- FIFOs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("s.in", "s.out"), ("s", "s")])
def test_a_pipe_is_two_fifos_or_one(bench: Bench, names: tuple[str, str]) -> None:
    read, write = (bench.path.with_name(name) for name in names)
    for path in {read, write}:
        os.mkfifo(path)
    guest = bench.guest(ChardevSpec("pipe", bench.path))
    guest.chardev.write(b"hello")
    fd = os.open(write, os.O_RDONLY | os.O_NONBLOCK)
    if read == write:
        # One FIFO echoes: what is written there comes back to whoever reads first.
        bench.until(lambda: guest.got == b"hello")
    else:
        assert bench.read(fd, 5) == b"hello"
        keys = os.open(read, os.O_WRONLY)
        os.write(keys, b"typed")
        bench.until(lambda: guest.got == b"typed")
        # Who writes may go, and another come.
        os.close(keys)
        keys = os.open(read, os.O_WRONLY)
        os.write(keys, b" again")
        bench.until(lambda: guest.got == b"typed again")
        os.close(keys)
    os.close(fd)


def test_a_pipe_without_a_fifo_is_told(bench: Bench) -> None:
    with pytest.raises(StartError, match=r"serial pipe:.*/s: No such file or directory; FIFOs .*/s\.in and"):
        bench.guest(ChardevSpec("pipe", bench.path))


# -- pseudo-terminals -------------------------------------------------------------------------------------


def test_a_pty_tells_its_name_and_is_a_raw_terminal(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    guest = bench.guest(ChardevSpec("pty"), room=3)
    words = capsys.readouterr().err.split()
    assert words[:4] == ["char", "device", "redirected", "to"]
    assert words[5:] == ["(label", "serial0)"]
    for _ in range(2):
        # Whoever opens it may go and come again.
        terminal = os.open(words[4], os.O_RDWR | os.O_NOCTTY)
        assert not termios.tcgetattr(terminal)[3] & (termios.ECHO | termios.ICANON)
        guest.chardev.write(b"login:\n")
        assert bench.read(terminal, 7) == b"login:\n"
        os.write(terminal, b"\x03ab")
        bench.until(lambda: guest.got == b"\x03ab")
        guest.got.clear()
        guest.room = 3
        os.close(terminal)
    assert bench.chardevs.list()[0].filename == f"pty:{words[4]}"


def test_a_pty_that_nobody_opens_holds_nothing_up(bench: Bench) -> None:
    guest = bench.guest(ChardevSpec("pty"))
    for _ in range(100):
        guest.chardev.write(bytes(4096))
        bench.loop.iterate(block=False)


# -- servers ----------------------------------------------------------------------------------------------


def test_a_servers_client_reads_and_writes(bench: Bench) -> None:
    guest = bench.guest(bench.server())
    guest.chardev.write(b"to nobody")
    client = bench.connect()
    client.send(b"typed")
    bench.until(lambda: guest.got == b"typed")
    guest.chardev.write(b"hello")
    assert bench.read(client.fileno(), 5) == b"hello"
    assert guest.opened == [True]
    client.close()


def test_a_client_goes_and_the_next_one_has_waited(bench: Bench) -> None:
    guest = bench.guest(bench.server())
    first, second = bench.connect(), bench.connect()
    first.send(b"last words")
    second.send(b", first words")
    first.close()
    bench.until(lambda: guest.got == b"last words, first words")
    assert guest.opened == [True, False, True]
    guest.chardev.write(b"hello")
    assert bench.read(second.fileno(), 5) == b"hello"
    second.close()
    bench.until(lambda: guest.opened[-1] is False)
    assert bench.chardevs.list()[0].filename == f"disconnected:unix:{bench.path},server=on"


def test_what_a_client_has_said_is_kept_until_the_guest_has_room(bench: Bench) -> None:
    guest = bench.guest(bench.server(), room=1)
    client = bench.connect()
    client.send(b"abc")
    client.close()
    bench.until(lambda: guest.opened == [True, False])
    assert guest.got == b"a"
    for _ in range(2):
        guest.room = 1
        guest.chardev.room_available()
    assert guest.got == b"abc"


def test_a_client_that_reads_nothing_holds_nothing_up(bench: Bench) -> None:
    guest = bench.guest(bench.server())
    client = bench.connect()
    bench.until(lambda: guest.opened == [True])
    data = os.urandom(1 << 20)
    guest.chardev.write(data)
    for _ in range(5):
        bench.loop.iterate(block=False)
    assert bench.read(client.fileno(), len(data)) == data
    client.close()


def test_a_client_that_is_gone_is_noticed_by_a_write_also_while_the_guest_reads_nothing(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    guest = bench.guest(bench.server(), room=0)
    client = bench.connect()
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            client.send(bytes(1 << 16))
            bench.loop.iterate(block=False)
    bench.until(lambda: guest.opened == [True])
    client.close()
    guest.chardev.write(b"x")
    bench.until(lambda: guest.opened == [True, False])
    other = bench.connect()
    bench.until(lambda: guest.opened == [True, False, True])
    other.close()
    assert capsys.readouterr().err == ""


def test_the_machine_waits_for_a_client_where_that_is_wanted(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    guest = Guest(bench.chardevs.make(bench.server(wait=True), "serial0"))
    clients: list[socket.socket] = []
    timer = bench.loop.clock.timer(lambda: clients.append(bench.connect()))
    timer.arm(bench.loop.clock.now() + 10**7)
    bench.chardevs.wait_for_peers(bench.loop)
    bench.chardevs.start(bench.loop)
    assert guest.opened == [True]
    expected = f"mpvm: waiting for connection on: disconnected:unix:{bench.path},server=on\n"
    assert capsys.readouterr().err == expected
    guest.chardev.write(b"hello")
    assert bench.read(clients[0].fileno(), 5) == b"hello"
    clients[0].close()


def test_the_rest_is_written_at_the_end_and_the_socket_is_gone(bench: Bench) -> None:
    guest = bench.guest(bench.server())
    client = bench.connect()
    bench.until(lambda: guest.opened == [True])
    guest.chardev.write(b"last words")
    bench.chardevs.close()
    assert client.recv(100) == b"last words"
    assert client.recv(100) == b""
    assert not bench.path.exists()
    client.close()


def test_a_socket_that_a_killed_vm_has_left_is_replaced(bench: Bench) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(os.fspath(bench.path))
    guest = bench.guest(bench.server())
    with bench.connect() as client:
        client.send(b"a")
        bench.until(lambda: guest.got == b"a")


def test_an_address_that_is_taken_is_told(bench: Bench) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(os.fspath(bench.path))
        other.listen()
        with pytest.raises(
            StartError, match=r"chardev unix:.*/s: can't listen at it: Address already in use"
        ):
            bench.guest(bench.server())


def test_a_tcp_server_takes_clients_at_a_port_that_the_kernel_may_choose(bench: Bench) -> None:
    guest = bench.guest(ChardevSpec("socket", host="127.0.0.1", port="0", server=True))
    name = bench.chardevs.list()[0].filename
    assert name.startswith("disconnected:tcp:127.0.0.1:")
    port = int(name.removesuffix(",server=on").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.send(b"typed")
        bench.until(lambda: guest.got == b"typed")
        guest.chardev.write(b"hello")
        assert bench.read(client.fileno(), 5) == b"hello"


def test_telnet_is_greeted_and_its_commands_are_not_the_guests(bench: Bench) -> None:
    guest = bench.guest(bench.server(telnet=True))
    with bench.connect() as client:
        greeting = bench.read(client.fileno(), 12)
        assert greeting == b"\xff\xfb\x01\xff\xfb\x03\xff\xfb\x00\xff\xfd\x00"
        for piece in (b"a\xff\xfd", b"\x01b\xff", b"\xffc\xff\xfa\x18\x01\xff\xf0d\xff\xf3e"):
            client.send(piece)
            bench.loop.iterate()
        bench.until(lambda: guest.got == b"ab\xffcde")
        assert guest.breaks == 1
        guest.chardev.write(b"x\xffy")
        assert bench.read(client.fileno(), 4) == b"x\xff\xffy"


# -- clients ----------------------------------------------------------------------------------------------


@pytest.fixture
def peer(bench: Bench) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(bench.path))
        listener.listen()
        yield listener


def test_a_client_connects_before_it_starts(bench: Bench, peer: socket.socket) -> None:
    guest = bench.guest(ChardevSpec("socket", bench.path))
    connection, _ = peer.accept()
    connection.send(b"typed")
    bench.until(lambda: guest.got == b"typed")
    guest.chardev.write(b"hello")
    assert bench.read(connection.fileno(), 5) == b"hello"
    connection.close()
    bench.until(lambda: guest.opened == [True, False])
    guest.chardev.write(b"to nobody")


def test_a_client_that_finds_nobody_is_told(bench: Bench) -> None:
    with pytest.raises(
        StartError, match=r"chardev unix:.*/s: can't connect to it: No such file or directory"
    ):
        bench.guest(ChardevSpec("socket", bench.path))


def test_a_client_tries_again_where_that_is_wanted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpvm.coordinator.chardev.socket.NS_PER_SECOND", 10**6)
    guest = bench.guest(ChardevSpec("socket", bench.path, reconnect=1))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(bench.path))
        listener.listen()
        for opened in ([True], [True, False, True]):
            bench.until(lambda: guest.opened == opened)  # noqa: B023 - it is called in here alone
            listener.accept()[0].close()


# -- sharing ----------------------------------------------------------------------------------------------


def test_a_socket_is_shared_with_its_escape_key(bench: Bench) -> None:
    guest = bench.guest(bench.server(mux=True, monitor=True))
    with bench.connect() as client:
        client.send(b"typed\x01x\x01c")
        bench.until(lambda: len(bench.monitors) == 1)
        assert guest.got == b"typed"
        assert (bench.quits, guest.opened) == (1, [True])


def test_a_chardev_that_is_defined_is_made_once(bench: Bench) -> None:
    spec = ChardevSpec("null", id="a", mux=True)
    bench.chardevs.define([spec, bench.server(id="b")])
    first, second = (bench.chardevs.make(spec, "serial0") for _ in range(2))
    assert first is not second
    assert bench.chardevs.make(bench.server(id="b"), "serial0") is bench.chardevs.backends[0]
    assert [info.label for info in bench.chardevs.list()] == ["b", "a"]
