"""One vCPU as the coordinator sees it: its process, where it is in its life, and how to reach it."""

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from enum import IntEnum
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Final

from mpvm.abi.layout import Request, VcpuArea
from mpvm.coordinator.dispatch import Exit
from mpvm.coordinator.forkserver import hidden_main
from mpvm.coordinator.trampoline import run_worker, stderr_path

KICK_SIGNAL: Final = signal.SIGUSR1

_LAST_EXITS: Final = 16
_LAST_WORDS_BYTES: Final = 4096
_JOIN_SECONDS: Final = 5.0


class VcpuState(IntEnum):
    """The life of a vCPU, as far as its worker has reported it."""

    STARTING = 0
    CREATED = 1
    READY = 2
    RUNNING = 3
    PAUSED = 4
    STOPPED = 5


class Vcpu:
    """`identity` is its name on the socket; `created_ns` and `ready_ns` are what its worker has measured."""

    def __init__(self, index: int, area: VcpuArea) -> None:
        self.index = index
        self.area = area
        self.identity = index.to_bytes(2, "big")
        self.state = VcpuState.STARTING
        self.pid = 0
        self.pidfd = -1
        self.engine = ""
        self.created_ns = 0
        self.ready_ns = 0
        # What its FAILED message said: text and class name.
        self.failure: tuple[str, str] | None = None
        self.gone = False
        self.last_exits: deque[Exit] = deque(maxlen=_LAST_EXITS)
        self._process: ForkServerProcess | None = None
        self._stderr = Path(os.devnull)

    def start(self, module: str, runtime_dir: str, arguments: dict[str, Any]) -> None:
        """Have the fork server make the process, which calls ``module.main``."""
        self._stderr = stderr_path(runtime_dir, self.index)
        self._process = multiprocessing.get_context("forkserver").Process(
            target=run_worker, args=(module, self.index, runtime_dir, arguments), daemon=True
        )
        with hidden_main():
            self._process.start()
        assert self._process.pid is not None
        self.adopt(self._process.pid)

    def adopt(self, pid: int) -> None:
        """Take process `pid` for this vCPU's."""
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)

    def kick(self) -> None:
        """Make it leave guest code and look at its requests and its inbox.

        Only from *ready* on: before, its process has no handler and would die of the signal.
        """
        if self.state >= VcpuState.READY and not self.gone:
            self._signal(KICK_SIGNAL)

    def ask(self, request: Request) -> None:
        """Set `request` in its area, and kick it."""
        self.area.request |= request
        self.kick()

    def kill(self) -> None:
        """SIGKILL, for a worker that does not end when it is told to."""
        if not self.gone:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def exit_status(self) -> str:
        """How its process ended, once it has."""
        code = None
        if self._process is not None:
            self._process.join(_JOIN_SECONDS)
            code = self._process.exitcode
        if code is None:
            return "its worker ended"
        if code >= 0:
            return f"its worker ended with status {code}"
        try:
            return f"its worker was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"its worker was killed by signal {-code}"

    def stderr(self) -> str:
        """The end of what its process wrote to stderr."""
        try:
            with self._stderr.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _LAST_WORDS_BYTES))
                return file.read().decode("utf-8", "replace").strip()
        except OSError:
            return ""

    def last_words(self) -> str:
        """One line: what its FAILED message or else its stderr said last."""
        if self.failure is not None:
            return self.failure[0]
        lines = self.stderr().splitlines()
        return lines[-1] if lines else ""

    def close(self) -> None:
        """Release what belongs to the process, which has ended."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        if self._process is not None:
            self._process.join(_JOIN_SECONDS)
            if self._process.exitcode is not None:
                self._process.close()
            self._process = None
