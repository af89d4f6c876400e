"""A VM in the background: its command comes back when it runs, and it is found by its PID file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mpvm.abi.errors import ExitStatus
from tests.system import tiny
from tests.system.debian import REPOSITORY
from tests.system.runner import Launcher

_SECONDS = 30.0
RUN = ("-m", "mpvm", "run", "--daemonize")
SYSTEM = ("-m", "mpvm.cli.system", "-daemonize", "-nodefaults", "-display", "none")


def _start(launch: Launcher, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """The command to its end; who holds its pipes on is waited for, too."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=REPOSITORY,
        env=launch.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def _until_gone(*paths: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while any(path.exists() for path in paths):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("form", ["run", "system"])
def test_the_command_comes_back_when_the_guest_runs_and_its_signal_ends_it(
    launch: Launcher, form: str
) -> None:
    kernel, console, pidfile = (launch.folder / name for name in ("kernel", "console", "pid"))
    kernel.write_bytes(tiny.image(tiny.HALT))
    if form == "run":
        config = launch.folder / "vm.yaml"
        config.write_text("boot: {kernel: kernel}\nserial: ['file:console']\npidfile: pid\n")
        done = _start(launch, *RUN, config)
    else:
        options = ("-kernel", kernel, "-serial", f"file:{console}", "-pidfile", pidfile)
        done = _start(launch, *SYSTEM, *options)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pid = int(pidfile.read_text())
    launch.remember(pid)
    deadline = time.monotonic() + _SECONDS
    while console.read_bytes() != tiny.GREETING:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert os.getsid(pid) != os.getsid(0)
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    # Its workers and its fork server are its own.
    assert all(os.getsid(process.pid) != os.getsid(0) for process in launch.processes())
    os.kill(pid, signal.SIGTERM)
    _until_gone(pidfile, Path(f"/proc/{pid}"))
    assert launch.leftovers() == []


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        (RUN, ExitStatus.START_FAILURE, "mpvm: serial file:/proc/x: "),
        (SYSTEM, 1, "mpvm-system-x86_64: serial file:/proc/x: "),
    ],
)
def test_what_goes_wrong_at_the_start_is_the_commands(
    launch: Launcher, command: tuple[str, ...], status: int, words: str
) -> None:
    kernel = launch.folder / "kernel"
    kernel.write_bytes(tiny.image(tiny.HALT))
    dashes = "--" if command is RUN else "-"
    done = _start(launch, *command, f"{dashes}kernel", kernel, f"{dashes}serial", "file:/proc/x")
    assert done.returncode == status
    assert done.stderr.startswith(words)
    assert launch.leftovers() == []


@pytest.mark.parametrize(("command", "option"), [(RUN, "--daemonize"), (SYSTEM, "-daemonize")])
def test_a_terminal_is_not_for_the_background(
    launch: Launcher, command: tuple[str, ...], option: str
) -> None:
    kernel = launch.folder / "kernel"
    kernel.write_bytes(tiny.image(tiny.HALT))
    dashes = "--" if command is RUN else "-"
    done = _start(launch, *command, f"{dashes}kernel", kernel, f"{dashes}serial", "stdio")
    assert done.returncode != 0
    assert f"cannot use stdio with {option}, null or another chardev is right" in done.stderr
    assert launch.leftovers() == []
