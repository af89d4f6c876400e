"""Serving an exit: pure dispatch by a table. Entering the guest is the worker's part.

No process and no socket here, so that every exit is tested without a VM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from mpvm.abi.errors import GuestCrash, ProtocolError, WorkerError
from mpvm.abi.exits import ExitReason, ExtInt, IoDirection
from mpvm.abi.layout import IO_PORTS, PostedKind
from mpvm.coordinator.posted import Write

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mpvm.machine.base import Machine

_PORT_SIZES: Final = frozenset({1, 2, 4})
_MMIO_SIZES: Final = frozenset({1, 2, 4, 8})
_ADDRESS_LIMIT: Final = 1 << 52


class Exit(NamedTuple):
    """An exit as its EXIT message says it. `direction` is an `IoDirection`, `reason` an `ExitReason`."""

    vcpu: int
    reason: int
    direction: int
    address: int
    size: int
    data: int


def describe(exit_: Exit) -> str:
    """The exit as a person reads it."""
    known = exit_.reason in ExitReason._value2member_map_
    name = f"KVM_EXIT_{ExitReason(exit_.reason).name}" if known else f"exit reason {exit_.reason}"
    if exit_.reason == ExitReason.IO or exit_.reason == ExitReason.MMIO:
        way = "in" if exit_.direction == IoDirection.IN else "out"
        data = "" if exit_.direction == IoDirection.IN else f" data {exit_.data:#x}"
        return f"{name} {way} {exit_.address:#x} size {exit_.size}{data}"
    return name


def _check(exit_: Exit, sizes: frozenset[int], limit: int) -> None:
    if exit_.size not in sizes or exit_.direction not in (0, 1) or not 0 <= exit_.address < limit:
        raise ProtocolError(
            f"vCPU {exit_.vcpu}: {describe(exit_)} direction {exit_.direction} is no access a CPU can make"
        )


def _io(exit_: Exit, machine: Machine) -> int:
    _check(exit_, _PORT_SIZES, IO_PORTS)
    machine.current_vcpu = exit_.vcpu
    if exit_.direction == IoDirection.IN:
        return machine.ports.read(exit_.address, exit_.size)
    machine.ports.write(exit_.address, exit_.size, exit_.data & ((1 << 8 * exit_.size) - 1))
    return 0


def _mmio(exit_: Exit, machine: Machine) -> int:
    _check(exit_, _MMIO_SIZES, _ADDRESS_LIMIT)
    if exit_.direction == IoDirection.IN:
        return machine.memory.read(exit_.address, exit_.size)
    machine.memory.write(exit_.address, exit_.size, exit_.data & ((1 << 8 * exit_.size) - 1))
    return 0


def _irq_window_open(_exit: Exit, machine: Machine) -> int:
    vector = machine.acknowledge_interrupt()
    return 0 if vector is None else ExtInt.VALID | vector


def _ioapic_eoi(exit_: Exit, machine: Machine) -> int:
    machine.end_of_interrupt(exit_.address & 0xFF)
    return 0


def _shutdown(exit_: Exit, _machine: Machine) -> int:
    raise GuestCrash(f"vCPU {exit_.vcpu}: triple fault")


Handler: TypeAlias = "Callable[[Exit, Machine], int]"

HANDLERS: Final[Mapping[int, Handler]] = {
    ExitReason.IO: _io,
    ExitReason.MMIO: _mmio,
    ExitReason.IRQ_WINDOW_OPEN: _irq_window_open,
    ExitReason.SHUTDOWN: _shutdown,
    ExitReason.IOAPIC_EOI: _ioapic_eoi,
}


def _unknown(exit_: Exit, _machine: Machine) -> int:
    raise WorkerError(f"vCPU {exit_.vcpu}: {describe(exit_)} is not an exit that this machine serves")


def handle_exit(exit_: Exit, machine: Machine) -> int:
    """Serve `exit_`; returns the data of its reply.

    Raises `GuestCrash` for a triple fault, `ProtocolError` for an impossible access and `WorkerError`
    for an exit that nobody serves.
    """
    return HANDLERS.get(exit_.reason, _unknown)(exit_, machine)


def deliver_posted(write: Write, machine: Machine) -> None:
    """Carry out a posted write. Raises `ProtocolError` for a kind that there is not."""
    if write.kind == PostedKind.PORT:
        machine.ports.write(write.address & IO_PORTS - 1, write.size, write.value)
    elif write.kind == PostedKind.MMIO:
        machine.memory.write(write.address, write.size, write.value)
    elif write.kind == PostedKind.EOI:
        machine.end_of_interrupt(write.address & 0xFF)
    elif write.kind == PostedKind.FERR:
        machine.floating_point_error()
    else:
        raise ProtocolError(f"vCPU {write.vcpu}: posted write of unknown kind {write.kind}")


def deliver_string(port: int, data: bytes, machine: Machine) -> None:
    """Carry out posted writes of a byte each to `port`, in the order of `data`."""
    machine.ports.write_string(port & IO_PORTS - 1, data)
