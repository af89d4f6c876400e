"""One vCPU as the coordinator sees it: its process, where it is in its life, and how to reach it."""

import contextlib
import os
import select
import signal
from collections import deque
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from mpvm.abi.layout import Request, ResumeFlag, VcpuArea
from mpvm.abi.messages import identity
from mpvm.coordinator.dispatch import Exit
from mpvm.coordinator.forkserver import ForkServer
from mpvm.coordinator.trampoline import stderr_path

KICK_SIGNAL: Final = signal.SIGUSR1

_LAST_EXITS: Final = 16
_LAST_WORDS_BYTES: Final = 4096


class VcpuState(IntEnum):
    """The life of a vCPU, as far as its worker has reported it. `ABSENT`: it has none, and can be added."""

    ABSENT = -1
    STARTING = 0
    CREATED = 1
    READY = 2
    RUNNING = 3
    PAUSED = 4
    STOPPED = 5


class Vcpu:
    """`identity` is its name on the socket; `created_ns` and `ready_ns` are what its worker has measured.

    `generation` counts the workers that were this vCPU before.
    """

    def __init__(self, index: int, area: VcpuArea, generation: int = 0) -> None:
        self.index = index
        self.area = area
        self.generation = generation
        self.identity = identity(index, generation)
        # Beside the vCPU, before or after it is: its failure or end is not the VM's.
        self.detached = False
        # With what it goes on when it is resumed next.
        self.entry_flags = ResumeFlag(0)
        self.state = VcpuState.STARTING
        self.pid = 0
        self.pidfd = -1
        self.engine = ""
        self.created_ns = 0
        self.ready_ns = 0
        # What its FAILED message said: text and class name.
        self.failure: tuple[str, str] | None = None
        self.gone = False
        # Gone, and its last message has had the time to arrive.
        self.buried = False
        self.last_exits: deque[Exit] = deque(maxlen=_LAST_EXITS)
        self._server: ForkServer | None = None
        # Of its process, once that has been asked for.
        self.exit_code: int | None = None
        self._stderr = Path(os.devnull)

    def absent(self) -> "Vcpu":
        """What is in its place when it is gone: nobody, with its stderr, until another comes."""
        nobody = Vcpu(self.index, self.area, self.generation + 1)
        nobody.state = VcpuState.ABSENT
        nobody._stderr = self._stderr
        return nobody

    def start(
        self, server: ForkServer, module: str, runtime_dir: str, arguments: Mapping[str, Any], doorbell: int
    ) -> None:
        """Ask `server` for its process, which calls ``module.main``; `started` has to follow."""
        server.ask(module, self.index, runtime_dir, {**arguments, "generation": self.generation}, doorbell)
        self._server = server
        self._stderr = Path(stderr_path(runtime_dir, self.index))

    def started(self) -> None:
        """Wait until its process is there."""
        assert self._server is not None
        self.pid, self.pidfd = self._server.started()

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

    @property
    def is_up(self) -> bool:
        """Whether its worker is ready, and still there."""
        return self.state is VcpuState.READY and not self.gone

    @property
    def has_failed(self) -> bool:
        """Whether its worker won't come up; `failure_of` knows why."""
        return self.failure is not None or self.buried

    def kill(self) -> None:
        """SIGKILL, for a worker that does not end when it is told to."""
        if not self.gone:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def has_ended(self) -> bool:
        """Whether its process has ended, as the kernel has it: `gone` is what the event loop has heard."""
        if self.gone or self.pidfd < 0:
            return self.gone
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def exit_status(self) -> str:
        """How its process ended, once it has."""
        code = self._reap()
        if code is None:
            return "its worker ended"
        if code >= 0:
            return f"its worker ended with status {code}"
        try:
            return f"its worker was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"its worker was killed by signal {-code}"

    def _reap(self) -> int | None:
        """Its process's exit code; None when the fork server has ended, too, or it has none."""
        if self.exit_code is None and self._server is not None and self.pidfd >= 0:
            with contextlib.suppress(OSError, EOFError):
                self.exit_code = self._server.exit_code(self.pid)
        return self.exit_code

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
            self._reap()
            os.close(self.pidfd)
            self.pidfd = -1
