"""The main of a vCPU process: handshake, then the exit loop.

The fork server imports this module, and with it the accelerator's library, before it forks workers.
"""

import importlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from mpvm.abi.errors import MpvmError, ProtocolError, StartError
from mpvm.abi.exits import ExitReason
from mpvm.abi.layout import VCPU_OFFSET, VCPU_STRIDE, Request, ResumeFlag, VcpuArea, VcpuMode, VmPage
from mpvm.abi.messages import Kind, Message, decode, encode, identity
from mpvm.abi.polling import Polling
from workers import perf_map, shm, symbols, watchdog, zmtp
from workers.accelerator import Accelerator
from workers.unicorn import vcpu as _preloaded  # noqa: F401  (the default accelerator's library)

#: Exits that the coordinator answers; the others end the run loop's turn here.
_ANSWERED = frozenset(ExitReason) - {
    ExitReason.UNKNOWN,
    ExitReason.INTR,
    ExitReason.FAIL_ENTRY,
    ExitReason.INTERNAL_ERROR,
}


class Link:
    """The ZeroMQ connection to the coordinator."""

    def __init__(self, endpoint: str, name: bytes, smp: int) -> None:
        # Where every vCPU and the coordinator have a core.
        polling = Polling(enabled=smp < len(os.sched_getaffinity(0)))
        self._socket = zmtp.Dealer(endpoint, name, polling)

    def send(self, kind: Kind, *fields: int | str) -> None:
        """Send one message."""
        self._socket.send(encode(kind, *fields))

    def receive(self) -> Message:
        """Wait for the next message."""
        return decode(self._socket.receive())

    def close(self) -> None:
        """Disconnect; what was sent arrives."""
        self._socket.close()


class Worker:
    """One vCPU: an accelerator, its area of the VM block, and the link."""

    def __init__(
        self, area: VcpuArea, accelerator: Accelerator, link: Link, *, precise_exits: bool = False
    ) -> None:
        self._area = area
        # The coordinator takes whatever exit there is (VmPage.precise_exits).
        self._all_exits = precise_exits
        self._accelerator = accelerator
        self._link = link

    def serve(self) -> None:
        """Wait to be started, then run until told to stop."""
        running = self._wait_for_resume()
        while running:
            reason = self._accelerator.run()
            if reason in _ANSWERED:
                running = self._ask(reason)
            elif reason == ExitReason.INTR:
                running = self._interrupted()
            elif self._all_exits:
                running = self._ask(reason)
            else:
                raise MpvmError(f"vCPU {self._area.index}: exit {reason}: {self._accelerator.error()}")

    def _ask(self, reason: int) -> bool:
        exit_information = self._area.control.exit
        self._link.send(
            Kind.EXIT,
            reason,
            exit_information.direction,
            exit_information.guest_physical_address,
            exit_information.size,
            exit_information.data,
        )
        answer = self._link.receive()
        if answer.kind is Kind.REPLY:
            exit_information.data = answer.fields[0]
            return True
        return self._command(answer)

    def _interrupted(self) -> bool:
        request = self._area.request
        if request & Request.STOP:
            return False
        if request & Request.PAUSE:
            return self._wait_paused()
        return True

    def _wait_paused(self) -> bool:
        self._area.mode = VcpuMode.PAUSED
        self._link.send(Kind.PAUSED)
        return self._wait_for_resume()

    def _wait_for_resume(self) -> bool:
        return self._command(self._link.receive())

    def _command(self, message: Message) -> bool:
        """Carry out RESUME or STOP; whether to go on."""
        if message.kind is Kind.STOP:
            return False
        if message.kind is not Kind.RESUME:
            raise ProtocolError(f"vCPU {self._area.index} got {message.kind.name}, RESUME or STOP is right")
        flags = ResumeFlag(message.fields[0])
        if flags & ResumeFlag.RESET:
            self._accelerator.reset(load_state=bool(flags & ResumeFlag.LOAD_STATE))
            if flags & ResumeFlag.FIRMWARE:
                self._accelerator.leave_firmware()
        elif flags & ResumeFlag.LOAD_STATE:
            self._accelerator.load_state()
        if flags & ResumeFlag.CONTROLS:
            self._accelerator.apply_controls()
        return True


def _take_place(index: int, cpuset: Sequence[int], nice: int | None) -> None:
    """The host's CPUs that this vCPU may use, and its niceness; None: the one it was started with."""
    try:
        os.sched_setaffinity(0, cpuset)
    except OSError as error:
        cpus = ", ".join(map(str, cpuset))
        raise StartError(f"vCPU {index}: can't run on the host's CPUs {cpus}: {error.strerror}") from error
    if nice is not None:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, nice)
        except OSError as error:
            raise StartError(f"vCPU {index}: can't have the niceness {nice}: {error.strerror}") from error


def _open_log(path: str) -> int:
    """The coordinator has made the file, and all append to it."""
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError as error:
        raise StartError(f"logfile: {path}: {error.strerror}, a file that can be written is right") from error


def main(
    index: int,
    generation: int,
    vm_block: str,
    ram_block: str,
    endpoint: str,
    doorbell_fd: int,
    runtime_dir: str,
    coordinator_pid: int,
    accel: str,
    cpuset: Sequence[int],
    nice: int | None,
    log_mask: int,
    log_file: str | None,
    perfmap: bool,
    symbol_table: str | None,
    log_stderr: int = -1,
) -> int:
    """Be vCPU `index` until told to stop; the process's exit status.

    `generation` counts the workers that have been this vCPU before (`mpvm.coordinator.move`).
    """
    started = time.monotonic_ns()
    # Ctrl-C is for the coordinator, which then stops us in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watchdog.watch(coordinator_pid, runtime_dir)
    vm, ram = shm.attach(vm_block), shm.attach_ram(ram_block)
    link = Link(endpoint, identity(index, generation), VmPage.from_buffer(vm).smp)
    precise_exits = bool(VmPage.from_buffer(vm).precise_exits)
    area = VcpuArea.from_buffer(vm, VCPU_OFFSET + index * VCPU_STRIDE)
    try:
        _take_place(index, cpuset, nice)
        before = time.monotonic_ns()
        module = importlib.import_module(f"workers.{accel}.vcpu")
        accelerator: Accelerator = module.Vcpu(shm.address(vm), ram, index, doorbell_fd)
        if log_mask:
            accelerator.log(log_stderr if log_file is None else _open_log(log_file), log_mask)
        if perfmap:
            known = symbols.NO_SYMBOLS if symbol_table is None else symbols.read(Path(symbol_table))
            accelerator.write_perf_map(perf_map.create(os.getpid()), known)
        link.send(Kind.CREATED, os.getpid(), module.VERSION, time.monotonic_ns() - before)
        link.send(Kind.READY, time.monotonic_ns() - started)
        Worker(area, accelerator, link, precise_exits=precise_exits).serve()
        area.mode = VcpuMode.STOPPED
        accelerator.close()
        link.send(Kind.STOPPED)
    except MpvmError as error:
        try:
            link.send(Kind.FAILED, str(error), type(error).__name__)
        except OSError:
            # The coordinator has hung up; it reads stderr when we are gone.
            raise error from None
        return 1
    finally:
        link.close()
        del area
        vm.close()
    return 0
