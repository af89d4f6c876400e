"""Serving exits without a VM: a machine that only has its address spaces."""

from typing import Any

import pytest

from mpvm.abi.errors import GuestCrash, ProtocolError, WorkerError
from mpvm.abi.exits import ExitReason, ExtInt, IoDirection
from mpvm.abi.layout import PostedKind
from mpvm.coordinator.dispatch import Exit, deliver_posted, describe, handle_exit
from mpvm.coordinator.posted import Write
from mpvm.memory.address_space import AddressSpace
from mpvm.memory.region import Region

IN, OUT = IoDirection.IN, IoDirection.OUT


class BusMachine:
    """Records every access; reads give the address."""

    def __init__(self) -> None:
        self.writes: list[tuple[str, int, int, int]] = []
        self.ended: list[int] = []
        self.errors = 0
        self.vector: int | None = None
        self.ports = self._space("port", 0x10000, 0, 0x10000)
        self.memory = self._space("memory", 1 << 52, 0xFEC00000, 0x1000)

    def _space(self, name: str, size: int, base: int, extent: int) -> AddressSpace:
        def write(offset: int, size: int, value: int) -> None:
            self.writes.append((name, base + offset, size, value))

        space = AddressSpace(name, size)
        space.map(base, Region(name, extent, lambda offset, size: base + offset, write))
        return space

    def acknowledge_interrupt(self) -> int | None:
        return self.vector

    def end_of_interrupt(self, vector: int) -> None:
        self.ended.append(vector)

    def floating_point_error(self) -> None:
        self.errors += 1


@pytest.fixture
def machine() -> Any:
    return BusMachine()


def test_a_port_read_is_answered_by_the_device(machine: Any) -> None:
    assert handle_exit(Exit(0, ExitReason.IO, IN, 0x3FD, 2, 0), machine) == 0x3FD


def test_a_port_write_reaches_the_device_with_its_size_and_nothing_above_it(machine: Any) -> None:
    assert handle_exit(Exit(0, ExitReason.IO, OUT, 0x3F8, 1, 0x1241), machine) == 0
    assert machine.writes == [("port", 0x3F8, 1, 0x41)]


def test_mmio_goes_to_the_memory_space(machine: Any) -> None:
    assert handle_exit(Exit(2, ExitReason.MMIO, IN, 0xFEC00010, 4, 0), machine) == 0xFEC00010
    handle_exit(Exit(2, ExitReason.MMIO, OUT, 0xFEC00000, 8, 1 << 40), machine)
    assert machine.writes == [("memory", 0xFEC00000, 8, 1 << 40)]


def test_mmio_at_nobodys_address_reads_all_ones(machine: Any) -> None:
    assert handle_exit(Exit(0, ExitReason.MMIO, IN, 0xD0000000, 4, 0), machine) == 0xFFFFFFFF


@pytest.mark.parametrize("vector", [0x00, 0x08, 0xFF])
def test_an_interrupt_window_is_answered_with_the_vector_marked_valid(machine: Any, vector: int) -> None:
    machine.vector = vector
    assert handle_exit(Exit(0, ExitReason.IRQ_WINDOW_OPEN, 0, 0, 0, 0), machine) == ExtInt.VALID | vector


def test_an_interrupt_window_with_nothing_due_is_answered_with_0(machine: Any) -> None:
    assert handle_exit(Exit(0, ExitReason.IRQ_WINDOW_OPEN, 0, 0, 0, 0), machine) == 0


def test_an_eoi_reaches_the_io_apic(machine: Any) -> None:
    handle_exit(Exit(1, ExitReason.IOAPIC_EOI, 0, 0x31, 0, 0), machine)
    assert machine.ended == [0x31]


def test_a_triple_fault_is_a_crash_that_names_its_vcpu(machine: Any) -> None:
    with pytest.raises(GuestCrash, match="vCPU 3: triple fault"):
        handle_exit(Exit(3, ExitReason.SHUTDOWN, 0, 0, 0, 0), machine)


@pytest.mark.parametrize("reason", [ExitReason.UNKNOWN, ExitReason.HYPERCALL, 39, 999])
def test_an_exit_that_nobody_serves_is_an_error_that_names_it(machine: Any, reason: int) -> None:
    with pytest.raises(WorkerError, match=r"vCPU 1: (KVM_EXIT_[A-Z]+|exit reason \d+) is not an exit"):
        handle_exit(Exit(1, reason, 0, 0, 0, 0), machine)


@pytest.mark.parametrize(
    "exit_",
    [
        Exit(0, ExitReason.IO, IN, 0x10000, 1, 0),
        Exit(0, ExitReason.IO, IN, -1, 1, 0),
        Exit(0, ExitReason.IO, IN, 0x60, 3, 0),
        Exit(0, ExitReason.IO, IN, 0x60, 8, 0),
        Exit(0, ExitReason.IO, 2, 0x60, 1, 0),
        Exit(0, ExitReason.MMIO, IN, 1 << 52, 4, 0),
        Exit(0, ExitReason.MMIO, IN, 0xFEC00000, 0, 0),
        Exit(0, ExitReason.MMIO, OUT, 0xFEC00000, 1 << 30, 0),
    ],
    ids=describe,
)
def test_an_access_that_no_cpu_makes_is_a_protocol_error(machine: Any, exit_: Exit) -> None:
    with pytest.raises(ProtocolError, match="vCPU 0"):
        handle_exit(exit_, machine)
    assert machine.writes == []


def test_a_read_is_cut_to_its_size(machine: Any) -> None:
    assert handle_exit(Exit(0, ExitReason.IO, IN, 0x3FD, 1, 0), machine) == 0xFD


def test_posted_writes_go_where_their_kind_says(machine: Any) -> None:
    deliver_posted(Write(0x3F8, 0x41, PostedKind.PORT, 1, 0), machine)
    deliver_posted(Write(0xFEC00000, 0x10, PostedKind.MMIO, 4, 0), machine)
    deliver_posted(Write(0x31, 0, PostedKind.EOI, 0, 0), machine)
    deliver_posted(Write(0, 0, PostedKind.FERR, 1, 0), machine)
    assert machine.errors == 1
    assert machine.writes == [("port", 0x3F8, 1, 0x41), ("memory", 0xFEC00000, 4, 0x10)]
    assert machine.ended == [0x31]


def test_a_posted_write_of_no_kind_is_a_protocol_error(machine: Any) -> None:
    with pytest.raises(ProtocolError, match="vCPU 5: posted write of unknown kind 9"):
        deliver_posted(Write(0x3F8, 0x41, 9, 1, 5), machine)


def test_an_exit_is_described_in_kvms_words() -> None:
    assert describe(Exit(0, ExitReason.IO, OUT, 0x3F8, 1, 0x41)) == "KVM_EXIT_IO out 0x3f8 size 1 data 0x41"
    assert describe(Exit(0, ExitReason.MMIO, IN, 0xFEC00010, 4, 0)) == "KVM_EXIT_MMIO in 0xfec00010 size 4"
    assert describe(Exit(0, ExitReason.SHUTDOWN, 0, 0, 0, 0)) == "KVM_EXIT_SHUTDOWN"
