"""However a run ends, its status says how and nothing of it is left (the `launch` fixture sees to that)."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mpvm.abi.errors import ExitStatus
from tests.system import linux, tiny
from tests.system.runner import Launcher, launcher, read_until

_BUSY = {"halted": tiny.HALT, "spinning": tiny.SPIN, "at a port": tiny.PORT_STORM}


def _start(launch: Launcher, tmp_path: Path, code: bytes, *options: str) -> subprocess.Popen[bytes]:
    """An `mpvm run` whose first vCPU runs `code`; the others wait for their start-up IPI."""
    kernel = tmp_path / "guest"
    kernel.write_bytes(tiny.image(code))
    return launch.start("run", "--kernel", kernel, "--memory", "64M", "--timeout", "300", *options)


def _end(child: subprocess.Popen[bytes]) -> str:
    """Its words on stderr, once it has ended."""
    _, messages = child.communicate(timeout=linux.TIME_LIMIT)
    return messages.decode()


def _vcpu_pids(child: subprocess.Popen[bytes], smp: int) -> list[int]:
    """The vCPUs' processes, from the lines that a run prints where stderr is no terminal."""
    assert child.stderr is not None
    pids: dict[int, int] = {}
    for line in child.stderr:
        if created := re.match(rb"mpvm: vCPU (\d+) created, process (\d+)", line):
            pids[int(created[1])] = int(created[2])
        if len(pids) == smp:
            break
    assert sorted(pids) == list(range(smp))
    return [pids[index] for index in range(smp)]


@pytest.mark.parametrize("doing", _BUSY)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_with_its_status(
    launch: Launcher, tmp_path: Path, doing: str, number: signal.Signals, status: int
) -> None:
    child = _start(launch, tmp_path, _BUSY[doing], "--smp", "2")
    read_until(child, tiny.GREETING)
    child.send_signal(number)
    messages = _end(child)
    assert child.returncode == status, messages
    assert "Traceback" not in messages


@pytest.mark.parametrize("doing", _BUSY)
def test_a_killed_coordinator_leaves_nothing(launch: Launcher, tmp_path: Path, doing: str) -> None:
    child = _start(launch, tmp_path, _BUSY[doing], "--smp", "4")
    read_until(child, tiny.GREETING)
    assert len(launch.processes()) > 4
    child.kill()
    _end(child)
    assert child.returncode == -signal.SIGKILL


def test_a_run_that_its_test_has_left_leaves_nothing(tmp_path: Path) -> None:
    with launcher() as launch:
        child = _start(launch, tmp_path, tiny.SPIN, "--smp", "2")
        read_until(child, tiny.GREETING)
        launch.end()
        assert launch.leftovers() == []


@pytest.mark.parametrize("doing", _BUSY)
@pytest.mark.parametrize("victim", [0, 3])
def test_a_killed_worker_ends_the_run_with_an_error_that_names_its_vcpu(
    launch: Launcher, tmp_path: Path, doing: str, victim: int
) -> None:
    child = _start(launch, tmp_path, _BUSY[doing], "--smp", "4")
    pids = _vcpu_pids(child, 4)
    read_until(child, tiny.GREETING)
    os.kill(pids[victim], signal.SIGKILL)
    messages = _end(child)
    assert child.returncode == ExitStatus.INTERNAL_ERROR, messages
    [error] = [line for line in messages.splitlines() if "SIGKILL" in line]
    assert re.match(rf"mpvm: vCPU {victim}\b", error)
    assert "Traceback" not in messages


def test_a_worker_killed_while_linux_boots_ends_the_run_in_order(launch: Launcher) -> None:
    child = launch.start("run", *linux.arguments("none", smp=2))
    pids = _vcpu_pids(child, 2)
    read_until(child, b"smp: Brought up 1 node, 2 CPUs")
    os.kill(pids[1], signal.SIGKILL)
    messages = _end(child)
    assert child.returncode == ExitStatus.INTERNAL_ERROR, messages
    assert "vCPU 1" in messages


def test_a_coordinator_killed_while_linux_boots_leaves_nothing(launch: Launcher) -> None:
    child = launch.start("run", *linux.arguments("none", smp=4))
    read_until(child, b"smp: Brought up 1 node, 4 CPUs")
    child.kill()
    _end(child)


def _our_frames(messages: str) -> list[str]:
    """Lines of a traceback that are about our code. An interpreter that is interrupted before it has begun to
    run a program prints one of its own, about its own modules."""
    return [line for line in messages.splitlines() if line.startswith('  File "') and "/mpvm/" in line]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_at_any_moment_of_the_start_leaves_nothing(
    launch: Launcher, tmp_path: Path, number: signal.Signals
) -> None:
    for after_ms in range(0, 400, 40):
        child = _start(launch, tmp_path, tiny.HALT, "--smp", "4", "--quiet")
        time.sleep(after_ms / 1000)
        child.send_signal(number)
        messages = _end(child)
        assert child.returncode != 0, messages
        assert not _our_frames(messages), f"after {after_ms} ms: {messages}"


def test_a_time_limit_ends_a_guest_that_does_not(launch: Launcher, tmp_path: Path) -> None:
    kernel = tmp_path / "guest"
    kernel.write_bytes(tiny.image(tiny.SPIN))
    run = launch.run("run", "--kernel", kernel, "--memory", "64M", "--smp", "2", "--timeout", "2")
    assert run.console == "!"
    assert run.status == ExitStatus.TIME_LIMIT, run


def test_a_triple_fault_is_a_guest_crash(launch: Launcher, tmp_path: Path) -> None:
    child = _start(launch, tmp_path, tiny.TRIPLE_FAULT)
    messages = _end(child)
    assert child.returncode == ExitStatus.GUEST_CRASH, messages
    assert "triple fault" in messages


@pytest.mark.parametrize("value", [0, 3, 0x7F])
def test_the_guests_own_status_is_handed_on(launch: Launcher, tmp_path: Path, value: int) -> None:
    child = _start(launch, tmp_path, tiny.debug_exit(value), "--isa-debug-exit")
    messages = _end(child)
    assert child.returncode == value << 1 | 1, messages


def test_a_guest_whose_output_nobody_reads_any_more_runs_on_to_its_end(
    launch: Launcher, tmp_path: Path
) -> None:
    # mov ecx, 100000; again: out dx, al; loop again, with the greeting's DX and AL
    code = b"\xb9" + (100_000).to_bytes(4, "little") + b"\xee\xe2\xfd" + tiny.debug_exit(3)
    child = _start(launch, tmp_path, code, "--smp", "2", "--quiet", "--isa-debug-exit")
    read_until(child, tiny.GREETING)
    assert child.stdout is not None
    child.stdout.close()
    assert child.stderr is not None
    messages = child.stderr.read().decode()
    assert child.wait(linux.TIME_LIMIT) == 7
    [line] = messages.splitlines()
    assert "output is dropped" in line
