"""Output that nobody waits for and nothing of is lost; the console on descriptors of a test."""

import fcntl
import os
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpvm.abi.errors import StartError
from mpvm.coordinator.chardev.file import FileChardev
from mpvm.coordinator.chardev.log import LoggedChardev
from mpvm.coordinator.chardev.mux import Mux
from mpvm.coordinator.chardev.output import BufferedOutput, Tail
from mpvm.coordinator.chardev.stdio import StdioChardev
from mpvm.coordinator.chardev.terminal import RawTerminal
from mpvm.coordinator.clock import MonotonicClock
from mpvm.coordinator.loop import EventLoop
from mpvm.hw.char.chardev import Chardev

PIPE_BYTES = 4096


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop(MonotonicClock())
    yield loop
    loop.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    yield read, write
    for fd in (read, write):
        os.close(fd)


def read_all(loop: EventLoop, fd: int, wanted: int) -> bytes:
    got = bytearray()
    loop.add_reader(fd, lambda: got.extend(os.read(fd, 1 << 16)))
    assert loop.run(lambda: len(got) >= wanted, loop.clock.now() + 10**10)
    loop.remove_reader(fd)
    return bytes(got)


def test_a_full_pipe_neither_blocks_nor_loses(loop: EventLoop, pipe: tuple[int, int]) -> None:
    output = BufferedOutput(pipe[1], "test")
    output.start(loop)
    data = os.urandom(10 * PIPE_BYTES + 123)
    output.write(data)
    loop.iterate(block=False)
    assert read_all(loop, pipe[0], len(data)) == data
    output.close()


def test_what_is_written_before_the_start_is_written_after_it(loop: EventLoop, pipe: tuple[int, int]) -> None:
    output = BufferedOutput(pipe[1], "test")
    output.write(b"early ")
    output.start(loop)
    output.write(b"late")
    assert read_all(loop, pipe[0], 10) == b"early late"
    output.close()


def test_closing_writes_the_rest(loop: EventLoop, pipe: tuple[int, int]) -> None:
    output = BufferedOutput(pipe[1], "test")
    output.start(loop)
    output.write(b"last words")
    output.close()
    assert os.read(pipe[0], 100) == b"last words"


def test_our_parents_descriptor_stays_blocking(loop: EventLoop, pipe: tuple[int, int]) -> None:
    output = BufferedOutput(pipe[1], "test")
    output.start(loop)
    assert os.get_blocking(pipe[1])
    output.close()


def test_a_reader_that_has_gone_is_told_once(loop: EventLoop, capsys: pytest.CaptureFixture[str]) -> None:
    read, write = os.pipe()
    output = BufferedOutput(write, "stdout")
    output.start(loop)
    os.close(read)
    for _ in range(3):
        output.write(b"x")
        loop.iterate(block=False)
    output.close()
    os.close(write)
    assert capsys.readouterr().err == "mpvm: stdout: Broken pipe; the guest's output is dropped\n"


def test_the_tail_is_the_end_and_bounded() -> None:
    tail = Tail(limit=4)
    for _ in range(100):
        tail.add(b"abc")
    assert tail.text() == "cabc"


def test_a_file_takes_the_output_and_is_made_anew(loop: EventLoop, tmp_path: Path) -> None:
    path = tmp_path / "serial.log"
    path.write_bytes(b"of an earlier run, and longer")
    chardev = FileChardev(path)
    chardev.start(loop)
    chardev.write(b"hello")
    loop.iterate(block=False)
    chardev.write(b" world")
    chardev.close()
    assert path.read_bytes() == b"hello world"


def test_a_file_is_appended_to_where_that_is_wanted(loop: EventLoop, tmp_path: Path) -> None:
    path = tmp_path / "serial.log"
    path.write_bytes(b"earlier ")
    chardev = FileChardev(path, append=True)
    chardev.start(loop)
    chardev.write(b"hello")
    chardev.close()
    assert path.read_bytes() == b"earlier hello"


