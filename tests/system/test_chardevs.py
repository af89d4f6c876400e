"""Serial lines and the monitor at terminals and sockets, with clients as a person or a script is one."""

import os
import re
import signal
import socket
import time
from pathlib import Path

import pexpect
import pytest

from mpvm.abi.errors import ExitStatus
from tests.system import tiny
from tests.system.runner import MPVM, Launcher

_SECONDS = 60.0
# Echoes what comes in: mov dx, 0x3fd; in al, dx; test al, 1; jz; mov dx, 0x3f8; in al, dx; out dx, al; jmp
_ECHO = bytes.fromhex("66bafd03eca80174fb66baf803ecee") + b"\xeb" + bytes([256 - 17])
_PROMPT = "(qemu) "


def _config(launch: Launcher, code: bytes, text: str) -> Path:
    (launch.folder / "kernel").write_bytes(tiny.image(code))
    path = launch.folder / "vm.yaml"
    path.write_text(f"boot: {{kernel: kernel}}\n{text}")
    return path


class Client:
    """A client of a Unix socket; what it reads is text."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_SECONDS)
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                self._socket.connect(os.fspath(path))
            except (FileNotFoundError, ConnectionRefusedError):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            else:
                return

    def send(self, text: str) -> None:
        self._socket.sendall(text.encode())

    def until(self, words: str) -> str:
        got = b""
        while not got.endswith(words.encode()):
            piece = self._socket.recv(4096)
            assert piece, f"{words!r} never came: {got!r}"
            got += piece
        return got.decode()

    def command(self, text: str) -> str:
        """What the monitor answers, without its echo and its prompt."""
        self.send(text + "\n")
        return self.until(_PROMPT).partition("\r\n")[2].removesuffix(_PROMPT).replace("\r\n", "\n")

    def close(self) -> None:
        self._socket.close()


def test_a_guest_talks_to_one_client_after_the_other_and_to_none_in_between(launch: Launcher) -> None:
    path = launch.folder / "line"
    child = launch.start("run", "--quiet", _config(launch, _ECHO, 'serial: ["unix:line,server=on,wait=off"]'))
    for words in ("hello", "again"):
        client = Client(path)
        client.send(words)
        # The guest's first letter went to nobody, or to this one.
        client.until(words)
        client.close()
    child.send_signal(signal.SIGTERM)
    assert child.wait(_SECONDS) == ExitStatus.TERMINATED
    assert not path.exists()


def test_the_guest_does_not_run_before_its_client_is_there(launch: Launcher) -> None:
    path = launch.folder / "line"
    child = launch.start("run", "--quiet", _config(launch, _ECHO, "serial: ['unix:line,server=on']"))
    client = Client(path)
    client.until(tiny.GREETING.decode())
    client.send("x")
    client.until("x")
    client.close()
    child.send_signal(signal.SIGTERM)
    _, messages = child.communicate(timeout=_SECONDS)
    assert messages.decode() == f"mpvm: waiting for connection on: disconnected:unix:{path},server=on\n"


def test_a_signal_ends_the_wait_for_a_client(launch: Launcher) -> None:
    child = launch.start("run", "--quiet", _config(launch, _ECHO, "serial: ['unix:line,server=on']"))
    assert child.stderr is not None
    assert b"waiting for connection" in child.stderr.readline()
    child.send_signal(signal.SIGTERM)
    assert child.wait(_SECONDS) == ExitStatus.TERMINATED
    assert launch.leftovers() == []


def test_a_person_at_the_terminal_goes_to_the_monitor_and_back_and_quits(launch: Launcher) -> None:
    config = _config(launch, _ECHO, "")
    terminal = launch.terminal([*MPVM, "run", "--quiet", str(config)], seconds=_SECONDS)
    terminal.expect_exact(tiny.GREETING.decode())
    launch.remember_processes()
    terminal.send("a")
    terminal.expect_exact("a")
    terminal.sendcontrol("a")
    terminal.send("c")
    terminal.expect(r"monitor - type 'help' for more information\r+\n\(qemu\) ")
    terminal.send("info status\r")
    terminal.expect(r"VM status: running\r+\n\(qemu\) ")
    terminal.sendcontrol("a")
    terminal.send("cb")
    terminal.expect_exact("b")
    terminal.sendcontrol("a")
    terminal.send("c")
    terminal.expect_exact(_PROMPT)
    terminal.send("quit\r")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


@pytest.mark.parametrize(
    ("signals", "status"), [(True, ExitStatus.INTERRUPTED), (False, 0)], ids=["signal", "key"]
)
def test_ctrl_c_at_a_terminal_without_the_escape_key_is_a_signal_where_that_is_wanted(
    launch: Launcher, signals: bool, status: int
) -> None:
    keys = f"serial: [{{backend: stdio, signal: {str(signals).lower()}}}]\n"
    keys += "monitor: ['unix:monitor,server=on,wait=off']\n"
    terminal = launch.terminal([*MPVM, "run", "--quiet", str(_config(launch, _ECHO, keys))], seconds=_SECONDS)
    terminal.expect_exact(tiny.GREETING.decode())
    launch.remember_processes()
    # No escape key: it is the guest's, and so is what follows.
    terminal.sendcontrol("a")
    terminal.send("x")
    terminal.expect_exact("\x01x")
    terminal.sendcontrol("c")
    if not signals:
        terminal.expect_exact("\x03")
        monitor = Client(launch.folder / "monitor")
        monitor.until(_PROMPT)
        monitor.send("quit\n")
        monitor.close()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == status


def test_a_machine_that_starts_paused_is_let_go_by_its_monitor(launch: Launcher) -> None:
    text = "paused: true\nserial: ['file:console']\nmonitor: ['unix:monitor,server=on,wait=off']\n"
    child = launch.start("run", "--quiet", _config(launch, tiny.HALT, text))
    monitor = Client(launch.folder / "monitor")
    assert "monitor - type 'help'" in monitor.until(_PROMPT)
    assert monitor.command("info status") == "VM status: paused (prelaunch)\n"
    # The machine is there, and its memory has the kernel.
    assert monitor.command("xp /1xw 0x100000") == "0000000000100000: 0x1badb002\n"
    assert "EIP=00100020" in monitor.command("info registers")
    assert (launch.folder / "console").read_bytes() == b""
    assert monitor.command("cont") == ""
    deadline = time.monotonic() + _SECONDS
    while (launch.folder / "console").read_bytes() != tiny.GREETING:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert monitor.command("info status") == "VM status: running\n"
    assert re.search(r"HLT=1\n", monitor.command("info registers"))
    assert monitor.command("info chardev") == (
        f"compat_monitor0: filename=unix:{launch.folder}/monitor,server=on\nserial0: filename=file\n"
    )
    monitor.send("quit\n")
    monitor.close()
    assert child.wait(_SECONDS) == 0


def test_a_power_off_that_pauses_leaves_the_machine_to_the_monitor(launch: Launcher) -> None:
    # mov dx, 0x604; mov ax, 0x2000; out dx, ax
    power_off = bytes.fromhex("66ba040666b8002066ef") + tiny.SPIN
    text = "action: {shutdown: pause}\nserial: ['null']\nmonitor: ['unix:monitor,server=on,wait=off']\n"
    child = launch.start("run", "--quiet", _config(launch, power_off, text))
    monitor = Client(launch.folder / "monitor")
    monitor.until(_PROMPT)
    deadline = time.monotonic() + _SECONDS
    while monitor.command("info status") != "VM status: paused (shutdown)\n":
        assert time.monotonic() < deadline
    assert monitor.command("cont") == "Error: Resetting the Virtual Machine is required\n"
    assert monitor.command("system_reset") == ""
    assert monitor.command("info status") == "VM status: paused (prelaunch)\n"
    monitor.send("q\n")
    monitor.close()
    assert child.wait(_SECONDS) == 0
