"""A vCPU that is a worker process, as under `mpvm run`: it is told to go on, and says why it has stopped.

The fork server, the socket, the messages and the worker are the coordinator's. State and exits are in shared
memory.
"""

import contextlib
import itertools
import os
import select
import signal
import threading
from typing import Any, Final

from mpvm.abi.errors import MpvmError, ProtocolError, StartError, WorkerError
from mpvm.abi.exits import ExitReason
from mpvm.abi.layout import MAX_VCPUS, Request, ResumeFlag
from mpvm.abi.messages import Kind, Message, decode, encode, identity
from mpvm.coordinator import forkserver
from mpvm.coordinator.router import Router
from mpvm.coordinator.runtime_dir import RuntimeDir
from mpvm.coordinator.shm import VmMemory
from mpvm.kvm.blocks import Blocks

_MODULE: Final = "workers.vcpu"
_KICK: Final = signal.SIGUSR1
_LIMIT_MS: Final = 30_000


class _Processes:
    """The fork server and its directory, as long as any VM of this process has workers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._numbers = itertools.count()
        self.directory: RuntimeDir | None = None

    def take(self) -> str:
        """A name for the segments of a VM, which has to `give` the server back."""
        with self._lock:
            if not self._users:
                self.directory = forkserver.take_runtime_dir()
            self._users += 1
            assert self.directory is not None
            return f"{self.directory.name}-{next(self._numbers)}"

    def give(self) -> None:
        """A VM is gone."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self.directory = None
                forkserver.stop()


_PROCESSES: Final = _Processes()


def segments(ram_bytes: int) -> Blocks:
    """Blocks in shared memory."""
    name = _PROCESSES.take()
    try:
        memory = VmMemory(name, MAX_VCPUS, ram_bytes, ())
    except MpvmError:
        _PROCESSES.give()
        raise

    def close() -> None:
        memory.close()
        _PROCESSES.give()

    blocks = Blocks(memory.vm, memory.ram, ram_bytes, close)
    blocks.names = (memory.vm_name, memory.ram_name)
    return blocks


class WorkerRunner:
    """Asks for the process when it is made, and waits until it is ready."""

    def __init__(self, blocks: Blocks, index: int) -> None:
        self._area = blocks.areas[index]
        self._name = identity(index, 0)
        self._up = False
        # Why it stopped while nobody waited for it.
        self._stopped: int | None = None
        self._doorbell = os.eventfd(0)
        directory = _PROCESSES.directory
        assert directory is not None
        endpoint = f"ipc://{directory.path}/{blocks.names[0]}-{index}.sock"
        self._router = Router(endpoint)
        arguments: dict[str, Any] = {
            "generation": 0,
            "vm_block": blocks.names[0],
            "ram_block": blocks.names[1],
            "endpoint": endpoint,
            "coordinator_pid": os.getpid(),
            "log_mask": 0,
            "log_file": None,
            "nice": None,
            "perfmap": False,
            "symbol_table": None,
            "accel": "unicorn",
            "cpuset": sorted(os.sched_getaffinity(0)),
        }
        server = forkserver.server()
        server.ask(_MODULE, index, str(directory.path), arguments, self._doorbell)
        self._pid, self._pidfd = server.started()
        self._poll = select.poll()
        self._poll.register(self._router.open(), select.POLLIN)
        self._poll.register(self._pidfd, select.POLLIN)
        for wanted in (Kind.CREATED, Kind.READY):
            if (message := self._receive()).kind is not wanted:
                raise StartError(f"vCPU {index}: {message.kind.name}, {wanted.name} is right")
        self._up = True

    def _receive(self) -> Message:
        while True:
            if (received := self._router.receive()) is not None:
                message = decode(received[1])
                if message.kind is Kind.FAILED:
                    raise WorkerError(f"vCPU {self._area.index}: {message.fields[0]}")
                return message
            ready = dict(self._poll.poll(None if self._up else _LIMIT_MS))
            if self._pidfd in ready and self._router.receive() is None:
                raise WorkerError(f"vCPU {self._area.index}: its worker (process {self._pid}) has ended")
            if not ready:
                raise WorkerError(f"vCPU {self._area.index}: its worker (process {self._pid}) is silent")

    def _wait(self) -> int:
        message = self._receive()
        match message.kind:
            case Kind.EXIT:
                return int(message.fields[0])
            case Kind.PAUSED:
                return ExitReason.INTR
        raise ProtocolError(f"vCPU {self._area.index}: {message.kind.name}, EXIT or PAUSED is right")

    def reset(self) -> None:
        """Power-on reset, with the CPU model that the area has."""
        self._area.request |= Request.PAUSE
        self._router.send(self._name, encode(Kind.RESUME, int(ResumeFlag.RESET)))
        self._wait()

    def run(self, *, load: bool, controls: bool) -> int:
        """Run until an exit; its reason. Takes over the guest state before if `load`, and the `controls`."""
        stopped, self._stopped = self._stopped, None
        if stopped is not None and not load and not controls:
            return stopped
        flags = ResumeFlag.LOAD_STATE if load else ResumeFlag(0)
        if controls:
            flags |= ResumeFlag.CONTROLS
        self._router.send(self._name, encode(Kind.RESUME, int(flags)))
        try:
            return self._wait()
        except (MpvmError, OSError):
            raise
        except BaseException:
            # A handler of a signal has raised something: the guest stops, too.
            self._area.request |= Request.PAUSE
            self.kick()
            self._stopped = self._wait()
            raise

    def kick(self) -> None:
        """From another thread: look at requests and inbox."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, _KICK)

    def error(self) -> str:
        """What an INTERNAL_ERROR exit was about: its worker knows."""
        return ""

    def close(self) -> None:
        """End the process."""
        self._area.request |= Request.STOP
        with contextlib.suppress(OSError):
            self._router.send(self._name, encode(Kind.STOP))
        self.kick()
        ended = select.poll()
        ended.register(self._pidfd, select.POLLIN)
        if not ended.poll(_LIMIT_MS):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        with contextlib.suppress(OSError, EOFError):
            forkserver.server().exit_code(self._pid)
        self._router.close()
        os.close(self._pidfd)
        os.close(self._doorbell)


def worker_runner(blocks: Blocks, index: int) -> WorkerRunner:
    """A new process; `StartError` when it does not come up."""
    try:
        return WorkerRunner(blocks, index)
    except (WorkerError, OSError, EOFError) as error:
        raise StartError(f"vCPU {index}: {error}") from error