def test_a_log_has_a_copy_of_the_output(loop: EventLoop, pipe: tuple[int, int], tmp_path: Path) -> None:
    inner = StdioChardev(input_fd=pipe[0], output_fd=pipe[1])
    log = FileChardev(tmp_path / "log")
    chardev = LoggedChardev(inner, log)
    guest = Guest(chardev, 100)
    log.start(loop)
    chardev.write(b"hello")
    inner.deliver(b"typed")
    inner.close()
    log.close()
    assert os.read(pipe[0], 100) == (tmp_path / "log").read_bytes() == b"hello"
    assert guest.got == b"typed"


def test_what_exceeds_an_outputs_limit_is_dropped_without_a_wait(
    loop: EventLoop, pipe: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    output = BufferedOutput(pipe[1], "test", limit=2 * PIPE_BYTES, patience=0)
    output.start(loop)
    for _ in range(10):
        output.write(bytes(PIPE_BYTES))
        loop.iterate(block=False)
    output.close()
    assert len(os.read(pipe[0], 1 << 20)) == PIPE_BYTES
    assert capsys.readouterr().err == ""


def test_a_file_that_can_not_be_made_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"serial file:.*absent/log: No such file or directory"):
        FileChardev(tmp_path / "absent" / "log")


class Guest:
    """The front end: has room for `room` bytes."""

    def __init__(self, chardev: Chardev, room: int) -> None:
        self.got = bytearray()
        self.room = room
        self.breaks = 0
        chardev.connect(self.receive, lambda: self.room, self.receive_break)

    def receive(self, data: bytes) -> None:
        assert len(data) <= self.room
        self.got += data
        self.room -= len(data)

    def receive_break(self) -> None:
        self.breaks += 1


class Console:
    """A shared `StdioChardev` on two pipes, or on a file as its input."""

    def __init__(self, loop: EventLoop, room: int = 1 << 20, input_fd: int | None = None) -> None:
        self.loop = loop
        self.input, self.keyboard = os.pipe()
        self.screen, self.output = os.pipe()
        self.quits = 0
        keys = self.input if input_fd is None else input_fd
        self.stdio = StdioChardev(input_fd=keys, output_fd=self.output)
        self.mux = Mux(self.stdio, self.quit, self.open_monitor)
        self.chardev = self.mux.front_end()
        self.guest = Guest(self.chardev, room)
        self.monitors: list[Guest] = []
        self.stdio.start(loop)

    def quit(self) -> None:
        self.quits += 1

    def open_monitor(self, chardev: Chardev) -> None:
        self.monitors.append(Guest(chardev, 1 << 20))

    def turn(self) -> None:
        for _ in range(4):
            self.loop.iterate(block=False)

    def type(self, data: bytes) -> None:
        os.write(self.keyboard, data)
        self.turn()

    def close(self) -> None:
        self.stdio.close()
        for fd in (self.input, self.keyboard, self.screen, self.output):
            os.close(fd)


@pytest.fixture
def console(loop: EventLoop) -> Iterator[Console]:
    console = Console(loop)
    yield console
    console.close()


def test_keys_reach_the_guest_and_output_the_screen(console: Console) -> None:
    console.type(b"ls\r")
    console.chardev.write(b"bin\r\n")
    console.turn()
    assert console.guest.got == b"ls\r"
    assert os.read(console.screen, 100) == b"bin\r\n"


def test_input_waits_until_the_guest_has_room(console: Console) -> None:
    console.guest.room = 2
    console.type(b"abcdef")
    assert console.guest.got == b"ab"
    console.guest.room = 3
    console.chardev.room_available()
    assert console.guest.got == b"abcde"


def test_quit_works_while_the_guest_reads_nothing(console: Console) -> None:
    console.guest.room = 0
    console.type(b"hello?\x01x")
    assert console.quits == 1


def test_the_other_commands_do_not_reach_the_guest(console: Console) -> None:
    console.type(b"\x01h\x01b")
    assert b"Ctrl-A x  quit\r\n" in os.read(console.screen, 4096)
    assert console.guest.breaks == 1
    assert console.guest.got == b""


def test_the_escape_key_gives_the_monitor_the_keys_and_takes_them_back(console: Console) -> None:
    console.type(b"a\x01cinfo\x01cb\x01c status")
    assert console.guest.got == b"ab"
    assert [monitor.got for monitor in console.monitors] == [b"info status"]


