"""KVM's I/O and MMIO exits as accesses of sizes that the machine knows."""

from mpvm.abi.exits import ExitReason, IoDirection
from mpvm.abi.kvm import structs
from workers.kvm import access


def test_a_string_instructions_exit_is_one_access_an_element() -> None:
    run = structs.Run()
    run.io.direction, run.io.size, run.io.port = IoDirection.OUT, 2, 0x3F8
    run.io.count, run.io.data_offset = 3, 0x1000
    assert list(access.of_port(run)) == [
        (ExitReason.IO, IoDirection.OUT, 0x3F8, 2, 0x1000),
        (ExitReason.IO, IoDirection.OUT, 0x3F8, 2, 0x1002),
        (ExitReason.IO, IoDirection.OUT, 0x3F8, 2, 0x1004),
    ]


def test_an_mmio_exit_of_a_part_of_an_access_is_split_into_powers_of_two() -> None:
    run = structs.Run()
    run.mmio.phys_addr, run.mmio.len, run.mmio.is_write = 0xFEC00FF9, 7, 1
    data = structs.Run.exit.offset + structs.RunMmio.data.offset
    assert list(access.of_memory(run)) == [
        (ExitReason.MMIO, IoDirection.OUT, 0xFEC00FF9, 4, data),
        (ExitReason.MMIO, IoDirection.OUT, 0xFEC00FFD, 2, data + 4),
        (ExitReason.MMIO, IoDirection.OUT, 0xFEC00FFF, 1, data + 6),
    ]
