"""Runs `mpvm` as a user does, as a command, and finds what a run has left behind."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pexpect

from mpvm.coordinator.runtime_dir import JANITOR
from tests.system.debian import REPOSITORY

MPVM = (sys.executable, "-m", "mpvm")

#: Root reads what no mode bit allows, unless it has lost these capabilities (capabilities(7)).
_WITHOUT_OVERRIDE = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")

_MARK = "MPVM_TEST_RUN"
_SHM = Path("/dev/shm")
_TIDY_SECONDS = 30.0
_KILL_SECONDS = 900.0


class Run(NamedTuple):
    """What a finished `mpvm` gave; `console` is its stdout, `messages` its stderr."""

    status: int
    console: str
    messages: str

    def __str__(self) -> str:
        return f"status {self.status}\n--- stdout\n{self.console}\n--- stderr\n{self.messages}"


class Process(NamedTuple):
    """A process that belongs to a run, found in /proc."""

    pid: int
    command: str


class Launcher:
    """Starts `mpvm` in a runtime directory of its own.

    A mark in the environment, which all processes of a run inherit, is what they are found by.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = folder / "run"
        self.runtime.mkdir(mode=0o700)
        #: What is started, and in which folder.
        self.program: tuple[str, ...] = MPVM
        self.working = REPOSITORY
        self._mark = secrets.token_hex(8)
        self._children: list[subprocess.Popen[bytes]] = []
        self._terminals: list[pexpect.spawn[str]] = []
        self._pids: list[int] = []
        self._prefix: tuple[str, ...] = ()
        self.environment = {
            **os.environ,
            "MPVM_RUNTIME_DIR": str(self.runtime),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PYTHONPATH": str(REPOSITORY),
            "TERM": "dumb",
            _MARK: self._mark,
        }

    def run(self, *arguments: str | Path, seconds: float = _KILL_SECONDS) -> Run:
        """`mpvm ARGUMENTS` to its end, with no terminal and nothing on stdin.

        A guest that hangs ends by its own --timeout; an `mpvm` that does not end in so many `seconds` is a
        subprocess.TimeoutExpired.
        """
        child = self.start(*arguments)
        console, messages = child.communicate(timeout=seconds)
        return Run(child.returncode, console.decode(errors="replace"), messages.decode(errors="replace"))

    def start(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """`mpvm ARGUMENTS`, with pipes for stdout and stderr."""
        child = subprocess.Popen(
            [*self._prefix, *self.program, *map(str, arguments)],
            cwd=self.working,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._children.append(child)
        self._pids.append(child.pid)
        return child

    def forget_privileges(self) -> None:
        """Have later runs read only what the mode bits of a file allow, also when root runs the tests."""
        if os.geteuid() == 0:
            self._prefix = _WITHOUT_OVERRIDE

    def terminal(self, command: Sequence[str], seconds: float) -> "pexpect.spawn[str]":
        """`command` on a terminal of its own; each `expect` waits at most `seconds`."""
        terminal = pexpect.spawn(
            command[0],
            list(command[1:]),
            timeout=seconds,
            cwd=str(REPOSITORY),
            env=self.environment,
            encoding="utf-8",
            codec_errors="replace",
            dimensions=(24, 120),
        )
        self._terminals.append(terminal)
        return terminal

    def processes(self) -> list[Process]:
        """The live processes of this launcher's runs."""
        return list(_marked(f"{_MARK}={self._mark}".encode()))

    def remember_processes(self) -> None:
        """Look for their segments, too: on a terminal, `mpvm` need not be the child that was started."""
        self._pids += [process.pid for process in self.processes()]

    def remember(self, pid: int) -> None:
        """Look for the segments of process `pid`, too."""
        self._pids.append(pid)

    def end(self) -> None:
        """End whatever a failed test has not ended, but for the janitors, which then tidy up."""
        for terminal in self._terminals:
            terminal.close(force=True)
        for process in self.processes():
            if JANITOR in process.command.split():
                continue
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        for child in self._children:
            child.wait()
            for stream in (child.stdout, child.stderr):
                if stream is not None:
                    stream.close()

    def leftovers(self) -> list[str]:
        """What the runs have left: processes, files of the runtime directory, segments in /dev/shm.

        They have some time to go: what an `mpvm` killed outright has left is tidied up by others.
        """
        deadline = time.monotonic() + _TIDY_SECONDS
        while (left := self._left_now()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def _left_now(self) -> list[str]:
        segments = [path for path in _SHM.iterdir() if self._is_ours(path.name)]
        return [
            *(f"process {process.pid}: {process.command}" for process in self.processes()),
            *map(str, sorted(self.runtime.rglob("*"))),
            *map(str, segments),
        ]

    def _is_ours(self, segment: str) -> bool:
        """Segments are called mpvm-<pid of the coordinator>-..."""
        return any(segment.startswith(f"mpvm-{pid}-") for pid in self._pids)


@contextlib.contextmanager
def launcher() -> Iterator[Launcher]:
    """A launcher whose runs have ended and whose folder is gone afterwards.

    The folder's path is short: it has to hold names of Unix sockets.
    """
    with tempfile.TemporaryDirectory(prefix="mpvm-") as folder:
        one = Launcher(Path(folder))
        try:
            yield one
        finally:
            one.end()


def read_until(child: subprocess.Popen[bytes], wanted: bytes) -> bytes:
    """What `child` prints up to and with `wanted`; an end before that is an AssertionError with its words."""
    assert child.stdout is not None
    got = b""
    while wanted not in got:
        piece = os.read(child.stdout.fileno(), 65536)
        if not piece:
            assert child.stderr is not None
            words = child.stderr.read().decode(errors="replace")
            raise AssertionError(f"mpvm ended before {wanted!r}: {got!r}\n{words}")
        got += piece
    return got


def _marked(mark: bytes) -> Iterator[Process]:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                yield Process(int(folder.name), command.strip())