def test_lines_that_share_a_chardev_get_its_input_in_turn(console: Console) -> None:
    focus: list[bool] = []
    console.chardev.focused = focus.append
    other = console.mux.front_end()
    guest = Guest(other, 1 << 20)
    console.type(b"later one has it\x01cfirst")
    assert guest.got == b"later one has it"
    assert console.monitors[0].got == b"first"
    console.type(b"\x01c!")
    assert console.guest.got == b"!"
    console.type(b"\x01c")
    assert focus == [True, False]
    other.write(b"both ")
    console.chardev.write(b"write")
    console.turn()
    assert os.read(console.screen, 100) == b"both write"


def test_time_stamps_are_put_before_lines_as_long_as_they_are_wanted(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 10**9
    monkeypatch.setattr("time.monotonic_ns", lambda: now)
    console.type(b"\x01t")
    now += 3_723_004_000_000
    console.chardev.write(b"one\ntw")
    console.chardev.write(b"o\n")
    console.chardev.write(b"three")
    console.type(b"\x01t")
    console.chardev.write(b"\nfour")
    console.turn()
    stamp = b"[01:02:03.004] "
    assert os.read(console.screen, 200) == stamp + b"one\n" + stamp + b"two\n" + stamp + b"three\nfour"


def test_a_paste_larger_than_what_may_wait_stays_in_the_pipe(console: Console) -> None:
    fcntl.fcntl(console.keyboard, fcntl.F_SETPIPE_SZ, 1 << 18)
    console.guest.room = 0
    data = bytes(65 + n % 26 for n in range(1 << 17))
    os.write(console.keyboard, data)
    for _ in range(40):
        console.turn()
    assert console.chardev.waiting < 1 << 17
    console.guest.room = 1 << 18
    console.chardev.room_available()
    for _ in range(40):
        console.turn()
    assert console.guest.got == data


def test_the_end_of_input_does_not_end_the_run(console: Console) -> None:
    console.type(b"last")
    os.close(console.keyboard)
    console.turn()
    assert console.guest.got == b"last"
    assert console.quits == 0
    console.keyboard = os.dup(console.screen)


def test_a_file_as_input_is_read_as_the_guest_takes_it(loop: EventLoop, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    data = bytes(65 + n % 26 for n in range(10_000))
    path.write_bytes(data)
    with path.open("rb") as file:
        console = Console(loop, room=100, input_fd=file.fileno())
        console.turn()
        assert console.guest.got == data[:100]
        while len(console.guest.got) < len(data):
            console.guest.room = 777
            console.chardev.room_available()
            console.turn()
        assert console.guest.got == data
        console.close()


def test_dev_null_as_input_is_at_its_end(loop: EventLoop) -> None:
    with Path(os.devnull).open("rb") as null:
        console = Console(loop, input_fd=null.fileno())
        console.turn()
        assert console.guest.got == b""
        console.close()


def test_raw_mode_gives_every_key_to_the_guest_and_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = os.openpty()
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp())
    before = termios.tcgetattr(slave)
    terminal = RawTerminal(slave)
    terminal.enter()
    raw = termios.tcgetattr(slave)
    assert not raw[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
    assert not raw[0] & termios.ICRNL
    assert raw[1] & termios.OPOST
    terminal.enter()
    terminal.leave()
    assert termios.tcgetattr(slave) == before
    terminal.leave()
    os.close(master)
    os.close(slave)


def test_raw_mode_leaves_the_keys_that_make_signals_where_that_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    master, slave = os.openpty()
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp())
    terminal = RawTerminal(slave, signal=True)
    terminal.enter()
    local = termios.tcgetattr(slave)[3]
    assert local & termios.ISIG
    assert not local & (termios.ECHO | termios.ICANON)
    terminal.leave()
    os.close(master)
    os.close(slave)


def test_a_terminal_that_another_job_owns_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = os.openpty()
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp() + 1)
    before = termios.tcgetattr(slave)
    terminal = RawTerminal(slave)
    terminal.enter()
    assert not terminal.raw
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_a_terminal_that_is_hung_up_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = os.openpty()
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp())
    terminal = RawTerminal(slave)
    terminal.enter()
    os.close(master)
    terminal.leave()
    assert not terminal.raw
    os.close(slave)
