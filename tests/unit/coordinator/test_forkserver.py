"""The fork server as a program that has imported mpvm gets it: a process of its own, which forks workers."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpvm.coordinator.forkserver import ForkServer

WORKER = """
import os, signal

def main(index, runtime_dir, doorbell_fd, action):
    os.eventfd_write(doorbell_fd, 1)
    match action:
        case "wait":
            signal.pause()
        case "raise":
            raise RuntimeError("no engine")
    return int(action)
"""
SECONDS = 20_000


@pytest.fixture
def doorbell() -> Iterator[int]:
    fd = os.eventfd(0)
    yield fd
    os.close(fd)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkServer]:
    (tmp_path / "fake_vcpu_main.py").write_text(WORKER)
    monkeypatch.syspath_prepend(str(tmp_path))
    server = ForkServer(fork=False)
    yield server
    server.stop()


def ended(pidfd: int) -> bool:
    """Whether the process of `pidfd` ends; closes `pidfd`."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    try:
        return bool(poll.poll(SECONDS))
    finally:
        os.close(pidfd)


def ignored(pid: int) -> list[int]:
    """The signals that process `pid` ignores (proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    [mask] = [line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:")]
    return [number for number in range(1, 65) if int(mask, 16) >> (number - 1) & 1]


def start(server: ForkServer, folder: Path, doorbell: int, action: str, index: int = 0) -> tuple[int, int]:
    server.ask("fake_vcpu_main", index, str(folder), {"action": action}, doorbell)
    return server.started()


def test_the_status_of_a_worker_that_has_ended_is_known(
    server: ForkServer, tmp_path: Path, doorbell: int
) -> None:
    pid, pidfd = start(server, tmp_path, doorbell, "3")
    assert ended(pidfd)
    assert server.exit_code(pid) == 3


def test_the_signal_that_has_killed_a_worker_is_known(
    server: ForkServer, tmp_path: Path, doorbell: int
) -> None:
    pid, pidfd = start(server, tmp_path, doorbell, "wait")
    os.kill(pid, signal.SIGKILL)
    assert ended(pidfd)
    assert server.exit_code(pid) == -signal.SIGKILL


def test_what_a_worker_says_last_is_in_its_file(server: ForkServer, tmp_path: Path, doorbell: int) -> None:
    pid, pidfd = start(server, tmp_path, doorbell, "raise", index=7)
    assert ended(pidfd)
    assert server.exit_code(pid) == 1
    assert (tmp_path / "vcpu7.stderr").read_text().endswith("RuntimeError: no engine\n")


def test_a_module_that_is_not_there_is_said_in_the_workers_file(
    server: ForkServer, tmp_path: Path, doorbell: int
) -> None:
    server.ask("no_such_accelerator", 0, str(tmp_path), {}, doorbell)
    _, pidfd = server.started()
    assert ended(pidfd)
    assert "no_such_accelerator" in (tmp_path / "vcpu0.stderr").read_text()


def test_workers_are_asked_for_together_and_come_in_order(
    server: ForkServer, tmp_path: Path, doorbell: int
) -> None:
    for status in range(4):
        server.ask("fake_vcpu_main", status, str(tmp_path), {"action": str(status)}, doorbell)
    workers = [server.started() for _ in range(4)]
    assert all(ended(pidfd) for _, pidfd in workers)
    assert [server.exit_code(pid) for pid, _ in workers] == [0, 1, 2, 3]
    assert os.eventfd_read(doorbell) == 4


def test_a_status_is_known_although_nobody_has_taken_a_later_worker(
    server: ForkServer, tmp_path: Path, doorbell: int
) -> None:
    pid, pidfd = start(server, tmp_path, doorbell, "5")
    server.ask("fake_vcpu_main", 1, str(tmp_path), {"action": "wait"}, doorbell)
    assert ended(pidfd)
    assert server.exit_code(pid) == 5


def test_its_end_is_the_end_of_every_worker(server: ForkServer, tmp_path: Path, doorbell: int) -> None:
    _, pidfd = start(server, tmp_path, doorbell, "wait")
    server.stop()
    assert ended(pidfd)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_the_terminals_signals_are_for_neither_it_nor_a_worker(
    server: ForkServer, tmp_path: Path, doorbell: int, number: signal.Signals
) -> None:
    pid, pidfd = start(server, tmp_path, doorbell, "wait")
    assert number in ignored(server.pid)
    assert number in ignored(pid)
    os.close(pidfd)


def test_a_server_that_has_been_killed_is_noticed(server: ForkServer, tmp_path: Path, doorbell: int) -> None:
    start_pidfd = os.pidfd_open(server.pid)
    os.kill(server.pid, signal.SIGKILL)
    assert ended(start_pidfd)
    with pytest.raises((OSError, EOFError)):
        start(server, tmp_path, doorbell, "0")


PROGRAM = """
import os, signal, sys, weakref
from mpvm.coordinator import forkserver

class Thing: ...

def callback(reference):
    os.kill(os.getpid(), signal.SIGTERM)

forkserver.start_early()
thing = Thing()
reference = weakref.ref(thing, callback)
del thing
print("goes on", flush=True)
forkserver.end_if_asked()
print("is lost", flush=True)
forkserver.stop()
"""


def test_a_signal_whose_exception_python_drops_ends_the_start_all_the_same() -> None:
    """It comes in a weak reference's callback, of which imports have many."""
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (143, "goes on\n", "")
